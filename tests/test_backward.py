# SPDX-License-Identifier: Apache-2.0
"""Backward strategies: the exact ones against autodiff, the others against a loop."""

import dataclasses
import functools
import os
import pickle
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import FEW
from test_check_cell import Leaky, PairInput

import recurrent_jax as rj
from recurrent_jax.backward import _checkpointed

TIME, BATCH, FEATURES = 7, 3, 2
EXACT = [
    rj.Deferred(),
    rj.Deferred(block=3),
    rj.Checkpointed(),
    rj.Checkpointed(every=4),
    rj.Checkpointed(levels=2),
]
ALL = [rj.Autodiff(), *EXACT, rj.Truncated(3), rj.ClippedBackward(max_value=0.1)]
names = functools.partial(map, repr)
LEAST = _checkpointed._least
cells = pytest.mark.parametrize("cell", FEW.values(), ids=FEW.keys())


@pytest.fixture(autouse=True)
def cut_however_small(monkeypatch):
    """Let `Checkpointed()` cut what takes less memory than the parameters, too."""
    monkeypatch.setattr(_checkpointed, "_least", lambda loop: 1)


def draw(cell):
    keys = jax.random.split(jax.random.key(0), 3)
    params = cell.init(keys[0], FEATURES)
    xs = jax.random.normal(keys[1], (TIME, BATCH, FEATURES))
    carry = jax.tree.map(
        lambda c: jax.random.normal(keys[2], c.shape), cell.initial_carry((BATCH,))
    )
    return params, carry, xs


def options():
    rng = np.random.default_rng(0)
    return {
        "lengths": np.array([TIME, 4, 0]),
        "mask": rng.random((TIME, BATCH)) < 0.8,
        "resets": rng.random((TIME, BATCH)) < 0.2,
    }


def weigh(out):
    leaves = jax.tree.leaves(out)
    return sum(
        jnp.sum(a * jnp.cos(jnp.arange(a.size) + n).reshape(a.shape))
        for n, a in enumerate(leaves)
    )


def gradients(cell, arguments, reset_carry=None, **options):
    def score(params, carry, xs, reset_carry):
        return weigh(
            rj.unroll(cell, params, xs, carry=carry, reset_carry=reset_carry, **options)
        )

    argnums = (0, 1, 2) if reset_carry is None else (0, 1, 2, 3)
    return jax.jit(jax.grad(score, argnums))(*arguments, reset_carry)


def close(got, want, tolerance=1e-10):
    def one(a, b):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)

    jax.tree.map(one, got, want)


def agrees_with_autodiff(cell, backward, reverse):
    arguments = draw(cell)
    run = functools.partial(
        gradients, cell, arguments, arguments[1], reverse=reverse, **options()
    )
    close(run(backward=backward), run(backward=rj.Autodiff()))


@pytest.mark.mostly_slow
@pytest.mark.flags
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("backward", EXACT, ids=names(EXACT))
def test_exact_strategies_agree_with_autodiff(backward, reverse, x64):
    agrees_with_autodiff(rj.LSTM(4), backward, reverse)


@pytest.mark.mostly_slow
@pytest.mark.flags
@cells
def test_any_cell_is_deferred_exactly(cell, x64):
    agrees_with_autodiff(cell, rj.Deferred(block=3), reverse=True)


@pytest.mark.parametrize("backward", ALL, ids=names(ALL))
def test_values_do_not_depend_on_the_strategy(backward, x64):
    cell = rj.LSTM(4)
    params, carry, xs = draw(cell)
    run = functools.partial(rj.unroll, cell, params, xs, carry=carry, **options())
    for reverse in (False, True):
        close(run(backward=backward, reverse=reverse), run(reverse=reverse))


@pytest.mark.mostly_slow
@pytest.mark.parametrize("backward", EXACT, ids=names(EXACT))
def test_a_cell_that_does_not_split_is_deferred_too(backward, x64):
    cell = Leaky(4)
    arguments = draw(cell)
    want = gradients(cell, arguments, **options())
    close(gradients(cell, arguments, backward=backward, **options()), want)


