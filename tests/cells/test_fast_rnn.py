# SPDX-License-Identifier: Apache-2.0
"""FastRNN against its equation in NumPy."""

import jax
import numpy as np
import pytest

import recurrent_jax as rj
from cells.common import compare, count, sigmoid


def fast_rnn(p, state, x):
    b = 0 if p.bias is None else p.bias
    new = np.tanh(x @ p.kernel + state.h @ p.recurrent_kernel + b)
    h = sigmoid(p.alpha_logit) * new + sigmoid(p.beta_logit) * state.h
    return (h,), h


@pytest.mark.parametrize("use_bias", [True, False])
def test_equations(use_bias):
    compare(rj.FastRNN(3, use_bias=use_bias), fast_rnn)


@pytest.mark.parametrize("use_bias", [True, False])
def test_count(use_bias):
    D, H = 3, 5
    assert count(rj.FastRNN(H, use_bias=use_bias), D) == H * (D + H + use_bias) + 2


def test_weights_start_where_the_fields_say():
    params = rj.FastRNN(3).init(jax.random.key(0), in_features=2)
    assert (params.alpha_logit, params.beta_logit) == (-3, 3)
    prepared = rj.FastRNN(3).prepare(params)
    assert prepared.alpha == pytest.approx(0.0474, abs=1e-4)
    assert prepared.alpha + prepared.beta == pytest.approx(1)
