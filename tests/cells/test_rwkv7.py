# SPDX-License-Identifier: Apache-2.0
"""RWKV-7 against NumPy, and what the paper says of its start."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import recurrent_jax as rj
from cells.common import compare, count, sigmoid
from cells.linear import CHUNKED, agree


def rwkv7(params, carry, x):
    """Peng et al., 2025, equations 4 to 17, with their state, which is (V, K)."""
    heads = len(carry.S)
    r, k, v = (x @ kernel for kernel in params[:3])
    d = params.decay_bias + np.tanh(x @ params.decay_down) @ params.decay_up
    w = np.exp(-np.exp(-0.5) * sigmoid(d))
    a = sigmoid(params.rate_bias + x @ params.rate_down @ params.rate_up)
    removal = k * params.removal
    k = k + (a - 1) * params.replacement * k
    r, k, v, w, a, removal = (p.reshape(heads, -1) for p in (r, k, v, w, a, removal))
    after, outputs = [], []
    for n in range(heads):
        kappa = removal[n] / np.sqrt(np.sum(removal[n] ** 2) + 1e-12)
        G = np.diag(w[n]) - np.outer(kappa, a[n] * kappa)
        wkv = carry.S[n].T @ G + np.outer(v[n], k[n])
        u = np.sum(r[n] * params.bonus[n] * k[n]) * v[n]
        outputs.append(wkv @ r[n] + u)
        after.append(wkv.T)
    return (np.stack(after),), np.concatenate(outputs)


@pytest.mark.mostly_slow
@pytest.mark.parametrize("heads", [1, 2])
def test_equations(heads):
    compare(rj.RWKV7(4, heads=heads, rank=3), rwkv7)


@pytest.mark.slow
def test_methods():
    agree(rj.RWKV7(4, heads=2, rank=3), CHUNKED)


def test_no_tree_of_steps():
    cell = rj.RWKV7(8)
    params = cell.init(jax.random.key(0), 3)
    with pytest.raises(TypeError, match=r"Delta do not combine.* rj\.Chunked\(\)"):
        rj.unroll(cell, params, jnp.ones((5, 3)), method=rj.Associative())


def test_decays_are_bounded():
    cell = rj.RWKV7(8, heads=2, rank=3)
    params = cell.init(jax.random.key(0), 3)
    wild = jax.tree.map(lambda p: 100 * p, params)
    wild = wild._replace(decay_down=wild.decay_down + 1.0)
    xs = jax.random.normal(jax.random.key(1), (50, 3))
    w = cell.project(wild, xs)[1].log_decay
    assert float(w.min()) >= -0.6065307 and float(w.max()) <= 0


@pytest.mark.slow
def test_start():
    """The authors' numbers for their first layer, for each channel n of 12."""
    H, N = 12, 3
    params = rj.RWKV7(H, heads=N).init(jax.random.key(0), 12)
    for n in range(H):
        line = n / (H - 1) - 0.5
        bend = ((n % 4) - 1.5) / 1.5
        bend *= abs(bend)
        want = {
            "decay_bias": -6 + 6 * n / (H - 1) + 0.5 + 2.5 * bend,
            "rate_bias": -0.19 + 0.3 * bend + 0.4 * line,
            "removal": 0.71 - 0.1 * line,
            "replacement": 1.02,
        }
        for name, value in want.items():
            assert abs(float(getattr(params, name)[n]) - value) < 1e-6, name
    assert bool(jnp.all(params.bonus == np.float32(-0.04)))
    k = params.key_kernel
    np.testing.assert_allclose(k @ k.T, 0.01 * np.eye(H), atol=1e-6)
    assert not np.any(params.decay_down) and not np.any(params.rate_down)


@pytest.mark.parametrize(("H", "R"), [(1, 32), (8, 32), (768, 64), (2048, 128)])
def test_rank(H, R):
    shapes = jax.eval_shape(lambda: rj.RWKV7(H, heads=1).init(jax.random.key(0), 3))
    assert shapes.decay_down.shape == shapes.rate_down.shape == (3, R)


@pytest.mark.slow
def test_inputs_of_zero():
    """The key of a padded step has no direction."""
    cell = rj.RWKV7(8)
    for dtype in (jnp.bfloat16, jnp.float16, jnp.float32):
        params = cell.init(jax.random.key(0), 3, dtype)

        def total(params, xs):
            return jnp.sum(rj.unroll(cell, params, xs)[1] ** 2)

        grads = jax.grad(total, (0, 1))(params, jnp.zeros((5, 2, 3), dtype))
        assert all(bool(jnp.all(jnp.isfinite(g))) for g in jax.tree.leaves(grads))


@pytest.mark.slow
def test_precision():
    """The triangular solve of a chunk loses few digits."""
    cell = rj.RWKV7(64, heads=2)
    params = cell.init(jax.random.key(0), 16)
    params = params._replace(key_kernel=10 * params.key_kernel)
    xs = jax.random.normal(jax.random.key(1), (1000, 4, 16))
    got = np.asarray(rj.unroll(cell, params, xs, method=rj.Chunked())[1])
    with jax.enable_x64(True):
        exact = jax.tree.map(lambda a: jnp.asarray(a, "float64"), (params, xs))
        want = np.asarray(rj.unroll(cell, *exact, method=rj.Sequential())[1])
    assert np.max(np.abs(got - want)) < 1e-5 * np.max(np.abs(want))


def test_parameters():
    D, H, R = 3, 8, 5
    assert count(rj.RWKV7(H, rank=R), D) == 3 * D * H + 2 * R * (D + H) + 5 * H


def test_heads_divide_units():
    with pytest.raises(ValueError, match="heads must divide hidden_size=6, got 4"):
        rj.RWKV7(6)