def test_a_recurrence_that_is_overridden_is_the_one_that_counts(x64):
    class Halved(rj.Elman):
        def recur(self, params, carry, z):
            carry, y = super().recur(params, carry, z)
            return jax.tree.map(lambda c: c / 2, carry), y

    cell = Halved(4)
    arguments = draw(cell)
    want = gradients(cell, arguments)
    close(gradients(cell, arguments, backward=rj.Deferred(block=3)), want)


@dataclasses.dataclass(frozen=True)
class Alternating(rj.Elman):
    """Its carry counts steps; what it adds depends on them and on the other rows."""

    def initial_carry(self, batch_shape=(), dtype=float, params=None):
        return super().initial_carry(batch_shape, dtype), jnp.zeros(batch_shape, int)

    def feedback(self, params, carry):
        h, _ = carry
        return super().feedback(params, h._replace(h=h.h - h.h.mean(0)[None]))

    def update(self, params, carry, z, u):
        h, count = carry
        kept = (params.bias * h.h)[jnp.arange(len(count)), count % 4][:, None]
        h, y = super().update(params, h, z + kept, u)
        return (h, count + 1), (y - y.mean(0)[None], count)


INTEGERS = {
    "mask": rj.GRUD(4),
    "no parameters": rj.ForwardFill(FEATURES),
    "counter": rj.BatchNormLSTM(4, max_steps=3),
    "counter, rows together": rj.BatchNormLSTM(4, max_steps=3),
    "memory": rj.Attention(rj.GRU(4), memory_features=2),
    "pair": PairInput(4),
    "own counter": Alternating(4),
}


def with_integers(name):
    """Return parameters and inputs of which some hold integers or booleans."""
    cell = INTEGERS[name]
    keys = jax.random.split(jax.random.key(0), 4)
    x = jax.random.normal(keys[0], (TIME, BATCH, FEATURES))
    observed = jax.random.bernoulli(keys[1], 0.6, x.shape)
    raw = rj.cells.Observed(x, observed, jnp.ones((TIME, BATCH)))
    params, xs = cell.init(keys[3], FEATURES), x
    if name == "mask":
        _, xs = rj.unroll(rj.ForwardFill(FEATURES), (), raw)
    elif name == "no parameters":
        xs = raw
    elif name == "counter, rows together":
        xs = cell.training(x)
    elif name == "memory":
        memory = jax.random.normal(keys[2], (5, BATCH, 2))
        params = cell.bind(params, memory, lengths=jnp.array([5, 2, 1]))
    elif name == "pair":
        xs = x, observed[..., 0]
    return params, xs


@pytest.mark.mostly_slow
@pytest.mark.parametrize("name", INTEGERS)
def test_integers_are_held_apart(name, x64):
    cell, (params, xs) = INTEGERS[name], with_integers(name)

    def score(params, xs, backward):
        out = rj.unroll(cell, params, xs, backward=backward, lengths=[7, 5, 2])
        return weigh([a for a in jax.tree.leaves(out) if a.dtype == float])

    def gradient(backward):
        of = functools.partial(score, backward=backward)
        slopes = jax.jit(jax.grad(of, (0, 1), allow_int=True))(params, xs)
        return [g for g in jax.tree.leaves(slopes) if g.dtype == float]

    close(gradient(rj.Deferred(block=2)), gradient(rj.Autodiff()))
    text = str(jax.make_jaxpr(lambda p: score(p, xs, rj.Deferred()))(params))
    assert "run_blocks" in text, "left to Autodiff"
    rows = f"[{TIME * BATCH},"  # of one table, if rows are said to be independent
    assert (rows in text) is cell.rowwise


