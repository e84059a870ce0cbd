# SPDX-License-Identifier: Apache-2.0
"""Mamba against NumPy, step by step, and beside Mamba-2 where they are the same."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import recurrent_jax as rj
from cells.common import compare, count, sigmoid
from cells.linear import EVERY, agree


def silu(a):
    return a * sigmoid(a)


def s6(params, carry, x, phi=silu):
    """Gu and Dao, 2023, algorithm 2, feature by feature, with B as in their code."""
    u = phi(x @ params.value_kernel)
    B, C = u @ params.key_kernel, u @ params.query_kernel
    delta = np.logaddexp(0, params.step_bias + u @ params.step_down @ params.step_up)
    after, y = [], []
    for d, h in enumerate(carry.h):
        A = np.diag(-np.exp(params.log_rate[d]))
        h = np.diag(np.exp(delta[d] * np.diag(A))) @ h + delta[d] * B * u[d]
        after.append(h)
        y.append(C @ h + params.skip[d] * u[d])
    return (np.stack(after),), np.stack(y)


def test_equations():
    compare(rj.Mamba(4, state_size=3, rank=2), s6)


@pytest.mark.slow
def test_activation():
    cell = rj.Mamba(4, state_size=2, activation=jnp.tanh)
    compare(cell, lambda *step: s6(*step, phi=np.tanh))


@pytest.mark.slow
def test_methods():
    agree(rj.Mamba(8, state_size=16, rank=3), (*EVERY, rj.Chunked()))


def test_a_loop_computes_values_on_a_cpu():
    """The same bits, as for a matrix: chunks are for the derivative."""
    cell = rj.Mamba(8)
    params = cell.init(jax.random.key(0), 3)
    xs = jax.random.normal(jax.random.key(1), (20, 3))
    one, two, three = (
        rj.unroll(cell, params, xs, method=method)[1]
        for method in (None, rj.Sequential(), rj.Chunked(5))
    )
    assert bool(jnp.all(one == two))
    np.testing.assert_allclose(three, two, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_mamba2_of_one_rate(x64):
    """With one rate and time step for all entries, it is Mamba-2 of one head."""
    H, N, D = 4, 3, 5
    one, two = rj.Mamba(H, state_size=N, rank=1), rj.Mamba2(H, heads=1, key_size=N)
    mine, other = (cell.init(jax.random.key(0), D) for cell in (one, two))
    W = mine.value_kernel
    mine = mine._replace(
        step_up=jnp.ones((1, H)),
        step_bias=jnp.full(H, other.step_bias[0]),
        log_rate=jnp.full((H, N), other.log_rate[0]),
    )
    other = other._replace(
        query_kernel=W @ mine.query_kernel,
        key_kernel=W @ mine.key_kernel,
        value_kernel=W,
        step_kernel=W @ mine.step_down,
    )
    # Without activation, both read the same of x.
    one, two = (
        type(cell)(**{**vars(cell), "activation": jax.nn.identity})
        for cell in (one, two)
    )
    xs = jax.random.normal(jax.random.key(1), (40, 2, D))
    carry, ys = rj.unroll(one, mine, xs)
    want, outputs = rj.unroll(two, other, xs)
    np.testing.assert_allclose(ys, outputs, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(carry.h, want.S[:, 0].swapaxes(1, 2), atol=1e-12)


@pytest.mark.slow
def test_time_steps_select():
    """No time passes: the state is kept. Much passes: only the input counts."""
    cell = rj.Mamba(4, state_size=3)
    params = cell.init(jax.random.key(0), 3)
    x = jax.random.normal(jax.random.key(1), (1, 3))
    start = cell.Carry(jnp.ones((4, 3)))
    for bias in (-1e3, 1e3):
        made = params._replace(step_bias=jnp.full(4, bias))
        h = rj.unroll(cell, made, x, carry=start)[0].h
        u, B, _, dt = cell.project(made, x[0])
        want = start.h if bias < 0 else (dt * u)[:, None] * B
        np.testing.assert_allclose(h, want, rtol=1e-5)


@pytest.mark.slow
def test_start():
    cell = rj.Mamba(4000, state_size=5, rank=16)
    params = cell.init(jax.random.key(0), 3)
    np.testing.assert_allclose(jnp.exp(params.log_rate[9]), np.arange(1, 6), rtol=1e-6)
    steps = np.asarray(cell.project(params, jnp.zeros(3)).dt)
    assert 0.000999 < steps.min() < 0.00101 and 0.099 < steps.max() < 0.1001
    assert abs(np.log10(steps).mean() + 2) < 0.03
    assert bool(jnp.all(params.skip == 1))
    assert 0.24 < float(jnp.max(jnp.abs(params.step_up))) <= 0.25


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_half_precision(dtype):
    cell = rj.Mamba(8)
    params = cell.init(jax.random.key(0), 3, dtype)
    steps = cell.project(params, jnp.zeros(3, dtype)).dt
    assert 0.0009 < float(steps.min()) and float(steps.max()) < 0.11


def test_chunks_fit_into_the_cache():
    """The memory of a gradient is that of a block of states, and not of all."""
    cell, T = rj.Mamba(32), 4096
    params = jax.eval_shape(lambda: cell.init(jax.random.key(0), 32))
    xs = jax.ShapeDtypeStruct((T, 4, 32), jnp.float32)

    def slope(params, xs):
        return jax.grad(lambda p: jnp.sum(rj.unroll(cell, p, xs)[1]))(params)

    states = T * 4 * 32 * 16 * 4
    analysis = jax.jit(slope).lower(params, xs).compile().memory_analysis()
    assert analysis.temp_size_in_bytes < states / 2


def test_parameters():
    D, H, N, R = 3, 40, 5, 7
    assert count(rj.Mamba(H), D) == D * H + H * (2 * 16 + 2 * 2 + 16 + 2)
    counted = count(rj.Mamba(H, N, R), D)
    assert counted == D * H + H * (3 * N + 2 * R + 2)


def test_wrong_options():
    with pytest.raises(ValueError, match=r"at most max_step_size=0.1, got 0.2"):
        rj.Mamba(6, min_step_size=0.2)
