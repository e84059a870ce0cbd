# SPDX-License-Identifier: Apache-2.0
"""CIFG against NumPy."""

import numpy as np
import pytest

import recurrent_jax as rj
from cells.common import compare, count, sigmoid


def cifg(params, carry, x):
    """Greff et al., 2017: f = 1 - i; peepholes if there are any."""
    W_i, W_g, W_o = np.split(params.kernel, 3, axis=1)
    U_i, U_g, U_o = np.split(params.recurrent_kernel, 3, axis=1)
    b_i, b_g, b_o = np.split(params.bias, 3)
    p_i, p_o = (0, 0) if params.peephole is None else params.peephole
    h, c = carry
    i = sigmoid(x @ W_i + h @ U_i + p_i * c + b_i)
    f = 1 - i
    c = f * c + i * np.tanh(x @ W_g + h @ U_g + b_g)
    o = sigmoid(x @ W_o + h @ U_o + p_o * c + b_o)
    h = o * np.tanh(c)
    return (h, c), h


@pytest.mark.parametrize("peepholes", [False, True])
def test_equations(peepholes):
    compare(rj.CIFG(3, peepholes=peepholes), cifg)


def test_parameters():
    D, H = 3, 5
    assert count(rj.CIFG(H), D) == 3 * H * (D + H + 1)
    assert count(rj.CIFG(H, peepholes=True), D) == 3 * H * (D + H + 1) + 2 * H
    assert count(rj.CIFG(H, use_bias=False), D) == 3 * H * (D + H)
