# SPDX-License-Identifier: Apache-2.0
"""S4D against complex NumPy, step by step and as the paper's convolution."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import recurrent_jax as rj
from cells.common import compare, count
from cells.linear import EVERY, agree
from recurrent_jax.cells._s4d import SPECTRA
from recurrent_jax.cells._s5 import legendre


def joined(pair):
    return np.asarray(pair.real) + 1j * np.asarray(pair.imag)


def discrete(params, discretization="zoh", scale=1.0):
    """Gu et al., 2022, section 2: A and B in discrete time, with B = 1."""
    A = -np.exp(params.log_rate) + 1j * params.frequency
    step = scale * np.exp(params.log_step)[:, None]
    if discretization == "zoh":
        return np.exp(step * A), (np.exp(step * A) - 1) / A
    return (1 + step * A / 2) / (1 - step * A / 2), step / (1 - step * A / 2)


def s4d(params, carry, u, **options):
    A, B = discrete(params, **options)
    s = A * joined(carry) + B * u[:, None]
    y = 2 * np.sum(joined(params.output_kernel) * s, axis=1).real
    return (s.real, s.imag), y + params.skip * u


@pytest.mark.mostly_slow
@pytest.mark.parametrize("discretization", ["zoh", "bilinear"])
def test_equations(discretization):
    cell = rj.S4D(3, state_size=2, discretization=discretization)
    compare(cell, lambda *step: s4d(*step, discretization=discretization))


@pytest.mark.slow
def test_step_scale():
    cell = rj.S4D(3, state_size=2, step_scale=30)
    compare(cell, lambda *step: s4d(*step, scale=30))


@pytest.mark.slow
def test_methods():
    agree(rj.S4D(3, state_size=2), (*EVERY, rj.Chunked()))


@pytest.mark.mostly_slow
@pytest.mark.parametrize("method", [rj.Chunked(7), rj.Associative(), rj.Sequential()])
def test_convolution(method, x64):
    """From zero, a feature is convolved with the powers of A: the Vandermonde form."""
    T, cell = 60, rj.S4D(3, state_size=4, max_step=1.0)
    params = cell.init(jax.random.key(0), 3)
    us = np.asarray(jax.random.normal(jax.random.key(1), (T, 3)))
    got = rj.unroll(cell, params, us, method=method)[1]
    params = jax.tree.map(np.asarray, params)
    A, B = discrete(params)
    powers = A[..., None] ** np.arange(T)
    K = 2 * np.einsum("hn,hnt->ht", joined(params.output_kernel) * B, powers).real
    want = np.stack([np.convolve(K[h], us[:, h])[:T] for h in range(3)], axis=1)
    np.testing.assert_allclose(got, want + params.skip * us, rtol=1e-9, atol=1e-11)


def test_init(x64):
    cell = rj.S4D(2000, state_size=3, min_step=0.01, max_step=0.02)
    params = jax.tree.map(np.asarray, cell.init(jax.random.key(0), 2000))
    np.testing.assert_allclose(np.exp(params.log_rate), 0.5)
    np.testing.assert_allclose(params.frequency[7], [0, np.pi, 2 * np.pi])
    assert 0.01 <= np.exp(params.log_step.min())
    assert np.exp(params.log_step.max()) <= 0.02
    assert np.mean(params.log_step) == pytest.approx(np.log(0.01 * 0.02) / 2, rel=0.01)
    C = joined(params.output_kernel)
    assert np.mean(np.abs(C) ** 2) == pytest.approx(1, rel=0.05)
    assert np.var(params.skip) == pytest.approx(1, rel=0.1)


def test_spectra():
    """Of the paper, and the normal part of HiPPO-LegS as in S5."""
    full = 8  # the paper's N, of which these are one of each pair
    want = [full / np.pi * (full / (2 * n + 1) - 1) for n in range(4)]
    np.testing.assert_allclose(SPECTRA["inv"](4), want)
    np.testing.assert_array_equal(SPECTRA["legs"](4), legendre(4)[0].imag)


@pytest.mark.slow
@pytest.mark.parametrize("narrow", ["bfloat16", "float16"])
def test_fast_states_in_16_bits(narrow):
    """The square of the greatest frequency is no number of float16."""
    cell = rj.S4D(3, state_size=64, spectrum="inv")
    params = cell.init(jax.random.key(0), 3, narrow)
    assert float(jnp.max(params.frequency)) > 256
    prepared = cell.prepare(params)
    leaves = jax.tree.leaves((params, prepared))
    assert all(a.dtype == narrow and bool(jnp.all(jnp.isfinite(a))) for a in leaves)


def test_parameters():
    H, N = 5, 7
    assert count(rj.S4D(H), H) == 4 * 32 * H + 2 * H
    assert count(rj.S4D(H, state_size=N), H) == 4 * N * H + 2 * H


def test_errors():
    with pytest.raises(ValueError, match=r"min_step must be at most max_step=0.1"):
        rj.S4D(4, min_step=1.0)
    with pytest.raises(ValueError, match="in_features must be hidden_size=4.* got 3"):
        rj.S4D(4).init(jax.random.key(0), 3)
    with pytest.raises(ValueError, match="spectrum must be"):
        rj.S4D(4, spectrum="real")
