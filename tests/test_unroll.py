# SPDX-License-Identifier: Apache-2.0
"""What `unroll` takes, how it composes with JAX, and what it costs to trace."""

import functools
import importlib
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import FEW
from jax.sharding import PartitionSpec as P

import recurrent_jax as rj

pytestmark = [pytest.mark.flags, pytest.mark.usefixtures("strict_ranks")]
TIME, BATCH, FEATURES = 6, 3, 2
cells = pytest.mark.parametrize("cell", FEW.values(), ids=FEW.keys())


def draw(cell, batch_shape=(BATCH,), dtype=jnp.float32):
    keys = jax.random.split(jax.random.key(0))
    params = cell.init(keys[0], FEATURES, dtype)
    return params, jax.random.normal(keys[1], (TIME, *batch_shape, FEATURES), dtype)


def close(a, b, rtol=1e-5):
    jax.tree.map(
        functools.partial(np.testing.assert_allclose, rtol=rtol, atol=rtol), a, b
    )


@pytest.mark.mostly_slow
@pytest.mark.parametrize("batch_shape", [(), (2,), (2, 3), (1, 2, 2)])
def test_any_batch_rank_with_lengths(batch_shape):
    cell = rj.LSTM(4)
    params, xs = draw(cell, batch_shape)
    lengths = np.arange(np.prod(batch_shape, dtype=int)).reshape(batch_shape) % TIME
    carry, ys = rj.unroll(cell, params, xs, lengths=lengths)
    assert carry.h.shape == (*batch_shape, 4)
    for index in itertools.product(*map(range, batch_shape)):
        n = int(lengths[index])
        want, some = rj.unroll(cell, params, xs[(slice(n), *index)])
        close(jax.tree.map(lambda c: c[index], carry), want)
        close(ys[(slice(n), *index)], some)


@pytest.mark.nans
@pytest.mark.parametrize("method", [rj.Sequential(), rj.Fused()], ids=str)
def test_a_reset_or_nan_in_the_padding_does_nothing(method):
    cell = rj.LSTM(4)
    params, xs = draw(cell)
    lengths = jnp.array([2, 6, 0])
    padding = jnp.arange(TIME)[:, None] >= lengths[None]
    run = functools.partial(rj.unroll, cell, params, lengths=lengths, method=method)
    want = run(xs)
    xs = jnp.where(padding[..., None], jnp.nan, xs)
    got = run(xs, resets=padding)
    close(got, want)


def test_lengths_beyond_time_are_seen_under_jit_when_concrete():
    cell = rj.LSTM(4)
    params, xs = draw(cell)
    lengths = np.array([2, 7, 0])
    with pytest.raises(ValueError, match="between 0 and time=6, got 7"):
        jax.jit(lambda x: rj.unroll(cell, params, x, lengths=lengths))(xs)
    traced = jax.jit(lambda x, n: rj.unroll(cell, params, x, lengths=n))
    close(traced(xs, lengths), rj.unroll(cell, params, xs, lengths=np.array([2, 6, 0])))


@pytest.mark.slow
@cells
def test_forward_mode_and_second_order(cell, x64):
    params, xs = draw(cell, dtype=float)

    def loss(params):
        carry, ys = rj.unroll(cell, params, xs)
        return jnp.sum(jnp.sin(ys)) + sum(map(jnp.sum, jax.tree.leaves(carry)))

    tangent = jax.tree.map(jnp.ones_like, params)
    gradient = jax.jit(jax.grad(loss))(params)
    _, forward = jax.jit(lambda: jax.jvp(loss, (params,), (tangent,)))()
    close(forward, sum(map(jnp.sum, jax.tree.leaves(gradient))), 1e-10)

    def along(params):
        return jax.jvp(loss, (params,), (tangent,))[1]

    reverse_over_forward = jax.jit(jax.grad(along))(params)
    over = jax.jit(lambda: jax.jvp(jax.grad(loss), (params,), (tangent,)))
    _, forward_over_reverse = over()
    close(reverse_over_forward, forward_over_reverse, 1e-9)
    assert max(float(jnp.abs(g).max()) for g in jax.tree.leaves(gradient)) > 0


@pytest.mark.mostly_slow
@cells
def test_an_ensemble_is_vmap_over_parameters(cell):
    _, xs = draw(cell)
    keys = jax.random.split(jax.random.key(1), 4)
    params = jax.vmap(lambda key: cell.init(key, FEATURES))(keys)
    got = jax.vmap(lambda p: rj.unroll(cell, p, xs))(params)
    for n in range(4):
        one = jax.tree.map(lambda p: p[n], params)
        close(jax.tree.map(lambda a: a[n], got), rj.unroll(cell, one, xs))


@pytest.mark.mostly_slow
@cells
def test_gradients_per_example(cell):
    params, xs = draw(cell)

    def loss(params, xs):
        return jnp.sum(rj.unroll(cell, params, xs)[1] ** 2)

    slope = jax.jit(jax.grad(loss))
    each = jax.jit(jax.vmap(jax.grad(loss), in_axes=(None, 1)))(params, xs)
    total = slope(params, xs)
    close(jax.tree.map(lambda g: g.sum(0), each), total, 1e-4)
    close(jax.tree.map(lambda g: g[1], each), slope(params, xs[:, 1]), 1e-4)


