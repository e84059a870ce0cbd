# SPDX-License-Identifier: Apache-2.0
"""The LEM against its equations in NumPy."""

import numpy as np
import pytest

import recurrent_jax as rj
from cells.common import compare, count, sigmoid


def lem(p, state, x, dt=1.0):
    y, z = state.h, state.c
    W_1, W_2, W_z = np.split(p.recurrent_kernel, 3, axis=1)
    V_1, V_2, V_z, V_y = np.split(p.kernel, 4, axis=1)
    b_1, b_2, b_z, b_y = np.zeros(4) if p.bias is None else np.split(p.bias, 4)
    dt_z = dt * sigmoid(y @ W_1 + x @ V_1 + b_1)
    dt_y = dt * sigmoid(y @ W_2 + x @ V_2 + b_2)
    z = (1 - dt_z) * z + dt_z * np.tanh(y @ W_z + x @ V_z + b_z)
    y = (1 - dt_y) * y + dt_y * np.tanh(z @ p.memory_kernel + x @ V_y + b_y)
    return (y, z), y


def test_equations():
    compare(rj.LEM(3), lem)
    compare(
        rj.LEM(3, step_size=0.4, use_bias=False), lambda p, s, x: lem(p, s, x, dt=0.4)
    )


@pytest.mark.parametrize("use_bias", [True, False])
def test_count(use_bias):
    D, H = 3, 5
    assert count(rj.LEM(H, use_bias=use_bias), D) == 4 * H * (D + H + use_bias)


def test_step_size_must_be_positive():
    with pytest.raises(ValueError, match="LEM: step_size must be above 0, got 0"):
        rj.LEM(3, step_size=0)