@pytest.mark.mostly_slow
@pytest.mark.flags
@pytest.mark.parametrize("backward", EXACT, ids=names(EXACT))
def test_every_mode_and_order(backward, x64):
    cell = rj.GRU(3)
    params, _, xs = draw(cell)
    tangent = jax.tree.map(jnp.ones_like, params)

    def loss(params, backward):
        return weigh(rj.unroll(cell, params, xs, backward=backward))

    def all_of(backward):
        f = functools.partial(loss, backward=backward)
        forward = jax.jvp(f, (params,), (tangent,))
        over_reverse = jax.jvp(jax.grad(f), (params,), (tangent,))
        over_forward = jax.grad(lambda p: jax.jvp(f, (p,), (tangent,))[1])(params)
        return forward, over_reverse, over_forward

    got = jax.jit(lambda: all_of(backward))()
    close(got, jax.jit(lambda: all_of(rj.Autodiff()))(), 1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("backward", ALL, ids=names(ALL))
def test_an_ensemble_and_gradients_per_example(backward, x64):
    cell = rj.LSTM(3)
    params, _, xs = draw(cell)
    stacked = jax.tree.map(lambda p: jnp.stack([p, 2 * p]), params)

    def loss(params, xs):
        return weigh(rj.unroll(cell, params, xs, backward=backward))

    slope = jax.jit(jax.grad(loss))
    each = jax.jit(jax.vmap(jax.grad(loss), (0, None)))(stacked, xs)
    close(
        jax.tree.map(lambda g: g[1], each),
        slope(jax.tree.map(lambda p: p[1], stacked), xs),
    )
    examples = jax.jit(jax.vmap(jax.grad(loss), (None, 1)))(params, xs)
    close(jax.tree.map(lambda g: g[1], examples), slope(params, xs[:, 1]))


def truncated_by_hand(cell, params, carry, xs, k1, k2, lengths, resets):
    """Each chunk of k1 outputs from its own run over k2 steps, one after another."""
    fresh = cell.initial_carry((BATCH,))

    def step(carry, t):
        def where(flags, yes, no):
            return jax.tree.map(lambda a, b: jnp.where(flags[:, None], a, b), yes, no)

        valid = t < lengths
        before = where(resets[t] & valid, fresh, carry)
        after, y = cell.step(params, before, xs[t])
        return where(valid, after, before), where(valid, y, jnp.zeros_like(y))

    befores, state = [], carry
    for t in range(TIME):
        befores.append(state)
        state, _ = step(state, t)
    ys = []
    for start in range(0, TIME, k1):
        end = start + k1
        first = max(0, end - k2)
        state = carry if first == 0 else jax.lax.stop_gradient(befores[first])
        for t in range(first, min(end, TIME)):
            state, y = step(state, t)
            if t >= start:
                ys.append(y)
    return state, jnp.stack(ys)


@pytest.mark.mostly_slow
@pytest.mark.flags
@pytest.mark.parametrize("k1, k2", [(2, 5), (1, 1), (2, 2), (3, 4), (7, 7), (9, 20)])
def test_truncated_is_the_explicit_loop(k1, k2, x64):
    cell = rj.LSTM(4)
    arguments = draw(cell)
    lengths = jnp.array([TIME, 5, 0])
    resets = jnp.asarray(options()["resets"])

    def by_hand(*arguments):
        out = truncated_by_hand(cell, *arguments, k1, k2, lengths, resets)
        return weigh(out)

    want = jax.jit(jax.grad(by_hand, (0, 1, 2)))(*arguments)
    got = gradients(
        cell,
        arguments,
        lengths=lengths,
        resets=resets,
        backward=rj.Truncated(k1, k2),
    )
    close(got, want)


def test_truncated_has_forward_mode(x64):
    cell = rj.LSTM(3)
    params, _, xs = draw(cell)

    def loss(params):
        return weigh(rj.unroll(cell, params, xs, backward=rj.Truncated(2, 4)))

    ones = jax.tree.map(jnp.ones_like, params)
    _, forward = jax.jit(lambda p: jax.jvp(loss, (p,), (ones,)))(params)
    gradient = jax.jit(jax.grad(loss))(params)
    close(forward, sum(jnp.sum(g) for g in jax.tree.leaves(gradient)))


@pytest.mark.slow
def test_truncated_reversed_is_truncated_of_the_flipped():
    cell = rj.GRU(4)
    params, carry, xs = draw(cell)
    cut = rj.Truncated(2, 3)
    got = gradients(cell, (params, carry, xs), reverse=True, backward=cut)

    def flipped(params, carry, xs):
        final, ys = rj.unroll(cell, params, xs[::-1], carry=carry, backward=cut)
        return weigh((final, ys[::-1]))

    close(got, jax.jit(jax.grad(flipped, (0, 1, 2)))(params, carry, xs), 1e-5)


@functools.partial(jax.jit, static_argnums=0)
def clipped_by_hand(cell, arguments, max_norm, max_value):
    """Back-propagation written out, the carry's cotangent clipped at every step."""
    params, carry, xs = arguments
    pulls, ys = [], []
    for x in xs:
        (carry, y), pull = jax.vjp(cell.step, params, carry, x)
        pulls.append(pull)
        ys.append(y)
    ys = jnp.stack(ys)
    d_carry, d_ys = jax.grad(weigh)((carry, ys))
    d_params, d_xs = jax.tree.map(jnp.zeros_like, params), []
    for t in reversed(range(len(xs))):
        norm = jnp.sqrt(sum(jnp.sum(d**2, -1) for d in d_carry))[:, None]
        factor = jnp.minimum(1, max_norm / norm)
        d_carry = jax.tree.map(
            lambda d: jnp.clip(d * factor, -max_value, max_value), d_carry
        )
        more, d_carry, d_x = pulls[t]((d_carry, d_ys[t]))
        d_params = jax.tree.map(jnp.add, d_params, more)
        d_xs.insert(0, d_x)
    return d_params, d_carry, jnp.stack(d_xs)


@pytest.mark.mostly_slow
@pytest.mark.flags
@pytest.mark.parametrize("max_norm, max_value", [(0.5, 1e9), (1e9, 0.2), (0.5, 0.2)])
def test_clipped_is_the_explicit_loop(max_norm, max_value, x64):
    cell = rj.LSTM(4)
    arguments = draw(cell)
    backward = rj.ClippedBackward(max_norm, max_value)
    got = gradients(cell, arguments, backward=backward)
    close(got, clipped_by_hand(cell, arguments, max_norm, max_value))
    loose = gradients(cell, arguments, backward=rj.ClippedBackward(1e9, 1e9))
    close(loose, gradients(cell, arguments))


def test_clipping_inside_tames_an_explosion_that_clipping_outside_cannot():
    cell = rj.Elman(1, activation=jax.nn.identity, use_bias=False)
    params = rj.Elman.Params(jnp.ones((1, 1)), jnp.full((1, 1), 2.0), None)
    xs = jnp.ones((200, 1))

    def last(xs, backward):
        return rj.unroll(cell, params, xs, backward=backward)[0].h[0]

    assert not bool(jnp.all(jnp.isfinite(jax.grad(last)(xs, rj.Autodiff()))))
    clipped = jax.grad(last)(xs, rj.ClippedBackward(max_norm=1.0))
    np.testing.assert_allclose(clipped, 1.0)


def last_gradient(dtype, scale, backward, hidden=2):
    """Return the gradient by the inputs of a loss `scale` times as steep."""
    cell = rj.Elman(hidden, activation=jax.nn.identity, use_bias=False)
    params = rj.cells.ElmanParams(
        jnp.ones((1, hidden), dtype), jnp.eye(hidden, dtype=dtype), None
    )

    def last(xs):
        final, _ = rj.unroll(cell, params, xs, backward=backward)
        return (final.h * jnp.asarray(scale, dtype)).sum()

    return jax.grad(last)(jnp.ones((3, 1), dtype)).ravel()


@pytest.mark.mostly_slow
@pytest.mark.flags
@pytest.mark.parametrize(
    ("dtype", "scale"),
    [
        ("float16", 300),
        ("float16", 65504),
        ("bfloat16", 1e25),
        ("float32", 1e20),
        ("float32", 3e38),
        ("float32", 1e-40),
        ("float16", jnp.inf),
        ("float32", -jnp.inf),
    ],
)
def test_a_norm_that_overflows_is_clipped_too(dtype, scale):
    got = last_gradient(dtype, scale, rj.ClippedBackward(max_norm=1.0))
    size = min(abs(scale), 0.5**0.5)  # of each of two equal parts
    want = 2 * np.copysign(size, scale)
    np.testing.assert_allclose(got.astype("float32"), want, rtol=5e-3, atol=1e-39)


def test_one_infinite_part_is_what_the_clipped_gradient_points_at():
    clipped = rj.ClippedBackward(max_norm=3.0)
    got = last_gradient("float32", [[1.0, -jnp.inf]], clipped)
    np.testing.assert_allclose(got, -3.0)
    assert np.isnan(last_gradient("float32", [[1.0, jnp.nan]], clipped)).all()


@pytest.mark.mostly_slow
@pytest.mark.parametrize(
    "backward", [rj.ClippedBackward(1e-5), rj.ClippedBackward(None, 1e-5)]
)
def test_integers_in_a_carry_are_not_clipped(backward, x64):
    cell = rj.BatchNormLSTM(4, max_steps=3)
    params, xs = cell.init(jax.random.key(0), 2), jnp.ones((5, 3, 2))

    def loss(params, backward):
        return rj.unroll(cell, params, xs, backward=backward)[1].sum()

    got = jax.grad(loss)(params, backward)
    loose = jax.grad(loss)(params, rj.ClippedBackward(1e9, 1e9))
    close(loose, jax.grad(loss)(params, rj.Autodiff()))
    assert float(jnp.abs(got.recurrent_kernel - loose.recurrent_kernel).max()) > 0


def test_second_order_through_a_cotangent_of_zero(x64):
    cell = rj.GRU(2)
    params = cell.init(jax.random.key(0), 1)
    xs = jnp.ones((3, 1))

    def slope(xs, backward):
        def first(xs):  # the last step has no part in it
            return rj.unroll(cell, params, xs, backward=backward)[1][:2].sum()

        return (jax.grad(first)(xs) ** 2).sum()

    second = jax.jit(jax.grad(slope), static_argnums=1)
    loose = second(xs, rj.ClippedBackward(max_norm=1e9))
    close(loose, second(xs, rj.Autodiff()))
    tight = second(xs, rj.ClippedBackward(max_norm=0.1))
    assert bool(jnp.isfinite(tight).all())


def test_forward_mode_of_a_clipped_backward_names_what_has_it():
    cell = rj.Elman(3)
    params, _, xs = draw(cell)

    def loss(params):
        clipped = rj.ClippedBackward(max_norm=1.0)
        return rj.unroll(cell, params, xs, backward=clipped)[1].sum()

    with pytest.raises(TypeError, match=r"ClippedBackward.*rj\.Autodiff\(\)"):
        jax.jvp(loss, (params,), (params,))


def temporary_bytes(backward, time):
    cell = rj.LSTM(16)
    params = cell.init(jax.random.key(0), in_features=8)

    def loss(params, xs):
        return rj.unroll(cell, params, xs, backward=backward)[0].h.sum()

    xs = jax.ShapeDtypeStruct((time, 4, 8), "float32")
    compiled = jax.jit(jax.grad(loss)).lower(params, xs).compile()
    return compiled.memory_analysis().temp_size_in_bytes


@pytest.mark.slow
@pytest.mark.flags
def test_checkpointed_memory_grows_as_the_square_root():
    small, large = (temporary_bytes(rj.Checkpointed(), t) for t in (1024, 16 * 1024))
    assert large < 6 * small  # four times, and what does not grow
    assert large < temporary_bytes(rj.Deferred(), 16 * 1024) / 4
    assert temporary_bytes(rj.Deferred(), 4096) < temporary_bytes(rj.Autodiff(), 4096)


@pytest.mark.parametrize(
    ("time", "lengths"),
    [(16, []), (17, []), (18, [18]), (170, [10, 17]), (900, [30])],
)
def test_no_block_takes_less_than_the_parameters(time, lengths, monkeypatch):
    monkeypatch.setattr(_checkpointed, "_least", LEAST)
    cell = rj.LSTM(8)  # 17 times 32 parameters, and 32 numbers in the gates of a step
    params, xs = cell.init(jax.random.key(0), 8), jnp.zeros((time, 1, 8))

    def run(params):
        return rj.unroll(cell, params, xs, backward=rj.Checkpointed())[1].sum()

    # Without blocks, the derivative is not another program.
    assert ("_derived" in str(jax.make_jaxpr(run)(params))) == bool(lengths)
    text = str(jax.make_jaxpr(jax.grad(run))(params))
    for length in lengths:
        assert f"length={length}" in text


@pytest.mark.mostly_slow
@pytest.mark.parametrize("backward", ALL, ids=names(ALL))
def test_what_is_compiled_does_not_grow_with_time(backward):
    cell = rj.LSTM(4)
    params, _, _ = draw(cell)

    def loss(params, xs):
        return rj.unroll(cell, params, xs, backward=backward)[1].sum()

    sizes = [
        str(jax.make_jaxpr(jax.grad(loss))(params, jnp.ones((time, 2, 2)))).split()
        for time in (1500, 15000)
    ]
    counts = [size.count("=") for size in sizes]
    # A shorter block at the end, where there is one, is compiled apart.
    assert max(counts) <= 2 * min(counts)


@pytest.mark.parametrize("backward", ALL, ids=names(ALL))
def test_strategies_are_values(backward):
    twin = pickle.loads(pickle.dumps(backward))
    assert twin == backward and hash(twin) == hash(backward)
    assert eval(repr(backward), vars(rj)) == backward


@pytest.mark.parametrize(
    "build, message",
    [
        (lambda: rj.Deferred(block=0), "Deferred: block must be at least 1, got 0"),
        (
            lambda: rj.Checkpointed(every=2.0),
            "every must be a Python integer or None, got 2.0",
        ),
        (lambda: rj.Checkpointed(levels=0), "levels must be at least 1, got 0"),
        (lambda: rj.Truncated(4, 3), "k2=3 is less than k1=4"),
        (lambda: rj.Truncated(0), "k1 must be at least 1"),
        (
            lambda: rj.ClippedBackward(max_norm=-1.0),
            "max_norm must be above 0, got -1.0",
        ),
    ],
)
def test_bad_settings_are_refused(build, message):
    with pytest.raises((TypeError, ValueError), match=message):
        build()


def test_a_backward_that_is_none_of_them_is_refused():
    cell = rj.Elman(3)
    params, _, xs = draw(cell)
    with pytest.raises(TypeError, match="backward must be a strategy.*rj.Deferred"):
        rj.unroll(cell, params, xs, backward="deferred")
    with pytest.raises(TypeError, match="build one first"):
        rj.unroll(cell, params, xs, backward=rj.Deferred)


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.5, 0.1, 0.03])
def test_a_budget_of_memory_is_kept(share):
    time, cell = 4096, rj.LSTM(16)
    whole = temporary_bytes(rj.Deferred(), time)
    # Outputs and inputs with their gradients are there whatever is kept.
    beside = 4 * time * 4 * (8 + 16) * 2
    budget = int(share * whole)
    took = temporary_bytes(rj.Checkpointed(budget=budget), time)
    assert took < budget + beside
    assert took < whole
    params, carry, xs = draw(cell)
    tight = rj.Checkpointed(budget=6000)
    close(
        gradients(cell, (params, carry, xs), backward=tight),
        gradients(cell, (params, carry, xs)),
        1e-5,
    )


