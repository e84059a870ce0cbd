# SPDX-License-Identifier: Apache-2.0
"""DiagonalGRU against its equations in NumPy, and against a GRU of diagonal kernels."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import recurrent_jax as rj
from cells.common import compare, count, sigmoid


def diagonal_gru(p, state, x):
    (W_r, W_z, W_n), (u_r, u_z, u_n), (b_r, b_z, b_n) = (
        np.split(a, 3, axis=-1) for a in (p.kernel, p.recurrent_scale, p.bias)
    )
    h = state.h
    r = sigmoid(x @ W_r + u_r * h + b_r)
    z = sigmoid(x @ W_z + u_z * h + b_z)
    n = np.tanh(x @ W_n + b_n + u_n * (r * h))
    h = (1 - z) * n + z * h
    return (h,), h


def test_equations():
    compare(rj.DiagonalGRU(3), diagonal_gru)


@pytest.mark.parametrize("use_bias", [True, False])
def test_count(use_bias):
    D, H = 3, 5
    assert count(rj.DiagonalGRU(H, use_bias=use_bias), D) == 3 * H * (D + 1 + use_bias)


def test_is_a_gru_with_diagonal_kernels(x64):
    params = rj.DiagonalGRU(3).init(jax.random.key(0), in_features=2)
    scales = jnp.split(params.recurrent_scale, 3)
    dense = rj.GRU.Params(
        params.kernel,
        jnp.concatenate([jnp.diag(u) for u in scales], axis=1),
        params.bias,
        None,
    )
    xs = jax.random.normal(jax.random.key(1), (6, 4, 2))
    _, got = rj.unroll(rj.DiagonalGRU(3), params, xs)
    _, want = rj.unroll(rj.GRU(3, reset_after=False), dense, xs)
    np.testing.assert_allclose(got, want, atol=1e-12)
