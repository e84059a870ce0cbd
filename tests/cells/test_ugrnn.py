# SPDX-License-Identifier: Apache-2.0
"""UGRNN against its equations in NumPy, and against Flax."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import recurrent_jax as rj
from cells.common import compare, count, sigmoid


def ugrnn(p, state, x):
    H = state.h.size
    a = x @ p.kernel + state.h @ p.recurrent_kernel + (0 if p.bias is None else p.bias)
    g, c = sigmoid(a[:H]), np.tanh(a[H:])
    h = g * state.h + (1 - g) * c
    return (h,), h


@pytest.mark.parametrize("use_bias", [True, False])
def test_equations(use_bias):
    compare(rj.UGRNN(3, use_bias=use_bias), ugrnn)


@pytest.mark.slow
def test_flax(x64):
    linen = pytest.importorskip("flax.linen")
    cell = rj.UGRNN(3)
    params = cell.init(jax.random.key(0), in_features=2)
    xs = jax.random.normal(jax.random.key(1), (5, 4, 2))
    peer = linen.MGUCell(3, reset_gate=False)

    def ours(params, xs):
        return rj.unroll(cell, params, xs)[1]

    def flax(params, xs):
        W_g, W_c = jnp.split(params.kernel, 2, -1)
        U_g, U_c = jnp.split(params.recurrent_kernel, 2, -1)
        b_g, b_c = jnp.split(params.bias, 2, -1)
        weights = {
            "if": {"kernel": W_g, "bias": b_g},
            "hf": {"kernel": U_g},
            "in": {"kernel": W_c, "bias": b_c},
            "hn": {"kernel": U_c},
        }
        h, ys = jnp.zeros((4, 3)), []
        for x in xs:
            h, y = peer.apply({"params": weights}, h, x)
            ys.append(y)
        return jnp.stack(ys)

    got, want = (
        (values, *pull(jnp.cos(values)))
        for values, pull in (jax.vjp(run, params, xs) for run in (ours, flax))
    )
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-12), got, want)


@pytest.mark.parametrize("use_bias", [True, False])
def test_count(use_bias):
    D, H = 3, 5
    assert count(rj.UGRNN(H, use_bias=use_bias), D) == 2 * H * (D + H + use_bias)


def test_forget_bias_is_stored_in_the_bias_of_the_gate():
    params = rj.UGRNN(3, forget_bias=1.5).init(jax.random.key(0), in_features=2)
    np.testing.assert_array_equal(params.bias, [1.5, 1.5, 1.5, 0, 0, 0])