def test_a_budget_that_nothing_fits_says_what_does():
    cell = rj.LSTM(16)
    params, carry, xs = draw(cell)
    with pytest.raises(ValueError, match=r"budget=10 bytes is too little for 7 steps"):
        gradients(cell, (params, carry, xs), backward=rj.Checkpointed(budget=10))
    with pytest.raises(ValueError, match="either budget, or every and levels"):
        rj.Checkpointed(every=3, budget=1000)


_SHARDED = """
import jax, jax.numpy as jnp, numpy as np
import recurrent_jax as rj
from jax.sharding import NamedSharding, PartitionSpec as P

assert jax.device_count() == 4
auto, explicit = (
    jax.make_mesh((4,), ("batch",), axis_types=(kind,))
    for kind in (jax.sharding.AxisType.Auto, jax.sharding.AxisType.Explicit)
)
xs = jax.random.normal(jax.random.key(1), (12, 8, 3))
lengths = jnp.arange(8) + 4

def same(a, b):
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)

for cell, mesh, axis, backward in [
    (rj.LSTM(8), auto, 0, None),  # a kernel for each device inside `shard_map`
    (rj.LSTM(8), auto, 0, rj.Autodiff()),
    (rj.LSTM(8), auto, 0, rj.Deferred(block=4)),
    (rj.LSTM(8), auto, 0, rj.Checkpointed(every=4)),
    (rj.LSTM(8), auto, 1, rj.Deferred(block=4)),
    # Not Autodiff: JAX 0.12 does not differentiate such a scan.
    (rj.LSTM(8), explicit, 0, None),
    (rj.LSTM(8), explicit, 0, rj.Deferred(block=4)),
    (rj.LSTM(8), explicit, 0, rj.Checkpointed(every=4)),
    (rj.GRU(8), explicit, 1, rj.Deferred(block=4)),
]:
    options = {"time_axis": axis, "backward": backward}

    def loss(params, xs, lengths):
        carry, ys = rj.unroll(cell, params, xs, lengths=lengths, **options)
        return jnp.sum(jnp.sin(ys)) + sum(map(jnp.sum, carry))

    step = jax.jit(jax.value_and_grad(loss, (0, 1)))
    params = cell.init(jax.random.key(0), in_features=3)
    laid = jnp.moveaxis(xs, 0, axis)
    want = step(params, laid, lengths)
    place = lambda a, *axes: jax.device_put(a, NamedSharding(mesh, P(*axes)))
    split = place(laid, *(None,) * (1 - axis), "batch"), place(lengths, "batch")
    whole = jax.tree.map(place, params)
    got = step(whole, *split)
    jax.tree.map(same, got, want)
    assert "batch" in str(got[1][1].sharding.spec)
    text = step.lower(whole, *split).compile().as_text()
    assert "all-gather" not in text and "all-to-all" not in text, (mesh, options)
    if mesh is explicit or axis:
        continue

    def local(params, xs, lengths):
        return jax.lax.psum(loss(params, xs, lengths), "batch")

    mapped = jax.shard_map(
        local, mesh=mesh, in_specs=(P(), P(None, "batch"), P("batch")), out_specs=P()
    )
    got = jax.jit(jax.value_and_grad(mapped, (0, 1)))(whole, *split)
    jax.tree.map(same, got, want)
print("sharded as whole")
"""


