# SPDX-License-Identifier: Apache-2.0
"""Generation: beams against every sequence there is, draws against NumPy."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import recurrent_jax as rj
from recurrent_jax import generation as gen

V, END, N = 4, 3, 3


@pytest.fixture
def model(x64):
    """A GRU over four tokens, which likes to end."""
    cell = rj.GRU(5)
    params = cell.init(jax.random.key(0), V)
    head = jax.random.normal(jax.random.key(1), (5, V))

    def step(carry, token):
        carry, y = cell.step(params, carry, jax.nn.one_hot(token, V))
        return carry, y @ head + rj.expand_like(jax.nn.one_hot(END, V), y)

    carry = rj.GRU.Carry(jax.random.normal(jax.random.key(2), (N, 5)))
    return step, carry, jnp.array([0, 1, 2])


def table(model):
    """Return `log p(next | sequence so far)` of one row, as a memoised function."""
    step, carry, first = model
    step = jax.jit(step)

    @functools.cache
    def state(b, prefix):
        if not prefix:
            before, token = jax.tree.map(lambda a: a[b], carry), first[b]
        else:
            before, token = state(b, prefix[:-1])[0], jnp.asarray(prefix[-1])
        after, logits = step(before, token)
        return after, np.asarray(jax.nn.log_softmax(logits))

    return lambda b, prefix: state(b, prefix)[1]


def every_sequence(steps, end):
    """All sequences that end, or are cut at the last step."""
    for n in range(1, steps + 1):
        for tokens in itertools.product(range(V), repeat=n):
            if end in tokens[:-1]:
                continue
            if n == steps or tokens[-1] == end:
                yield tokens


def best_of_all(model, b, steps, end, alpha):
    log_p = table(model)
    found = []
    for tokens in every_sequence(steps, end):
        total = sum(log_p(b, tokens[:t])[x] for t, x in enumerate(tokens))
        found.append((total / ((5 + len(tokens)) / 6) ** alpha, total, tokens))
    return sorted(found, reverse=True)


@pytest.mark.parametrize("alpha", [0.0, 1.5])
def test_enough_beams_find_the_best_of_all_sequences(model, alpha):
    step, carry, token = model
    steps, beams = 4, 40
    search = jax.jit(
        lambda alpha: gen.beam_search(
            step, carry, token, steps=4, beams=40, end=END, length_penalty=alpha
        )
    )
    found = search(alpha)
    for b in range(N):
        want = best_of_all(model, b, steps, END, alpha)[: beams // 2]
        for rank, (score, total, tokens) in enumerate(want):
            length = found.lengths[rank, b]
            assert tuple(found.tokens[rank, :length, b].tolist()) == tokens
            np.testing.assert_allclose(found.scores[rank, b], score, rtol=1e-9)
            np.testing.assert_allclose(found.log_probs[rank, b], total, rtol=1e-9)
            assert (found.tokens[rank, length:, b] == END).all()


def test_a_penalty_changes_which_is_best(model):
    """Or else the test above would say nothing about it."""
    short, long = (
        [len(best_of_all(model, b, 4, END, alpha)[0][2]) for b in range(N)]
        for alpha in (0.0, 1.5)
    )
    assert short != long


def search_by_lists(log_p, steps, beams, end, alpha):
    """Beam search once more, with Python lists."""
    score = lambda c: c[0] / ((5 + len(c[1])) / 6) ** alpha  # noqa: E731
    alive = [(0.0, ())]
    for _ in range(steps):
        longer = []
        for total, tokens in alive:
            if end in tokens:
                longer.append((total, tokens))
            else:
                each = enumerate(log_p(tokens))
                longer += [(total + p, (*tokens, x)) for x, p in each]
        alive = sorted(longer, key=score, reverse=True)[:beams]
    return alive


@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize("end", [None, END])
def test_few_beams_search_as_lists_do(model, beams, end):
    step, carry, token = model
    search = functools.partial(gen.beam_search, step, steps=6, beams=beams, end=end)
    found = jax.jit(lambda c, t: search(c, t, length_penalty=0.6))(carry, token)
    log_p = table(model)
    for b in range(N):
        log_p_b = lambda prefix, b=b: log_p(b, prefix)  # noqa: E731
        want = search_by_lists(log_p_b, 6, beams, end, 0.6)
        for rank, (total, tokens) in enumerate(want):
            length = found.lengths[rank, b]
            assert tuple(found.tokens[rank, :length, b].tolist()) == tokens
            np.testing.assert_allclose(found.log_probs[rank, b], total, rtol=1e-9)


def test_one_beam_is_greedy(model):
    step, carry, token = model
    written = gen.generate(step, carry, token, steps=7, end=END)
    found = gen.beam_search(step, carry, token, steps=7, beams=1, end=END)
    np.testing.assert_array_equal(found.tokens[0], written.tokens)
    np.testing.assert_array_equal(found.lengths[0], written.lengths)
    np.testing.assert_allclose(found.log_probs[0], written.log_probs.sum(0), rtol=1e-9)


def test_more_beams_than_sequences(x64):
    step = lambda carry, token: (carry, jnp.zeros((2,)))  # noqa: E731
    found = gen.beam_search(step, (), 0, steps=1, beams=5)
    assert sorted(found.tokens[:2, 0].tolist()) == [0, 1]
    assert np.isneginf(found.scores[2:]).all()


def test_greedy_is_a_loop_over_argmax(model):
    step, carry, token = model
    run = jax.jit(lambda c, t: gen.generate(step, c, t, steps=6, end=END))
    written = run(carry, token)
    log_p = table(model)
    for b in range(N):
        prefix = ()
        while len(prefix) < 6 and END not in prefix:
            p = log_p(b, prefix)
            prefix = (*prefix, int(p.argmax()))
            np.testing.assert_allclose(
                written.log_probs[len(prefix) - 1, b], p.max(), rtol=1e-9
            )
        assert written.lengths[b] == len(prefix)
        want = (*prefix, *[END] * (6 - len(prefix)))
        assert tuple(written.tokens[:, b].tolist()) == want
        assert (written.log_probs[len(prefix) :, b] == 0).all()
    # The carry is that after the last token that was read.
    n = int(written.lengths[0])
    alone = jax.tree.map(lambda a: a[:1], carry)
    one = gen.generate(step, alone, token[:1], steps=n)
    np.testing.assert_allclose(written.carry.h[:1], one.carry.h, rtol=1e-9)
    assert (written.lengths < 6).any()


LOGITS = np.log([[0.05, 0.4, 0.25, 0.3], [0.93, 0.01, 0.02, 0.04]])


def frequencies(logits, **options):
    """Return how often each token is drawn, of 20 000."""
    draws = 20_000
    logits = jnp.broadcast_to(jnp.asarray(logits, "float32"), (draws, 2, 4))
    step = lambda carry, token: (carry, logits)  # noqa: E731
    run = jax.jit(
        lambda token: gen.generate(
            step, (), token, steps=1, key=jax.random.key(0), **options
        )
    )
    tokens = run(jnp.zeros((draws, 2), int)).tokens[0]
    return np.stack([np.bincount(t, minlength=4) / draws for t in np.asarray(tokens).T])


def nucleus(probabilities, p):
    keep = np.zeros_like(probabilities)
    for row, out in zip(probabilities, keep, strict=True):
        total = 0.0
        for x in np.argsort(-row, kind="stable"):
            if total < p:
                out[x] = row[x]
            total += row[x]
    return keep


@pytest.mark.mostly_slow
@pytest.mark.parametrize(
    ("options", "weights"),
    [
        ({}, np.exp(LOGITS)),
        ({"temperature": 0.5}, np.exp(LOGITS / 0.5)),
        ({"top_k": 2}, np.exp(LOGITS) * (LOGITS >= np.sort(LOGITS)[:, 2:3])),
        ({"top_p": 0.6}, nucleus(np.exp(LOGITS), 0.6)),
        ({"temperature": 2.0, "top_k": 3, "top_p": 0.7}, None),
    ],
    ids=str,
)
def test_tokens_are_drawn_as_often_as_they_should_be(options, weights):
    if weights is None:
        p = np.exp(LOGITS / 2)
        p[0, 0] = p[1, 1] = 0
        p /= p.sum(1, keepdims=True)
        weights = nucleus(p, 0.7)
    want = weights / weights.sum(1, keepdims=True)
    got = frequencies(LOGITS, **options)
    assert (got[want == 0] == 0).all()
    deviation = np.sqrt(want * (1 - want) / 20_000)
    assert (np.abs(got - want) <= 4.5 * deviation + 1e-9).all(), (got, want)


def test_top_k_and_top_p_against_numpy(x64):
    logits = np.random.default_rng(0).normal(size=(40, 7)) * 2
    logits[:, 3] = logits[:, 5]  # ties
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    for k in (1, 3, 7, 9):
        best = np.argsort(-logits, axis=1, kind="stable")[:, :k]
        want = np.full_like(logits, -np.inf)
        np.put_along_axis(want, best, np.take_along_axis(logits, best, 1), 1)
        np.testing.assert_array_equal(gen.top_k(jnp.asarray(logits), k), want)
    for share in (1e-9, 0.3, 0.9, 1.0):
        want = np.where(nucleus(p, share) > 0, logits, -np.inf)
        np.testing.assert_array_equal(gen.top_p(jnp.asarray(logits), share), want)


def test_log_probabilities_are_those_of_the_model_and_not_of_the_draw(model):
    step, carry, token = model
    written = gen.generate(
        step, carry, token, steps=5, key=jax.random.key(0), temperature=0.3, top_k=2
    )
    log_p = table(model)
    for b in range(N):
        prefix = tuple(written.tokens[:, b].tolist())
        want = [log_p(b, prefix[:t])[x] for t, x in enumerate(prefix)]
        np.testing.assert_allclose(written.log_probs[:, b], want, rtol=1e-9)


def test_it_goes_on_from_a_prompt(x64):
    """For layers of cells, with the step of a stream."""
    network = rj.Deep((rj.LSTM(4), rj.GRU(V)))
    params = network.init(jax.random.key(0), V)
    prompt = jnp.array([2, 0, 1, 1])

    def step(carry, token):
        x = jax.nn.one_hot(token, V)
        carry, y = rj.streaming.step(network, params, carry, x)
        return carry, 4 * y

    def complete(prompt):
        xs = jax.nn.one_hot(prompt[:-1], V)
        carry, _ = rj.unroll(network, params, xs)
        return gen.generate(step, carry, prompt[-1], steps=4).tokens

    first = jax.jit(complete)(prompt)
    again = jax.jit(complete)(jnp.concatenate([prompt, first[:2]]))
    np.testing.assert_array_equal(first[2:], again[:2])


@pytest.mark.slow
def test_attention_searches_without_copying_its_memory(x64):
    cell = rj.Attention(rj.GRU(5), 2)
    params = cell.init(jax.random.key(0), V)
    head = 3 * jax.random.normal(jax.random.key(1), (7, V))
    memory = jax.random.normal(jax.random.key(2), (6, N, 2))
    params = cell.bind(params, memory, lengths=np.array([6, 2, 4]))

    def step(carry, token):
        carry, y = cell.step(params, carry, jax.nn.one_hot(token, V))
        return carry, y @ head

    run = functools.partial(gen.beam_search, steps=4, beams=3, end=END)
    found = jax.jit(lambda: run(step, cell.initial_carry((N,)), jnp.zeros(N, int)))()
    for b, n in enumerate((6, 2, 4)):
        alone = cell.bind(params, memory[:n, b])

        def step_b(carry, token, alone=alone):
            carry, y = cell.step(alone, carry, jax.nn.one_hot(token, V))
            return carry, y @ head

        one = jax.jit(lambda step=step_b: run(step, cell.initial_carry(), 0))()
        np.testing.assert_array_equal(found.tokens[..., b], one.tokens)
        np.testing.assert_allclose(found.scores[:, b], one.scores, rtol=1e-9)


# Forecasts.


def test_a_forecast_is_a_loop(x64):
    cell = rj.LSTM(4)
    params = cell.init(jax.random.key(0), 3)
    head = jax.random.normal(jax.random.key(1), (4, 2))
    season = jax.random.normal(jax.random.key(2), (5, 1))

    def step(carry, x, now):
        seen = jnp.concatenate([x, jnp.broadcast_to(now, (*x.shape[:-1], 1))], -1)
        carry, y = cell.step(params, carry, seen)
        return carry, y @ head

    x, carry = jnp.ones((N, 2)), cell.initial_carry((N,))
    final, course = jax.jit(
        lambda x: gen.forecast(step, carry, x, steps=5, known=season)
    )(x)
    for t in range(5):
        carry, x = step(carry, x, season[t])
        np.testing.assert_allclose(course[t], x, atol=1e-12)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-12), final, carry
    )


def test_intervals_are_those_of_an_autoregression():
    """x' = a x + s e: after h steps normal, and its moments are known."""
    a, s, x, draws = 0.8, 0.5, 3.0, 20_000

    def step(carry, x):
        return carry, (a * x, jnp.full_like(x, s))

    run = jax.jit(
        lambda key: gen.ensemble(
            step, (), jnp.array([x]), steps=6, draws=draws, draw=gen.normal, key=key
        )
    )
    courses = run(jax.random.key(0))
    assert courses.shape == (draws, 6, 1)
    h = np.arange(1, 7)
    mean = a**h * x
    deviation = s * np.sqrt((1 - a ** (2 * h)) / (1 - a**2))
    error = deviation / np.sqrt(draws)
    np.testing.assert_array_less(np.abs(courses.mean(0)[:, 0] - mean), 4 * error)
    np.testing.assert_array_less(np.abs(courses.std(0)[:, 0] - deviation), 4 * error)
    low, high = gen.interval(courses, level=0.8)
    for bound, z in ((low, -1.2815516), (high, 1.2815516)):
        gap = np.abs(bound[:, 0] - (mean + z * deviation))
        np.testing.assert_array_less(gap, 4 * 1.71 * error)  # of a tenth quantile
    # A fresh draw lies between the bounds as often as they say.
    fresh = run(jax.random.key(1))
    inside = ((fresh >= low) & (fresh <= high)).mean(0)[:, 0]
    np.testing.assert_allclose(inside, 0.8, atol=4 * np.sqrt(2 * 0.16 / draws))


def test_one_course_of_an_ensemble_is_a_forecast_with_its_key(x64):
    step = lambda carry, x: (carry, (x, jnp.ones_like(x)))  # noqa: E731
    options = {"steps": 4, "draw": gen.normal}
    key = jax.random.key(3)
    x = jnp.zeros(2)
    courses = gen.ensemble(step, (), x, draws=2, key=key, **options)
    key = jax.random.split(key, 2)[1]
    _, one = gen.forecast(step, (), x, key=key, **options)
    np.testing.assert_array_equal(courses[1], one)


def by_logits(vocabulary):
    def step(carry, token):
        return carry, jax.nn.one_hot(token, vocabulary)

    return step


@pytest.mark.parametrize(
    "write", [gen.generate, functools.partial(gen.beam_search, beams=2)]
)
def test_a_token_dtype_that_is_too_small_for_the_vocabulary(write):
    with pytest.raises(ValueError, match="logits of 200 tokens, but .* is int8"):
        write(by_logits(200), (), jnp.zeros(2, jnp.int8), steps=2)


def test_beams_of_an_empty_batch():
    found = gen.beam_search(by_logits(4), (), jnp.zeros(0, int), steps=3, beams=2)
    assert found.tokens.shape == (2, 3, 0)
