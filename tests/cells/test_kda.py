# SPDX-License-Identifier: Apache-2.0
"""KDA against NumPy, and beside Gated DeltaNet where they are the same."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import recurrent_jax as rj
from cells.common import compare, count, sigmoid
from cells.linear import CHUNKED, agree


def silu(a):
    return a * sigmoid(a)


def unit(a):
    return a / np.sqrt(np.sum(a**2) + 1e-6)


def kda(params, carry, x, most=1, phi=silu):
    """Kimi Team, 2025, equation 1, head by head, with the state as (K, V)."""
    heads = len(carry.S)
    q, k, v = (phi(x @ kernel).reshape(heads, -1) for kernel in params[:3])
    beta = most * sigmoid(x @ params.strength_kernel)
    step = x @ params.decay_down @ params.decay_up + params.decay_bias
    step = np.logaddexp(0, step).reshape(heads, -1)
    after, outputs = [], []
    for n, S in enumerate(carry.S):
        key = unit(k[n])
        alpha = np.exp(-np.exp(params.log_rate[n]) * step[n])
        erase = np.eye(len(key)) - beta[n] * np.outer(key, key)
        S = erase @ np.diag(alpha) @ S + beta[n] * np.outer(key, v[n])
        after.append(S)
        outputs.append(S.T @ unit(q[n]) / np.sqrt(len(key)))
    return (np.stack(after),), np.concatenate(outputs)


def test_equations():
    compare(rj.KDA(4, heads=2, key_size=3, rank=2), kda)


@pytest.mark.slow
def test_options():
    cell = rj.KDA(4, heads=1, negative_eigenvalues=True, activation=jnp.tanh)
    compare(cell, lambda *step: kda(*step, most=2, phi=np.tanh))


@pytest.mark.slow
def test_methods():
    cell = rj.KDA(4, heads=2, key_size=3, rank=2, negative_eigenvalues=True)
    agree(cell, CHUNKED)


@pytest.mark.slow
def test_no_tree_of_steps():
    cell = rj.KDA(8)
    params = cell.init(jax.random.key(0), 3)
    with pytest.raises(TypeError, match=r"Delta do not combine.* rj\.Chunked\(\)"):
        rj.unroll(cell, params, jnp.ones((5, 3)), method=rj.Associative())


@pytest.mark.slow
@pytest.mark.parametrize("method", [rj.Chunked(4), rj.Sequential()])
def test_gated_delta_net_of_equal_channels(method, x64):
    """With one decay for all channels of a head, it is Gated DeltaNet."""
    cell, other = rj.KDA(6, heads=2, rank=2), rj.GatedDeltaNet(6, heads=2)
    params = other.init(jax.random.key(0), 5)
    same = cell.init(jax.random.key(0), 5)._replace(
        **{name: getattr(params, name) for name in params._fields[:4]},
        decay_down=params.decay_kernel,
        decay_up=jnp.repeat(jnp.eye(2), 3, axis=1),
        decay_bias=jnp.repeat(params.decay_bias, 3),
        log_rate=params.log_rate,
    )
    xs = jax.random.normal(jax.random.key(1), (30, 2, 5))
    got = rj.unroll(cell, same, xs, method=method)
    want = rj.unroll(other, params, xs, method=rj.Sequential())
    np.testing.assert_allclose(got[1], want[1], rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(got[0].S, want[0].S, rtol=1e-10, atol=1e-12)


@pytest.mark.slow
def test_parity(x64):
    """With beta = 2 a step can reflect the state, so its sign is a parity."""
    cell = rj.KDA(1, heads=1, negative_eigenvalues=True)
    params = jax.tree.map(jnp.zeros_like, cell.init(jax.random.key(0), 1))
    params = params._replace(
        query_kernel=jnp.ones((1, 1)),
        key_kernel=jnp.ones((1, 1)),
        strength_kernel=jnp.full((1, 1), 60.0),
        log_rate=jnp.full(1, -50.0),
    )
    bits = np.random.default_rng(0).integers(0, 2, 40)
    xs = jnp.where(bits == 1, 9.0, -9.0)[:, None]
    start = cell.Carry(jnp.ones((1, 1, 1)))
    S = rj.unroll(cell, params, xs, carry=start)[0].S
    assert abs(float(S[0, 0, 0])) > 0.9
    assert (float(S[0, 0, 0]) < 0) == bool(np.sum(bits) % 2)


@pytest.mark.slow
def test_decays_as_they_start():
    params = rj.KDA(4000, heads=4000).init(jax.random.key(0), 3)
    rates = jnp.exp(params.log_rate)
    assert 0.999 <= float(rates.min()) < 1.1 and 15.9 < float(rates.max()) <= 16.01
    assert abs(float(rates.mean()) - 8.5) < 0.3
    step = jax.nn.softplus(params.decay_bias)
    assert bool(jnp.all((step > 0.001) & (step < 0.101)))


@pytest.mark.slow
def test_inputs_of_zero():
    """The key of a padded step has no direction."""
    cell = rj.KDA(8)
    params = cell.init(jax.random.key(0), 3, jnp.float16)

    def total(params, xs):
        return jnp.sum(rj.unroll(cell, params, xs)[1] ** 2)

    grads = jax.grad(total, (0, 1))(params, jnp.zeros((5, 2, 3), jnp.float16))
    assert all(bool(jnp.all(jnp.isfinite(g))) for g in jax.tree.leaves(grads))


@pytest.mark.slow
def test_precision():
    """The triangular solve of a chunk loses few digits."""
    cell = rj.KDA(32, heads=2, negative_eigenvalues=True)
    params = cell.init(jax.random.key(0), 16)
    xs = jax.random.normal(jax.random.key(1), (400, 2, 16))
    got = np.asarray(rj.unroll(cell, params, xs, method=rj.Chunked(8))[1])
    with jax.enable_x64(True):
        exact = jax.tree.map(lambda a: jnp.asarray(a, "float64"), (params, xs))
        want = np.asarray(rj.unroll(cell, *exact, method=rj.Sequential())[1])
    assert np.max(np.abs(got - want)) < 1e-5 * np.max(np.abs(want))


def test_parameters():
    D, H, N, K, R = 3, 8, 2, 5, 6
    assert count(rj.KDA(H), D) == 3 * D * H + 4 * D + 2 * (D + H) + H + 4
    counted = count(rj.KDA(H, N, K, R), D)
    assert counted == D * (2 * N * K + H + N + R) + N * K * (R + 1) + N


def test_heads_divide_units():
    with pytest.raises(ValueError, match="heads must divide hidden_size=6, got 4"):
        rj.KDA(6)