_EXPLICIT = """
import jax, jax.numpy as jnp, numpy as np
import recurrent_jax as rj
from jax.sharding import PartitionSpec as P

mesh = jax.make_mesh((8,), ("b",), axis_types=(jax.sharding.AxisType.Explicit,))
xs = jax.random.normal(jax.random.key(1), (4, 8, 3))
cells = [
    rj.Zoneout(rj.GRU(8), 0.2),
    rj.Deep((rj.LSTM(8), rj.GRU(8)), dropout=0.2),
    rj.BatchNormLSTM(8, max_steps=3),
]
for cell in cells:
    for key in (None, jax.random.key(2)):

        def loss(params, xs):
            carry, ys = rj.unroll(cell, params, xs, key=key)
            return jnp.sum(jnp.sin(ys)), ys

        step = jax.value_and_grad(loss, has_aux=True)
        params = cell.init(jax.random.key(0), in_features=3)
        want = step(params, xs)
        with jax.set_mesh(mesh):
            split = jax.device_put(xs, P(None, "b"))
            whole = jax.device_put(params, P())
            for run in (step, jax.jit(step)):
                got = run(whole, split)
                jax.tree.map(
                    lambda a, b: np.testing.assert_allclose(a, b, 1e-4, 1e-5), got, want
                )
                assert "b" in got[0][1].sharding.spec

methods = [
    (rj.GatedDeltaNet(4, heads=2), rj.Chunked(2)),
    (rj.GRU(4), rj.Newton()),
    (rj.IndRNN(4), rj.Newton()),
    (rj.ConvLSTM(2, (3,)), rj.Sequential()),
    (rj.AntisymmetricRNN(8), rj.Sharded(batch="b")),
    (rj.BatchNormLSTM(8, max_steps=3), rj.Sharded(batch="b")),
    (rj.S4D(3, state_size=16), rj.Sharded(batch="b")),
]
for cell, method in methods:
    images = isinstance(cell, rj.ConvLSTM)
    params = cell.init(jax.random.key(0), in_features=1 if images else 3)
    lengths = jnp.arange(8) % 5

    def loss(params, xs, lengths, method=method, images=images):
        xs = xs[..., None] if images else xs
        ys = rj.unroll(cell, params, xs, lengths=lengths, method=method)[1]
        return jnp.sum(jnp.sin(ys))

    step = jax.jit(jax.grad(loss, (0, 1)), static_argnums=3)
    want = step(params, xs, lengths, rj.Sequential())
    with jax.set_mesh(mesh):
        split = jax.device_put(xs, P(None, "b")), jax.device_put(lengths, P("b"))
        parts = isinstance(method, rj.Sharded)
        stored = method.shardings(mesh, params) if parts else P()
        got = step(jax.device_put(params, stored), *split, method)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, 1e-4, 1e-5), got, want
    )

def text(xs):
    cell = rj.LSTM(8)
    params = cell.init(jax.random.key(0), in_features=3)
    loop = rj.Sequential()
    return str(jax.make_jaxpr(lambda x: rj.unroll(cell, params, x, method=loop))(xs))

auto = jax.make_mesh((8,), ("b",), axis_types=(jax.sharding.AxisType.Auto,))
split = jax.device_put(xs, jax.sharding.NamedSharding(auto, P(None, "b")))
assert "f32[32,3]" in text(xs), "data of one device are not one table of rows"
assert "f32[32,3]" not in text(split), "a batch that is shared out is flattened"
print("explicit as whole")
"""


