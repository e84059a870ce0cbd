# SPDX-License-Identifier: Apache-2.0
"""FFM against complex NumPy, step by step and as a sum over the past."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import recurrent_jax as rj
from cells.common import compare, count, sigmoid
from cells.linear import agree

SMALL = rj.FFM(3, trace_size=2, context_size=3)


def gamma(params):
    return np.exp(-np.abs(params.rate)[:, None] + 1j * params.frequency[None])


def inputs(params, x, M=2, H=3):
    """The gated input of the traces, the skip and the output gate."""
    a = x @ params.kernel + params.bias
    value, i, skip, g = np.split(a, (M, 2 * M, 2 * M + H), axis=-1)
    return value * sigmoid(i), skip, sigmoid(g)


def output(params, S, skip, g):
    W = params.output_kernel
    z = S.real.ravel() @ W.real + S.imag.ravel() @ W.imag + params.output_bias
    z = (z - np.mean(z)) / np.sqrt(np.var(z) + 1e-5)
    return g * z + (1 - g) * skip


def ffm(params, carry, x):
    """Morad et al., 2023, section 4, with the aggregator in its recurrent form."""
    trace, skip, g = inputs(params, x)
    S = gamma(params) * (carry.real + 1j * carry.imag) + trace[:, None]
    return (S.real, S.imag), output(params, S, skip, g)


def test_equations():
    compare(SMALL, ffm)


@pytest.mark.slow
def test_methods():
    agree(SMALL)


@pytest.mark.parametrize("method", [rj.Sequential(), rj.Associative(), rj.Chunked()])
def test_sum_over_the_past(method, x64):
    """From zero, every entry is a sum of inputs, each times a power of gamma.

    Over more steps than the paper's parallel form can do with these rates.
    """
    T = 1500
    params = SMALL.init(jax.random.key(0), 3)
    params = params._replace(rate=jnp.array([-0.9, 0.01]))
    xs = jax.random.normal(jax.random.key(1), (T, 3))
    got = rj.unroll(SMALL, params, xs, method=method)[1]
    params, xs = jax.tree.map(np.asarray, (params, xs))
    trace, skip, g = inputs(params, xs)
    for t in (0, 1, 700, T - 1):
        ages = np.arange(t, -1, -1)[:, None, None]
        S = np.sum(gamma(params) ** ages * trace[: t + 1, :, None], axis=0)
        want = output(params, S, skip[t], g[t])
        np.testing.assert_allclose(got[t], want, rtol=1e-8, atol=1e-10)


def test_init(x64):
    """Rates and periods are spaced evenly. The slowest trace keeps one percent."""
    params = rj.FFM(3, max_period=200.0).init(jax.random.key(0), 2)
    assert params.rate.shape == (32,) and params.frequency.shape == (4,)
    assert float(params.rate[0]) == pytest.approx(0.67)
    assert float(jnp.exp(-200 * params.rate[-1])) == pytest.approx(0.01)
    np.testing.assert_allclose(np.diff(params.rate, 2), 0, atol=1e-12)
    periods = 2 * np.pi / np.asarray(params.frequency)
    np.testing.assert_allclose(periods, np.linspace(1, 200, 4), rtol=1e-12)


def test_an_angle_tells_an_age(x64):
    """Half a turn after an input, the sign of its trace has changed."""
    cell = rj.FFM(3, context_size=1, min_period=20.0)
    params = cell.init(jax.random.key(0), 2)
    xs = jnp.zeros((11, 2)).at[0].set(1.0)
    start = rj.unroll(cell, params, xs[:1])[0]
    later = rj.unroll(cell, params, xs)[0]
    kept = np.exp(-10 * np.asarray(params.rate))[:, None]
    np.testing.assert_allclose(later.real, -kept * start.real, atol=1e-12)
    np.testing.assert_allclose(later.imag, 0, atol=1e-12)


@pytest.mark.parametrize("rate", [0.0, 1e4])
def test_extreme_rates(rate):
    """A trace that never decays, or at once, has finite gradients."""
    params = SMALL.init(jax.random.key(0), 3)._replace(rate=jnp.full(2, rate))
    xs = jax.random.normal(jax.random.key(1), (9, 3))

    def total(params, xs):
        return jnp.sum(jnp.sin(rj.unroll(SMALL, params, xs)[1]))

    grads = jax.jit(jax.grad(total, (0, 1)))(params, xs)
    assert all(bool(jnp.all(jnp.isfinite(g))) for g in jax.tree.leaves(grads))


def test_parameters():
    D, H, M, C = 3, 5, 7, 2
    want = M + C + 2 * (D + 1) * (M + H) + (2 * M * C + 1) * H
    assert count(rj.FFM(H, trace_size=M, context_size=C), D) == want


def test_periods_in_order():
    with pytest.raises(ValueError, match=r"min_period must be at most max_period=4.0"):
        rj.FFM(3, min_period=5.0, max_period=4.0)
