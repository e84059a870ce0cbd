# SPDX-License-Identifier: Apache-2.0
"""MinimalRNN against its equations in NumPy."""

import numpy as np
import pytest

import recurrent_jax as rj
from cells.common import compare, count, sigmoid


def minimal(p, state, x):
    b, d = (0 if a is None else a for a in (p.bias, p.gate_bias))
    z = np.tanh(x @ p.kernel + b)
    u = sigmoid(state.h @ p.recurrent_kernel + z @ p.gate_kernel + d)
    h = u * state.h + (1 - u) * z
    return (h,), h


@pytest.mark.parametrize("use_bias", [True, False])
def test_equations(use_bias):
    compare(rj.MinimalRNN(3, use_bias=use_bias), minimal)


@pytest.mark.parametrize("use_bias", [True, False])
def test_count(use_bias):
    D, H = 3, 5
    cell = rj.MinimalRNN(H, use_bias=use_bias)
    assert count(cell, D) == H * (D + 2 * H + 2 * use_bias)
