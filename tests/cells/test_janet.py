# SPDX-License-Identifier: Apache-2.0
"""JANET against NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import recurrent_jax as rj
from cells.common import compare, count, sigmoid


@pytest.mark.parametrize("beta", [0.0, 1.0])
def test_equations(beta):
    def janet(params, carry, x):
        """Van der Westhuizen and Lasenby, 2018."""
        W_f, W_c = np.split(params.kernel, 2, axis=1)
        U_f, U_c = np.split(params.recurrent_kernel, 2, axis=1)
        b_f, b_c = np.split(params.bias, 2)
        s = x @ W_f + carry.h @ U_f + b_f
        candidate = np.tanh(x @ W_c + carry.h @ U_c + b_c)
        h = sigmoid(s) * carry.h + (1 - sigmoid(s - beta)) * candidate
        return (h,), h

    compare(rj.JANET(4, beta=beta), janet)


def test_parameters():
    D, H = 3, 5
    assert count(rj.JANET(H), D) == 2 * H * (D + H + 1)
    bias = rj.JANET(H).init(jax.random.key(0), D).bias
    assert jnp.array_equal(bias, jnp.repeat(jnp.array([1.0, 0.0]), H))


def test_an_initialiser_for_each_gate():
    ones = jax.nn.initializers.ones
    cell = rj.JANET(5, forget_bias=0.0, bias_init=(ones, rj.initializers.zeros))
    bias = cell.init(jax.random.key(0), 3).bias
    assert jnp.array_equal(bias, jnp.repeat(jnp.array([1.0, 0.0]), 5))
