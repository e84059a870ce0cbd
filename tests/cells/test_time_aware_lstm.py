# SPDX-License-Identifier: Apache-2.0
"""TimeAwareLSTM: Baytas et al., 2017."""

import jax
import jax.numpy as jnp
import numpy as np
from cases import timed

import recurrent_jax as rj
from cells.common import compare, count, sigmoid

H = 3


def t_lstm(p, carry, inputs):
    """The paper's equations, in its order: decompose, discount, compose, LSTM."""
    h, c = carry
    x, elapsed = inputs
    short = np.tanh(p.memory_kernel.T @ c + p.memory_bias)
    discounted = short / np.log(np.e + elapsed)
    long = c - short
    adjusted = long + discounted
    i, f, g, o = np.split(p.kernel.T @ x + p.recurrent_kernel.T @ h + p.bias, 4)
    c = sigmoid(f) * adjusted + sigmoid(i) * np.tanh(g)
    h = sigmoid(o) * np.tanh(c)
    return (h, c), h


def test_equations():
    compare(rj.TimeAwareLSTM(H), t_lstm, inputs=timed)


def test_no_time_is_an_lstm(x64):
    cell = rj.TimeAwareLSTM(H)
    params = cell.init(jax.random.key(0), 3)
    x = jax.random.normal(jax.random.key(1), (6, 2, 3))
    _, got = rj.unroll(cell, params, rj.cells.Timed(x, jnp.zeros((6, 2))))
    _, want = rj.unroll(rj.LSTM(H), rj.LSTM.Params(*params[:3]), x)
    np.testing.assert_allclose(got, want, 1e-12, 1e-12)


def test_number_of_parameters():
    assert count(rj.TimeAwareLSTM(H), 3) == 4 * H * (3 + H) + 4 * H + H * H + H
    assert count(rj.TimeAwareLSTM(H, use_bias=False), 3) == 4 * H * (3 + H) + H * H
