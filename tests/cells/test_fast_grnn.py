# SPDX-License-Identifier: Apache-2.0
"""FastGRNN against its equations in NumPy."""

import jax
import numpy as np
import pytest

import recurrent_jax as rj
from cells.common import compare, count, sigmoid


def fast_grnn(p, state, x):
    H = state.h.size
    b = np.zeros(2 * H) if p.bias is None else p.bias
    a = x @ p.kernel + state.h @ p.recurrent_kernel
    z, n = sigmoid(a + b[:H]), np.tanh(a + b[H:])
    h = (sigmoid(p.zeta_logit) * (1 - z) + sigmoid(p.nu_logit)) * n + z * state.h
    return (h,), h


@pytest.mark.parametrize("use_bias", [True, False])
def test_equations(use_bias):
    compare(rj.FastGRNN(3, use_bias=use_bias), fast_grnn)


@pytest.mark.parametrize("use_bias", [True, False])
def test_count(use_bias):
    D, H = 3, 5
    assert count(rj.FastGRNN(H, use_bias=use_bias), D) == H * (D + H + 2 * use_bias) + 2


def test_weights_start_where_the_fields_say():
    params = rj.FastGRNN(3).init(jax.random.key(0), in_features=2)
    assert (params.zeta_logit, params.nu_logit) == (1, -4)
