# SPDX-License-Identifier: Apache-2.0
"""Gated linear attention against NumPy, step by step and in its parallel form."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import recurrent_jax as rj
from cells.common import compare, count, sigmoid
from cells.linear import agree


def heads_of(params, x, heads, tau=16):
    """Return q, k, v and the gates, `(heads, ..., channels)`."""
    down, up, bias = params[3:]
    gates = sigmoid(x @ down @ up + bias) ** (1 / tau)
    parts = *(x @ kernel for kernel in params[:3]), gates
    return [
        np.moveaxis(part.reshape(*x.shape[:-1], heads, -1), -2, 0) for part in parts
    ]


def gla(params, carry, x, tau=16):
    """Yang et al., 2024, the recurrent form, head by head."""
    q, k, v, a = heads_of(params, x, len(carry.S), tau)
    after, outputs = [], []
    for n, S in enumerate(carry.S):
        S = np.diag(a[n]) @ S + np.outer(k[n], v[n])
        after.append(S)
        outputs.append(q[n] / np.sqrt(len(k[n])) @ S)
    return (np.stack(after),), np.concatenate(outputs)


@pytest.mark.parametrize("options", [{"heads": 2, "key_size": 3}, {"heads": 1}])
def test_equations(options):
    compare(rj.GatedLinearAttention(4, rank=2, **options), gla)


def test_temperature():
    cell = rj.GatedLinearAttention(4, heads=2, rank=2, temperature=1.5)
    compare(cell, lambda *step: gla(*step, tau=1.5))


@pytest.mark.slow
def test_methods():
    agree(rj.GatedLinearAttention(4, heads=2, key_size=3, rank=2, temperature=2.0))


@pytest.mark.parametrize("method", [rj.Sequential(), rj.Associative(), rj.Chunked()])
def test_the_parallel_form(method, x64):
    """q times, and k divided by, the product of all gates so far."""
    cell = rj.GatedLinearAttention(8, heads=2, key_size=3)
    params = cell.init(jax.random.key(0), 5)
    xs = jax.random.normal(jax.random.key(1), (100, 5))
    got = rj.unroll(cell, params, xs, method=method)[1]
    q, k, v, a = heads_of(jax.tree.map(np.asarray, params), np.asarray(xs), 2)
    b = np.cumprod(a, axis=1)
    want = [np.tril(q[n] * b[n] @ (k[n] / b[n]).T) @ v[n] for n in range(2)]
    want = np.concatenate(want, axis=1) / np.sqrt(3)
    np.testing.assert_allclose(got, want, atol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("method", [rj.Sequential(), rj.Associative(), rj.Chunked()])
def test_closed_gates(method):
    """Gates whose products are too small for a float leave no NaN, nor infinities."""
    cell = rj.GatedLinearAttention(4, heads=2, temperature=1.0)
    params = cell.init(jax.random.key(0), 3)
    params = params._replace(decay_bias=jnp.full(4, -200.0))
    xs = jax.random.normal(jax.random.key(1), (50, 3))

    def total(params, xs):
        ys = rj.unroll(cell, params, xs, method=method)[1]
        return jnp.sum(ys**2), ys

    slopes = jax.jit(jax.grad(total, (0, 1), has_aux=True))
    grads, ys = slopes(params, xs)
    assert all(bool(jnp.all(jnp.isfinite(g))) for g in jax.tree.leaves(grads))
    q, (_, k, v) = cell.project(params, xs)  # with nothing kept
    want = (jnp.sum(q * k, axis=-1, keepdims=True) * v).reshape(50, 4)
    np.testing.assert_allclose(ys, want, atol=1e-6)


def test_gates_as_they_start():
    cell = rj.GatedLinearAttention(8)
    params = cell.init(jax.random.key(0), 3)
    g = cell.project(params, jnp.zeros(3))[1].log_decay
    np.testing.assert_allclose(jnp.exp(g), 2 ** (-1 / 16), rtol=1e-6)
    np.testing.assert_allclose(2 ** (-1 / 16), 0.96, atol=0.005)


def test_parameters():
    D, H, N, K, R = 3, 8, 2, 5, 7
    counted = count(rj.GatedLinearAttention(H), D)
    assert counted == 3 * D * H + 16 * (D + H) + H
    counted = count(rj.GatedLinearAttention(H, N, K, R), D)
    assert counted == D * (2 * N * K + H) + R * (D + N * K) + N * K


def test_heads_divide_units():
    with pytest.raises(ValueError, match="heads must divide hidden_size=6, got 4"):
        rj.GatedLinearAttention(6)
