# SPDX-License-Identifier: Apache-2.0
"""Sequences that do not have time first: the same, and cut where they lie."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_check_cell import PairInput

import recurrent_jax as rj

TIME, BATCH, FEATURES = 7, (2, 3), 2
STRATEGIES = [
    rj.Autodiff(),
    rj.Deferred(),
    rj.Deferred(block=2),
    rj.Checkpointed(every=3),
    rj.Checkpointed(every=4, levels=2),
    rj.Truncated(2),
    rj.ClippedBackward(max_value=0.1),
]
strategies = pytest.mark.parametrize("backward", STRATEGIES, ids=map(repr, STRATEGIES))


def draw(cell):
    keys = iter(jax.random.split(jax.random.key(0), 5))
    shape = TIME, *BATCH
    xs = jax.random.normal(next(keys), (*shape, FEATURES))
    if isinstance(cell, PairInput):
        xs = xs, jax.random.bernoulli(next(keys), shape=shape)
    lengths = np.array([[7, 3, 0], [5, 6, 7]])
    return cell.init(next(keys), FEATURES), xs, lengths


def score(cell, params, xs, axis, **options):
    xs = jax.tree.map(lambda a: jnp.moveaxis(a, 0, axis), xs)
    final, ys = rj.unroll(cell, params, xs, time_axis=axis, **options)
    ys = jnp.moveaxis(ys, axis, 0)
    leaves = [ys, *jax.tree.leaves(final)]
    return sum(
        jnp.vdot(a, jnp.sin(jnp.arange(1.0, 1 + a.size)).reshape(a.shape))
        for a in leaves
    )


def close(got, want):
    def one(a, b):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-10)

    jax.tree.map(one, got, want)


@pytest.mark.mostly_slow
@pytest.mark.parametrize(("axis", "reverse"), [(1, False), (2, True)])
@strategies
def test_gradients_do_not_depend_on_the_layout(backward, axis, reverse, x64):
    cell = rj.LSTM(4)
    params, xs, lengths = draw(cell)
    for given in (None, lengths):
        options = {"backward": backward, "reverse": reverse, "lengths": given}
        run = jax.value_and_grad(functools.partial(score, cell, **options), (0, 1))
        run = jax.jit(run, static_argnums=2)
        close(run(params, xs, axis), run(params, xs, 0))


@pytest.mark.slow
@pytest.mark.parametrize("backward", STRATEGIES[:4], ids=map(repr, STRATEGIES[:4]))
def test_other_modes_and_orders(backward, x64):
    cell = rj.GRU(3)
    params, xs, _ = draw(cell)

    def of(axis):
        return functools.partial(score, cell, axis=axis, backward=backward)

    def along(f):  # forward mode, forward over reverse, reverse over reverse
        slope = jax.grad(f, (0, 1))
        primals, tangents = (params, xs), jax.tree.map(jnp.cos, (params, xs))

        def inner(*primals):
            products = jax.tree.map(jnp.vdot, slope(*primals), tangents)
            return sum(jax.tree.leaves(products))

        return (
            jax.jvp(f, primals, tangents),
            jax.jvp(slope, primals, tangents)[1],
            jax.grad(inner, (0, 1))(*primals),
            jax.vmap(slope, (None, 2))(params, xs[:, :, :, None]),
        )

    close(*jax.jit(lambda: (along(of(1)), along(of(0))))())


@pytest.mark.mostly_slow
@strategies
def test_an_input_of_several_arrays(backward, x64):
    cell = PairInput(3)
    params, xs, lengths = draw(cell)
    run = functools.partial(score, cell, lengths=lengths, backward=backward)
    run = jax.jit(jax.value_and_grad(run), static_argnums=2)
    close(run(params, xs, 1), run(params, xs, 0))


def temporary_bytes(axis, argnums):
    cell = rj.LSTM(8)
    params = jax.eval_shape(lambda: cell.init(jax.random.key(0), in_features=256))

    def loss(params, xs):
        options = {"time_axis": axis, "backward": rj.Deferred(block=16)}
        return rj.unroll(cell, params, xs, **options)[0].h.sum()

    xs = jax.ShapeDtypeStruct((512, 4, 256) if axis == 0 else (4, 512, 256), "float32")
    compiled = jax.jit(jax.grad(loss, argnums)).lower(params, xs).compile()
    return compiled.memory_analysis().temp_size_in_bytes


@pytest.mark.mostly_slow
@pytest.mark.parametrize("argnums", [(0,), (0, 1)])
def test_a_sequence_is_not_copied_to_have_time_first(argnums):
    size = 512 * 4 * 256 * 4
    first, second = (temporary_bytes(axis, argnums) for axis in (0, 1))
    assert second - first < size / 8