def test_step_is_a_scan_body():
    cell = rj.GRU(4)
    params, xs = draw(cell)
    start = cell.initial_carry((BATCH,))
    got = jax.lax.scan(functools.partial(cell.step, params), start, xs)
    close(got, rj.unroll(cell, params, xs))


def test_shard_map_over_the_batch():
    cell = rj.LSTM(4)
    params, xs = draw(cell)
    mesh = jax.make_mesh((1,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    run = jax.shard_map(
        lambda p, x, n: rj.unroll(cell, p, x, lengths=n),
        mesh=mesh,
        in_specs=(P(), P(None, "data"), P("data")),
        out_specs=(P("data"), P(None, "data")),
    )
    lengths = jnp.array([6, 2, 0])
    close(run(params, xs, lengths), rj.unroll(cell, params, xs, lengths=lengths))


def test_one_trace_whatever_holds_the_numbers():
    traces = []

    @functools.partial(jax.jit, static_argnums=0)
    def run(cell, params, xs, carry):
        traces.append(cell)
        return rj.unroll(cell, params, xs, carry=carry)

    cell = rj.LSTM(4)
    params, xs = draw(cell)
    start = cell.initial_carry((BATCH,))
    run(cell, params, xs, start)
    run(rj.LSTM(4), jax.tree.map(np.asarray, params), np.asarray(xs), start)
    assert len(traces) == 1


def test_a_weakly_typed_carry_is_accepted():
    cell = rj.Elman(4)
    params, xs = draw(cell)
    weak = rj.Elman.Carry(jnp.broadcast_to(jnp.asarray(0.0), (BATCH, 4)))
    close(rj.unroll(cell, params, xs, carry=weak), rj.unroll(cell, params, xs))


@pytest.mark.skipif(
    jax.config.jax_check_tracer_leaks, reason="leak checks switch the caches off"
)
def test_calls_outside_of_jit_are_compiled_once():
    cell = rj.LSTM(4)
    params, xs = draw(cell)
    rj.unroll(cell, params, xs)
    with jax.log_compiles(False):
        import logging

        records = []
        handler = logging.Handler()
        handler.emit = records.append
        logger = logging.getLogger("jax._src.dispatch")
        level = logger.level
        logger.addHandler(handler)
        logger.setLevel(logging.DEBUG)
        try:
            rj.unroll(rj.LSTM(4), params, xs)
        finally:
            logger.removeHandler(handler)
            logger.setLevel(level)
    compiled = [r.getMessage() for r in records if "compilation" in r.getMessage()]
    assert not compiled


def test_the_compiled_size_does_not_grow_with_time():
    cell = rj.LSTM(4)
    params, _ = draw(cell)

    def loss(params, xs):
        return jnp.sum(rj.unroll(cell, params, xs)[1])

    texts = [
        jax.jit(jax.grad(loss)).lower(params, jnp.ones((time, 2, FEATURES))).as_text()
        for time in (10, 1000)
    ]
    assert texts[0].count("\n") == texts[1].count("\n")


@pytest.mark.mostly_slow
@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
@cells
def test_low_precision_stays_low(cell, dtype):
    params, xs = draw(cell, dtype=jnp.dtype(dtype))
    carry, ys = rj.unroll(cell, params, xs, lengths=np.array([6, 2, 0]))
    for leaf in jax.tree.leaves((params, carry, ys)):
        assert leaf.dtype == dtype
        assert bool(jnp.all(jnp.isfinite(leaf)))


def test_an_error_inside_a_cell_carries_a_note_about_the_axes():
    class Broken(rj.Elman):
        def project(self, params, x):
            raise RuntimeError("deep inside")

    cell = Broken(4)
    params, xs = draw(cell)
    with pytest.raises(RuntimeError) as caught:
        rj.unroll(cell, params, xs)
    notes = " ".join(caught.value.__notes__)
    assert "read as (time=6, batch=3, features=2)" in notes


def test_outside_of_jit_nothing_is_computed_before_the_compiled_program(monkeypatch):
    module = importlib.import_module("recurrent_jax._loop.unroll")
    monkeypatch.setattr(module, "_run", lambda *arguments: (arguments, None))
    cell = rj.LSTM(3)
    params = cell.init(jax.random.key(0), in_features=2)
    flags = jnp.ones((5, 7), bool)
    given = jnp.ones((5, 7, 2)), jnp.full(5, 7), flags, ~flags
    xs, lengths, mask, resets = given
    arguments, _ = rj.unroll(
        cell, params, xs, lengths=lengths, mask=mask, resets=resets, time_axis=1
    )
    handed = jax.tree.leaves(arguments[2:])
    assert {id(a) for a in handed} == {id(a) for a in (*params, *given)}