@pytest.mark.newest
@pytest.mark.parametrize(
    ("count", "program", "said"),
    [(4, _SHARDED, "sharded as whole"), (8, _EXPLICIT, "explicit as whole")],
    ids=["automatic", "explicit"],
)
def test_a_sharded_batch_equals_a_whole_one(count, program, said):
    flags = os.environ.get("XLA_FLAGS", "")
    flags += f" --xla_force_host_platform_device_count={count}"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        env={**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == f"{said}\n", done.stderr[-3000:]


class Renamed:
    """The type of an array in a JAX that has other names for where it lies."""

    def __init__(self, aval):
        self.aval = aval

    def __getattr__(self, name):
        if name in ("manual_axis_type", "vma", "sharding"):
            raise AttributeError(name)
        return getattr(self.aval, name)


@pytest.mark.newest
def test_no_name_of_jax_for_where_data_lie_is_needed(monkeypatch):
    cell = rj.Zoneout(rj.LSTM(4), 0.1)
    params, carry, xs = draw(cell)

    def gradient(params):
        out = rj.unroll(cell, params, xs, carry=carry, key=jax.random.key(1))
        return weigh(out)

    want = jax.jit(jax.grad(gradient))(params)
    jax.clear_caches()
    typeof = jax.typeof
    monkeypatch.setattr(jax, "typeof", lambda a: Renamed(typeof(a)))
    close(jax.jit(jax.grad(gradient))(params), want)


def test_no_block_is_run_again_where_no_derivative_is_asked_for():
    cell = rj.GRU(4)
    params, xs = cell.init(jax.random.key(0), 3), jnp.ones((9, 2, 3))

    def run(params):
        return rj.unroll(cell, params, xs, backward=rj.Checkpointed(every=2))[1].sum()

    forward, both = (str(jax.make_jaxpr(f)(params)) for f in (run, jax.grad(run)))
    assert "checkpoint" not in forward and "remat" not in forward
    assert "checkpoint" in both or "remat" in both


@pytest.mark.parametrize(
    "cell", [rj.UGRNN(4), rj.MinLSTM(4), rj.Zoneout(rj.GRU(4), 0.1)]
)
def test_the_default_gradient_without_jit(cell, x64):
    params = cell.init(jax.random.key(0), 3)
    xs = jax.random.normal(jax.random.key(1), (5, 2, 3))
    gradient = jax.grad(lambda p: jnp.sum(jnp.sin(rj.unroll(cell, p, xs)[1])))
    want = gradient(params)
    with jax.disable_jit():
        got = gradient(params)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-12)
