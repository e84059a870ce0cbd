# SPDX-License-Identifier: Apache-2.0
"""Retention against NumPy, step by step and in the paper's parallel form."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import recurrent_jax as rj
from cells.common import compare, count
from cells.linear import agree


def heads_of(params, x, heads):
    """Return q, k and v, `(heads, ..., channels)`."""
    parts = ((x @ kernel).reshape(*x.shape[:-1], heads, -1) for kernel in params)
    return [np.moveaxis(part, -2, 0) for part in parts]


def retention(params, carry, x):
    """Sun et al., 2023, the recurrent form, head by head."""
    q, k, v = heads_of(params, x, len(carry.S))
    after, outputs = [], []
    for n, S in enumerate(carry.S):
        S = (1 - 2.0 ** (-5 - n)) * S + np.outer(k[n], v[n])
        after.append(S)
        outputs.append(q[n] / np.sqrt(len(k[n])) @ S)
    return (np.stack(after),), np.concatenate(outputs)


@pytest.mark.parametrize("options", [{"heads": 2, "key_size": 3}, {"heads": 1}])
def test_equations(options):
    compare(rj.RetNet(4, **options), retention)


@pytest.mark.slow
def test_methods():
    agree(rj.RetNet(4, heads=2, key_size=3))


@pytest.mark.parametrize("method", [rj.Sequential(), rj.Associative(), rj.Chunked()])
def test_the_parallel_form(method, x64):
    """Products with a matrix D of decays, from an empty state."""
    cell = rj.RetNet(8, heads=4, key_size=3)
    params = cell.init(jax.random.key(0), 5)
    xs = jax.random.normal(jax.random.key(1), (200, 5))
    got = rj.unroll(cell, params, xs, method=method)[1]
    q, k, v = heads_of(jax.tree.map(np.asarray, params), np.asarray(xs), 4)
    apart = np.arange(200)[:, None] - np.arange(200)
    want = []
    for n in range(4):
        D = np.where(apart >= 0, (1 - 2.0 ** (-5 - n)) ** np.abs(apart), 0)
        want.append((q[n] @ k[n].T * D) @ v[n] / np.sqrt(3))
    np.testing.assert_allclose(got, np.concatenate(want, axis=1), atol=1e-12)


def test_half_is_forgotten(x64):
    """The first head forgets half in 22 steps, the next in twice as many."""
    cell = rj.RetNet(4, heads=4)
    params = jax.tree.map(jnp.zeros_like, cell.init(jax.random.key(0), 1))
    start = cell.Carry(jnp.ones((4, 1, 1)))
    for n in range(4):
        xs = jnp.zeros((22 * 2**n, 1))
        S = rj.unroll(cell, params, xs, carry=start)[0].S
        np.testing.assert_allclose(S[n], 0.5, atol=0.01)


@pytest.mark.slow
def test_bfloat16():
    """Decays that round to 1 in 16 bits, as those of the last heads here do."""
    cell = rj.RetNet(32, heads=8)
    params = cell.init(jax.random.key(0), 3)
    xs = jax.random.normal(jax.random.key(1), (300, 2, 3))
    want = rj.unroll(cell, params, xs)[1]
    narrow = jax.tree.map(lambda a: a.astype(jnp.bfloat16), (params, xs))
    got = rj.unroll(cell, *narrow, method=rj.Chunked())[1].astype(float)
    assert float(jnp.max(jnp.abs(got - want))) < 0.01 * float(jnp.max(jnp.abs(want)))


def test_parameters():
    D, H, N, K = 3, 8, 2, 5
    assert count(rj.RetNet(H), D) == 3 * D * H
    assert count(rj.RetNet(H, N, K), D) == D * (2 * N * K + H)


def test_heads_divide_units():
    with pytest.raises(ValueError, match="heads must divide hidden_size=6, got 4"):
        rj.RetNet(6)
