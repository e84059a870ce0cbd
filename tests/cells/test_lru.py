# SPDX-License-Identifier: Apache-2.0
"""LRU against complex NumPy, step by step and as a convolution."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import recurrent_jax as rj
from cells.common import compare, count
from cells.linear import agree


def matrices(params):
    """Return lambda, B scaled by gamma, and C, as complex arrays."""
    lam = np.exp(-np.exp(params.nu) + 1j * np.exp(params.theta))
    B = params.kernel.real + 1j * params.kernel.imag
    C = params.output_kernel.real + 1j * params.output_kernel.imag
    return lam, np.exp(params.log_gamma) * B, C


def lru(params, carry, x):
    """Orvieto et al., 2023, with the normalisation of their section 3.4."""
    lam, B, C = matrices(params)
    h = lam * (carry.real + 1j * carry.imag) + x @ B
    y = (h @ C).real
    if params.skip is not None:
        y = y + params.skip * x
    return (h.real, h.imag), y


@pytest.mark.parametrize("hidden", [3, 4])
def test_equations(hidden):
    """With three inputs: three outputs have a skip connection, four have none."""
    compare(rj.LRU(hidden, state_size=2), lru)


@pytest.mark.mostly_slow
@pytest.mark.parametrize("hidden", [3, 4])
def test_methods(hidden):
    agree(rj.LRU(hidden, state_size=5))


@pytest.mark.slow
@pytest.mark.parametrize("method", [rj.Sequential(), rj.Associative(), rj.Chunked()])
def test_convolution(method, x64):
    """From zero, the outputs are a convolution with Re(C lambda^t B)."""
    T, cell = 200, rj.LRU(3, min_radius=0.9, max_radius=0.999)
    params = cell.init(jax.random.key(0), 3)
    xs = jax.random.normal(jax.random.key(1), (T, 3))
    lam, B, C = matrices(jax.tree.map(np.asarray, params))
    powers = lam ** np.arange(T)[:, None]
    filters = np.einsum("dn,tn,nh->tdh", B, powers, C).real
    want = [
        np.einsum("td,tdh->h", xs[t::-1], filters[: t + 1]) + params.skip * xs[t]
        for t in range(T)
    ]
    got = rj.unroll(cell, params, xs, method=method)[1]
    np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-11)


def test_init(x64):
    """Uniform on a ring, and states whose variance in the long run is that of x B."""
    cell = rj.LRU(2, state_size=10_000, min_radius=0.5, max_radius=0.9, max_phase=0.3)
    params = jax.tree.map(np.asarray, cell.init(jax.random.key(0), 50))
    lam, B, C = matrices(params)
    radius, angle = np.abs(lam), np.angle(lam)
    assert 0.5 < radius.min() and radius.max() < 0.9
    assert 0 < angle.min() and angle.max() < 0.3
    # The area within a radius, and the angle, are uniform: so are their means.
    assert np.mean(radius**2) == pytest.approx((0.5**2 + 0.9**2) / 2, rel=0.01)
    assert np.mean(angle) == pytest.approx(0.15, rel=0.02)
    np.testing.assert_allclose(np.exp(2 * params.log_gamma), 1 - radius**2)
    plain = B / np.exp(params.log_gamma)
    assert np.mean(np.abs(plain) ** 2) == pytest.approx(1 / 50, rel=0.02)
    assert np.mean(np.abs(C) ** 2) == pytest.approx(2 / 10_000, rel=0.03)


def test_the_whole_disc(dtype):
    """The default ring is the disc, whose ends have no logarithm."""
    params = rj.LRU(1, state_size=20_000).init(jax.random.key(0), 1, dtype)
    leaves = jax.tree.leaves(params)
    assert all(bool(jnp.all(jnp.isfinite(a))) and a.dtype == dtype for a in leaves)


@pytest.mark.parametrize("nu", [-60.0, 60.0])
def test_extreme_rates(nu):
    """A state that never decays, or at once, has finite gradients."""
    cell = rj.LRU(4)
    params = cell.init(jax.random.key(0), 3)._replace(nu=jnp.full(4, nu))
    xs = jax.random.normal(jax.random.key(1), (9, 3))

    def total(params, xs):
        return jnp.sum(rj.unroll(cell, params, xs)[1])

    grads = jax.grad(total, (0, 1))(params, xs)
    assert all(bool(jnp.all(jnp.isfinite(g))) for g in jax.tree.leaves(grads))


def test_parameters():
    D, H, N = 3, 5, 7
    assert count(rj.LRU(H), D) == 3 * H + 2 * H * (D + H)
    assert count(rj.LRU(H, state_size=N), D) == 3 * N + 2 * N * (D + H)
    assert count(rj.LRU(D, state_size=N), D) == 3 * N + 4 * N * D + D


def test_radii_in_order():
    message = "min_radius must be at least 0 and below max_radius=0.5, got 0.5"
    with pytest.raises(ValueError, match=message):
        rj.LRU(4, min_radius=0.5, max_radius=0.5)
    with pytest.raises(ValueError, match=r"min_radius must be at least 0 .* got -0.1"):
        rj.LRU(4, min_radius=-0.1)


@pytest.mark.slow
def test_a_ring_near_one_in_16_bits():
    cell = rj.LRU(1, state_size=20_000, min_radius=0.99, max_radius=0.999)
    params = cell.init(jax.random.key(0), 1, "bfloat16")
    assert all(bool(jnp.isfinite(a).all()) for a in jax.tree.leaves(params))
