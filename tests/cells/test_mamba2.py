# SPDX-License-Identifier: Apache-2.0
"""Mamba-2 against NumPy, step by step and as masked attention."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import recurrent_jax as rj
from cells.common import compare, count, sigmoid
from cells.linear import agree


def silu(a):
    return a * sigmoid(a)


def parts_of(params, u, heads, groups, phi=silu):
    """Return X, dt, A, B and C of the paper, with time first."""
    X = phi(u @ params.value_kernel).reshape(*u.shape[:-1], heads, -1)
    B, C = (
        phi(u @ kernel).reshape(*u.shape[:-1], groups, -1)
        for kernel in (params.key_kernel, params.query_kernel)
    )
    dt = np.logaddexp(0, u @ params.step_kernel + params.step_bias)
    return X, dt, -np.exp(params.log_rate), B, C


def mamba2(params, carry, u, groups=1, phi=silu):
    """Dao and Gu, 2024, head by head, with their state, which is (P, N)."""
    heads = len(carry.S)
    X, dt, A, B, C = parts_of(params, u, heads, groups, phi)
    after, outputs = [], []
    for n in range(heads):
        group = n // (heads // groups)
        h = np.exp(dt[n] * A[n]) * carry.S[n].T + np.outer(X[n], dt[n] * B[group])
        after.append(h.T)
        outputs.append(h @ C[group] + params.skip[n] * X[n])
    return (np.stack(after),), np.concatenate(outputs)


@pytest.mark.mostly_slow
@pytest.mark.parametrize("options", [{"heads": 2, "key_size": 3}, {"heads": 1}])
def test_equations(options):
    compare(rj.Mamba2(4, **options), mamba2)


@pytest.mark.slow
def test_groups_and_activation():
    cell = rj.Mamba2(4, heads=4, key_size=2, groups=2, activation=jnp.tanh)
    compare(cell, lambda *step: mamba2(*step, groups=2, phi=np.tanh))


@pytest.mark.slow
@pytest.mark.parametrize("groups", [1, 2])
def test_methods(groups):
    agree(rj.Mamba2(4, heads=2, key_size=3, groups=groups))


@pytest.mark.parametrize("method", [rj.Sequential(), rj.Associative(), rj.Chunked()])
def test_masked_attention(method, x64):
    """The dual form, (L * C B^T) X, from an empty state."""
    cell = rj.Mamba2(8, heads=4, key_size=3, groups=2, max_step_size=1.0)
    params = cell.init(jax.random.key(0), 5)
    xs = jax.random.normal(jax.random.key(1), (200, 5))
    got = rj.unroll(cell, params, xs, method=method)[1]
    params = jax.tree.map(np.asarray, params)
    X, dt, A, B, C = parts_of(params, np.asarray(xs), 4, 2)
    want = []
    for n in range(4):
        total = np.cumsum(dt[:, n] * A[n])
        L = np.exp(np.tril(total[:, None] - total)) * np.tri(200)
        attention = L * (C[:, n // 2] @ B[:, n // 2].T)
        want.append(attention @ (dt[:, n, None] * X[:, n]) + params.skip[n] * X[:, n])
    np.testing.assert_allclose(got, np.concatenate(want, axis=1), atol=1e-12)


def test_time_steps_select():
    """No time passes: the state is kept. Much passes: only the input counts."""
    cell = rj.Mamba2(4, heads=2)
    params = cell.init(jax.random.key(0), 3)
    x = jax.random.normal(jax.random.key(1), (1, 3))
    start = cell.Carry(jnp.ones((2, 2, 2)))
    for bias in (-1e3, 1e3):
        made = params._replace(step_bias=jnp.full(2, bias))
        S = rj.unroll(cell, made, x, carry=start)[0].S
        _, k, v, dt = cell.project(made, x[0])
        want = start.S
        if bias > 0:
            want = k[..., None] * (dt[:, None] * v)[:, None]
        np.testing.assert_allclose(S, want, rtol=1e-5)


def test_rates_and_steps_as_they_start():
    cell = rj.Mamba2(4000, heads=4000, key_size=1)
    params = cell.init(jax.random.key(0), 3)
    rates = jnp.exp(params.log_rate)
    assert 0.999 <= float(rates.min()) < 1.1 and 15.9 < float(rates.max()) <= 16.01
    assert abs(float(rates.mean()) - 8.5) < 0.3
    steps = np.asarray(cell.project(params, jnp.zeros(3)).dt)
    assert 0.000999 < steps.min() < 0.00101 and 0.099 < steps.max() < 0.1001
    assert abs(np.log10(steps).mean() + 2) < 0.03
    assert bool(jnp.all(params.skip == 1))


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_half_precision(dtype):
    cell = rj.Mamba2(8)
    params = cell.init(jax.random.key(0), 3, dtype)
    steps = cell.project(params, jnp.zeros(3, dtype)).dt
    assert 0.0009 < float(steps.min()) and float(steps.max()) < 0.11


def test_parameters():
    D, H, N, K, G = 3, 8, 4, 5, 2
    assert count(rj.Mamba2(H), D) == D * (2 * H // 4 + H + 4) + 12
    counted = count(rj.Mamba2(H, N, K, G), D)
    assert counted == D * (2 * G * K + H + N) + 3 * N


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"heads": 4}, "heads must divide hidden_size=6, got 4"),
        ({"heads": 3, "groups": 2}, "groups must divide heads=3, got 2"),
        (
            {"heads": 3, "min_step_size": 0.2},
            "at most max_step_size=0.1, got 0.2",
        ),
    ],
)
def test_wrong_options(options, message):
    with pytest.raises(ValueError, match=message):
        rj.Mamba2(6, **options)
