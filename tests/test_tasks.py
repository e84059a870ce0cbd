# SPDX-License-Identifier: Apache-2.0
"""The shapes of task, and attention: oracles in NumPy, and the laws."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import recurrent_jax as rj
from recurrent_jax import tasks
from recurrent_jax.testing import LAWS, Trial

LENGTHS = np.array([6, 0, 1, 4])
T, N = 6, 4


def draw(seed, *shape, dtype="float64"):
    return jax.random.normal(jax.random.key(seed), shape, dtype)


# Pooling.


@pytest.fixture
def ys(x64):
    return draw(0, T, N, 3)


def test_last_by_hand(ys):
    want = [ys[n - 1, b] if n else jnp.zeros(3) for b, n in enumerate(LENGTHS)]
    np.testing.assert_array_equal(tasks.last_output(ys, lengths=LENGTHS), want)
    np.testing.assert_array_equal(tasks.last_output(ys), ys[-1])
    np.testing.assert_array_equal(tasks.last_output(ys, reverse=True), ys[0])
    batch_first = tasks.last_output(ys.swapaxes(0, 1), lengths=LENGTHS, time_axis=1)
    np.testing.assert_array_equal(batch_first, want)


def test_last_under_a_mask_with_gaps(ys):
    mask = jnp.array([[0, 1, 0, 1, 0, 0], [1, 1, 0, 0, 0, 1]] * 2, bool).T
    for reverse, steps in ((False, [3, 5, 3, 5]), (True, [1, 0, 1, 0])):
        got = tasks.last_output(ys, mask=mask, reverse=reverse)
        np.testing.assert_array_equal(got, ys[np.array(steps), np.arange(N)])
    both = tasks.last_output(ys, mask=mask, lengths=np.array([3, 3, 0, 6]))
    want = [ys[1, 0], ys[1, 1], jnp.zeros(3), ys[5, 3]]
    np.testing.assert_array_equal(both, want)


def test_mean_by_hand(ys):
    want = [ys[:n, b].sum(0) / float(max(n, 1)) for b, n in enumerate(LENGTHS)]
    np.testing.assert_allclose(tasks.mean_output(ys, lengths=LENGTHS), want, rtol=1e-14)
    np.testing.assert_allclose(tasks.mean_output(ys), ys.mean(0), rtol=1e-14)


@pytest.mark.parametrize("pool", [tasks.last_output, tasks.mean_output])
@pytest.mark.nans
def test_padding_is_not_pooled_and_has_no_gradient(ys, pool):
    spoilt = ys.at[4:, 3].set(jnp.nan).at[:, 1].set(jnp.inf)
    score = lambda ys: (pool(ys, lengths=LENGTHS) ** 2).sum()  # noqa: E731
    value, gradient = jax.jit(jax.value_and_grad(score))(spoilt)
    want, clean = jax.value_and_grad(score)(ys)
    np.testing.assert_array_equal(value, want)
    np.testing.assert_array_equal(gradient, clean)
    assert (gradient[4:, 3] == 0).all() and (gradient[:, 1] == 0).all()


def test_last_of_both_directions_is_both_final_carries(x64):
    network = rj.Bidirectional(rj.Elman(4, activation=jax.nn.relu), merge=None)
    # Whole numbers: a state and the output that it is may be compiled apart, and then
    # differ in rounding if there is any.
    params, xs = jax.tree.map(
        lambda a: jnp.round(4 * a),
        (network.init(jax.random.key(0), 3), draw(0, T, N, 3)),
    )
    carry, (there, back) = rj.unroll(network, params, xs, lengths=LENGTHS)
    assert np.unique(there).size > N and np.unique(back).size > N
    pooled = tasks.last_output(there, lengths=LENGTHS)
    np.testing.assert_array_equal(pooled, carry.forward.h)
    pooled = tasks.last_output(back, lengths=LENGTHS, reverse=True)
    np.testing.assert_array_equal(pooled, carry.backward.h)


def test_pooling_no_steps(x64):
    empty = jnp.zeros((0, 2, 3))
    for pool in (tasks.last_output, tasks.mean_output):
        np.testing.assert_array_equal(pool(empty), jnp.zeros((2, 3)))


# Inputs and starts.


def test_a_repeated_vector_is_the_input_of_every_step(x64):
    x = draw(0, N, 3)
    cell = rj.GRU(4)
    params = cell.init(jax.random.key(0), 3)
    _, ys = rj.unroll(cell, params, tasks.repeat(x, 3))
    carry = cell.initial_carry((N,))
    for t in range(3):
        carry, y = cell.step(params, carry, x)
        np.testing.assert_allclose(ys[t], y, atol=1e-12)
    assert tasks.repeat({"a": x}, 2, time_axis=1)["a"].shape == (N, 2, 3)


def test_delay_by_hand():
    tokens = jnp.array([[5, 6], [7, 8], [9, 1]])
    np.testing.assert_array_equal(tasks.delay(tokens, 0), [[0, 0], [5, 6], [7, 8]])
    first = jnp.array([3, 4])
    np.testing.assert_array_equal(tasks.delay(tokens, first)[0], first)
    late = tasks.delay(tokens.T, 0, time_axis=1)
    np.testing.assert_array_equal(late, tasks.delay(tokens, 0).T)
    assert tasks.delay(tokens[:0], 0).shape == (0, 2)


def test_bridge_by_hand(x64):
    v = draw(0, N, 5)
    params = tasks.init_bridge(jax.random.key(0), rj.LSTM(4), 5)
    params = params._replace(biases=rj.LSTM.Carry(jnp.ones(4), -jnp.ones(4)))
    carry = tasks.bridge(params, v)
    np.testing.assert_allclose(carry.h, np.tanh(v @ params.kernels.h + 1), atol=1e-14)
    np.testing.assert_allclose(carry.c, np.tanh(v @ params.kernels.c - 1), atol=1e-14)
    deep = rj.Deep((rj.LSTM(2), rj.GRU(3)))
    made = tasks.bridge(tasks.init_bridge(jax.random.key(0), deep, 5), v)
    want = deep.initial_carry((N,))
    assert jax.tree.structure(made) == jax.tree.structure(want)
    assert all(
        a.shape == b.shape
        for a, b in zip(jax.tree.leaves(made), jax.tree.leaves(want), strict=True)
    )


# Attention.


@pytest.mark.mostly_slow
@pytest.mark.parametrize("score", ["additive", "multiplicative"])
def test_attention_by_the_papers(x64, score):
    size = 5 if score == "additive" else None
    cell = rj.Attention(rj.LSTM(4), 3, size, score)
    params = cell.init(jax.random.key(0), in_features=2)
    memory, xs = draw(1, T, N, 3), draw(2, 5, N, 2)
    lengths = np.array([6, 3, 1, 4])
    bound = cell.bind(params, memory, lengths=lengths)
    carry, ys = rj.unroll(cell, bound, xs)
    weights = cell.weights(bound, ys)
    for b, count in enumerate(lengths):
        m = np.asarray(memory[:count, b])
        inside, c = rj.LSTM(4).initial_carry(), np.zeros(3)
        for t in range(len(xs)):
            seen = jnp.concatenate([xs[t, b], c])
            inside, h = rj.LSTM(4).step(params.cell, inside, seen)
            if score == "additive":
                e = np.tanh(h @ params.query_kernel + m @ params.memory_kernel)
                e = e @ params.vector
            else:
                e = (m @ params.memory_kernel) @ h
            a = np.exp(e) / np.exp(e).sum()
            c = a @ m
            np.testing.assert_allclose(ys[t, b], [*h, *c], atol=1e-12)
            np.testing.assert_allclose(weights[t, b, :count], a, atol=1e-12)
            assert (weights[t, b, count:] == 0).all()
        np.testing.assert_allclose(carry.context[b], c, atol=1e-12)


@dataclasses.dataclass(frozen=True)
class Looking(Trial):
    """A trial whose parameters have a memory that all sequences share."""

    @functools.cached_property
    def params(self):
        params = super().params
        memory = draw(9, 5, self.cell.memory_features, dtype=self.dtype)
        return self.cell.bind(params, memory, lengths=np.array(4))


LOOKING = {
    "additive": rj.Attention(rj.LSTM(4), 2, 3),
    "multiplicative": rj.Attention(rj.Elman(4), 2, score="multiplicative"),
    "stack": rj.Attention(rj.Stack((rj.GRU(3), rj.Elman(4))), 2),
}


# What another form shares with the first need not be tried again.
KEPT = {
    "additive": LAWS.keys() - {"compilation", "types"},
    "multiplicative": {"scan"},
    "stack": {"scan"},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", KEPT)
@pytest.mark.nans
def test_attention_keeps_the_laws(x64, name):
    one = Looking(LOOKING[name], batch_shape=(2,))
    for law in sorted(KEPT[name]):
        LAWS[law](one)


@pytest.mark.slow
def test_attention_keeps_its_types():
    cell = LOOKING["additive"]

    def run(dtype):
        params = cell.init(jax.random.key(0), 3, dtype)
        params = cell.bind(params, jnp.ones((5, 2, 2), dtype), lengths=[5, 0])
        carry = cell.initial_carry((2,), dtype)
        carry, y = cell.step(params, carry, jnp.ones((2, 3), dtype))
        return carry, y, cell.weights(params, y)

    for dtype in ("float32", "bfloat16", "float16"):
        leaves = jax.tree.leaves(jax.jit(run, static_argnums=0)(dtype))
        assert {str(a.dtype) for a in leaves} == {dtype}
        assert all(jnp.isfinite(a).all() for a in leaves)


def test_a_sequence_without_memory_has_no_weights():
    cell = LOOKING["additive"]
    params = cell.init(jax.random.key(0), 3)
    params = cell.bind(params, jnp.ones((5, 2, 2)), lengths=[5, 0])
    _, y = cell.step(params, cell.initial_carry((2,)), jnp.ones((2, 3)))
    assert (cell.weights(params, y)[0] > 0).all()
    assert (cell.weights(params, y)[1] == 0).all()


def looked(cell, params, memory, xs, lengths, backward):
    params = cell.bind(params, memory, lengths=lengths)
    carry, ys = rj.unroll(cell, params, xs, backward=backward)
    return (ys**2).sum() + (carry.context**3).sum()


@pytest.mark.slow
@pytest.mark.nans
def test_padding_of_the_memory_is_never_seen(x64):
    cell = LOOKING["additive"]
    params = cell.init(jax.random.key(0), 3)
    memory, xs = draw(1, T, N, 2), draw(2, 5, N, 3)
    junk = jnp.arange(T)[:, None] >= LENGTHS[None]
    spoilt = jnp.where(junk[..., None], jnp.nan, memory)
    run = jax.jit(
        jax.value_and_grad(
            lambda p, m: looked(cell, p, m, xs, LENGTHS, rj.Deferred()), (0, 1)
        )
    )
    want, got = run(params, memory), run(params, spoilt)
    jax.tree.map(np.testing.assert_array_equal, got, want)
    assert (got[1][1][junk] == 0).all()
    # A sequence without memory runs on zeros, and each is as if alone.
    alone = sum(
        looked(cell, params, memory[:n, b], xs[:, b], None, rj.Autodiff())
        for b, n in enumerate(LENGTHS)
    )
    np.testing.assert_allclose(want[0], alone, rtol=1e-10)


BACKWARDS = [rj.Deferred(block=2), rj.Checkpointed(every=2), rj.Truncated(k1=7)]


@pytest.mark.slow
@pytest.mark.parametrize("backward", BACKWARDS, ids=lambda b: type(b).__name__)
def test_gradients_reach_a_memory_of_several_sequences(x64, backward):
    cell = LOOKING["additive"]
    params = cell.init(jax.random.key(0), 3)
    memory, xs = draw(1, T, N, 2), draw(2, 5, N, 3)

    def gradient(backward):
        score = functools.partial(looked, xs=xs, lengths=LENGTHS, backward=backward)
        return jax.jit(jax.grad(lambda p, m: score(cell, p, m), (0, 1)))(params, memory)

    got, want = gradient(backward), gradient(rj.Autodiff())
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-11), got, want)
    assert jnp.abs(want[1][0]).max() > 1e-3


@pytest.mark.slow
def test_attention_draws_what_the_cell_inside_draws(x64):
    inside = rj.InputDropout(rj.GRU(4), 0.5)
    cell = rj.Attention(inside, 2)
    params = cell.bind(cell.init(jax.random.key(0), 3), draw(1, T, N, 2))
    xs = draw(2, 5, N, 3)
    _, ys = rj.unroll(cell, params, xs, key=jax.random.key(7))
    unread = jnp.zeros((5, N, 2))
    mask = inside.sample(
        jax.random.key(7), jnp.concatenate([xs, unread], -1), (5, N)
    ).noise
    carry, c = rj.GRU(4).initial_carry((N,)), unread[0]
    for t in range(5):
        seen = jnp.concatenate([xs[t], c], -1) * mask[t]
        carry, h = rj.GRU(4).step(params.cell, carry, seen)
        np.testing.assert_allclose(ys[t, :, :4], h, atol=1e-12)
        c = ys[t, :, 4:]


# Encoder and decoder.

PAIRS = {
    "same": (rj.LSTM(4), rj.LSTM(4)),
    "other": (rj.GRU(3), rj.LSTM(4)),
    "both_ways": (rj.Bidirectional(rj.LSTM(3)), rj.GRU(4)),
    "deep": (rj.Deep((rj.GRU(3), rj.GRU(4))), rj.Deep((rj.GRU(3), rj.GRU(4)))),
    "attention": (rj.GRU(4), rj.Attention(rj.GRU(4), 4)),
    "deep_attention": (rj.Bidirectional(rj.GRU(2)), rj.Attention(rj.Elman(4), 4)),
}


@pytest.mark.mostly_slow
@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.nans
def test_a_padded_batch_is_encoded_as_each_alone(x64, name):
    encoder, decoder = PAIRS[name]
    params = tasks.init_encoder_decoder(
        jax.random.key(0), encoder, decoder, in_features=3, decoder_features=2
    )
    assert (params.bridge is None) == (name in ("same", "deep", "attention"))
    xs, inputs = draw(1, T, N, 3), draw(2, 5, N, 2)
    lengths = np.array([6, 2, 1, 4])

    @jax.jit
    def run(params, xs, inputs, lengths):
        params_d, carry = tasks.encode(encoder, decoder, params, xs, lengths=lengths)
        return rj.unroll(decoder, params_d, inputs, carry=carry)[1]

    spoilt = jnp.where((jnp.arange(T)[:, None] < lengths)[..., None], xs, jnp.nan)
    ys = run(params, spoilt, inputs, lengths)
    for b, n in enumerate(lengths[:2]):
        alone = run(params, xs[:n, b], inputs[:, b], np.array(n))
        np.testing.assert_allclose(ys[:, b], alone, atol=1e-12)


def test_a_carry_passes_unchanged_where_it_fits(x64):
    cell = rj.LSTM(4)
    params = tasks.init_encoder_decoder(
        jax.random.key(0), cell, cell, in_features=3, decoder_features=2
    )
    xs = draw(1, T, N, 3)
    params_d, carry = tasks.encode(cell, cell, params, xs)
    want, _ = rj.unroll(cell, params.encoder, xs)
    jax.tree.map(np.testing.assert_array_equal, carry, want)
    assert params_d is params.decoder


# Scheduled sampling.


@pytest.fixture
def writer(x64):
    """A model of five tokens, its true inputs, and a step."""
    cell = rj.GRU(4)
    params = cell.init(jax.random.key(0), 5)
    head = 3 * draw(1, 4, 5)
    tokens = jax.random.randint(jax.random.key(2), (T, 3), 0, 5)

    def step(carry, token):
        carry, y = cell.step(params, carry, jax.nn.one_hot(token, 5))
        return carry, y @ head

    return step, cell.initial_carry((3,)), tokens, (cell, params, head)


def test_rate_zero_is_teacher_forcing(writer):
    step, carry, tokens, (cell, params, head) = writer
    final, ys = rj.unroll(cell, params, jax.nn.one_hot(tokens, 5))
    got = tasks.scheduled_sampling(step, carry, tokens, rate=0, key=jax.random.key(1))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-12),
        got,
        (final, ys @ head),
    )


def test_rate_one_is_a_free_run(writer):
    step, carry, tokens, _ = writer
    greedy = lambda key, logits: logits.argmax(-1)  # noqa: E731
    _, logits = tasks.scheduled_sampling(
        step, carry, tokens, rate=1, key=jax.random.key(1), draw=greedy
    )
    written = rj.generation.generate(step, carry, tokens[0], steps=T)
    np.testing.assert_array_equal(logits.argmax(-1), written.tokens)


def test_coins_are_thrown_at_the_rate_for_every_sequence_and_step():
    """A model that says what it read: own predictions are marked by 1."""
    step = lambda carry, x: (carry, x)  # noqa: E731
    inputs = jnp.zeros((50, 200, 1))
    run = jax.jit(
        lambda rate: tasks.scheduled_sampling(
            step,
            (),
            inputs,
            rate=rate,
            key=jax.random.key(0),
            draw=lambda key, p: jnp.ones_like(p),
        )[1]
    )
    for rate in (0.1, 0.7):
        read = np.asarray(run(rate))
        assert (read[0] == 0).all()
        error = np.sqrt(rate * (1 - rate))
        assert abs(read[1:].mean() - rate) < 4 * error / np.sqrt(49 * 200)
        assert abs(read[1:].mean(0) - rate).max() < 5 * error / np.sqrt(49)
        assert abs(read[1:].mean(1) - rate).max() < 5 * error / np.sqrt(200)


def test_numbers_are_fed_back_with_their_gradient(x64):
    step = lambda carry, x: (carry, 2.0 * x)  # noqa: E731

    def last(x, rate):
        inputs = jnp.zeros((4, 1)).at[0].set(x)
        feed = lambda key, p: p  # noqa: E731
        run = functools.partial(tasks.scheduled_sampling, step, (), inputs, draw=feed)
        return run(rate=rate, key=jax.random.key(0))[1][-1].sum()

    assert jax.grad(last)(1.0, 1.0) == 16.0
    assert jax.grad(last)(1.0, 0.0) == 0.0


def test_no_steps_to_sample(writer):
    step, carry, tokens, _ = writer
    final, logits = tasks.scheduled_sampling(
        step, carry, tokens[:0], rate=0.5, key=jax.random.key(1)
    )
    assert logits.shape == (0, 3, 5) and final is carry


# Axes of time.


@pytest.mark.parametrize("pool", [tasks.last_output, tasks.mean_output])
def test_batch_first_outputs_need_neither_lengths_nor_mask(ys, pool):
    batch_first = ys.swapaxes(0, 1)
    np.testing.assert_array_equal(pool(batch_first, time_axis=1), pool(ys))
    np.testing.assert_array_equal(pool(ys[:, 0]), pool(ys)[0])


@pytest.mark.parametrize("pool", [tasks.last_output, tasks.mean_output])
def test_an_axis_of_time_may_be_counted_from_the_end(ys, pool):
    mask = np.arange(T)[:, None] < LENGTHS
    want = pool(ys, lengths=LENGTHS)
    np.testing.assert_array_equal(pool(ys, mask=mask, time_axis=-3), want)
    batch_first = ys.swapaxes(0, 1)
    got = pool(batch_first, lengths=LENGTHS, mask=mask.T, time_axis=-2)
    np.testing.assert_array_equal(got, want)


def test_an_attention_reads_what_an_encoder_has_read_batch_first(x64):
    encoder, decoder = rj.GRU(4), rj.Attention(rj.GRU(4), memory_features=4)
    params = tasks.init_encoder_decoder(
        jax.random.key(0), encoder, decoder, in_features=3, decoder_features=2
    )
    xs = draw(0, T, N, 3)
    want = tasks.encode(encoder, decoder, params, xs)
    for axis in (1, -2):
        got = tasks.encode(encoder, decoder, params, xs.swapaxes(0, 1), time_axis=axis)
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, atol=1e-12), got, want
        )


@pytest.mark.parametrize("first, dtype", [(-1, "uint8"), (300, "uint8"), (2, "bool")])
def test_a_first_input_that_the_targets_cannot_hold(first, dtype):
    with pytest.raises(ValueError, match=f"first must be a number that {dtype} holds"):
        tasks.delay(jnp.zeros((3, 2), dtype), first)


def test_a_mean_of_many_numbers_in_half_precision():
    for size, value in ((1000, 100.0), (70000, 1.0)):
        ys = jnp.full((size, 1), value, jnp.float16)
        np.testing.assert_array_equal(tasks.mean_output(ys), [value])


@pytest.mark.parametrize(
    "encoder", [rj.RetNet(4, heads=2), rj.BatchNormLSTM(4), rj.ConvGRU(2, (3,))]
)
def test_an_encoder_with_a_carry_of_any_shape(encoder):
    lead = (5, 2, 3) if isinstance(encoder, rj.ConvGRU) else (5, 2)
    decoder, xs = rj.GRU(5), jnp.ones((*lead, 3))
    params = tasks.init_encoder_decoder(
        jax.random.key(0), encoder, decoder, in_features=3, decoder_features=2
    )
    params, carry = tasks.encode(encoder, decoder, params, xs)
    _, ys = rj.unroll(decoder, params, jnp.ones((4, 2, 2)), carry=carry)
    assert ys.shape == (4, 2, 5)


@pytest.mark.parametrize(
    "decoder, sentence",
    [
        (rj.RetNet(4, heads=2), "must have a carry of vectors"),
        (rj.BatchNormLSTM(4), "must have a carry of vectors"),
        (rj.LearnedCarry(rj.GRU(4)), "whose start is not learned"),
    ],
)
def test_a_decoder_whose_carry_no_bridge_computes(decoder, sentence):
    with pytest.raises(TypeError, match=sentence):
        tasks.init_encoder_decoder(
            jax.random.key(0), rj.LSTM(5), decoder, in_features=3, decoder_features=2
        )
