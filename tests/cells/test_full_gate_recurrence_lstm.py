# SPDX-License-Identifier: Apache-2.0
"""The LSTM with full gate recurrence against NumPy."""

import numpy as np

import recurrent_jax as rj
from cells.common import compare, count, sigmoid


def full_gate_recurrence_lstm(params, carry, x):
    """Greff et al., 2017, appendix: nine more matrices, R[from][to]."""
    W_i, W_f, W_o, W_z = np.split(params.kernel, 4, axis=1)
    U_i, U_f, U_o, U_z = np.split(params.recurrent_kernel, 4, axis=1)
    b_i, b_f, b_o, b_z = np.split(params.bias, 4)
    p_i, p_f, p_o = params.peephole
    R = [np.split(row, 3, axis=1) for row in np.split(params.gate_kernel, 3)]
    y, c = carry.h, carry.c
    i, f, o = np.split(carry.gates, 3)
    r_i, r_f, r_o = (i @ R[0][to] + f @ R[1][to] + o @ R[2][to] for to in range(3))
    z = np.tanh(x @ W_z + y @ U_z + b_z)
    i = sigmoid(x @ W_i + y @ U_i + p_i * c + b_i + r_i)
    f = sigmoid(x @ W_f + y @ U_f + p_f * c + b_f + r_f)
    c = z * i + c * f
    o = sigmoid(x @ W_o + y @ U_o + p_o * c + b_o + r_o)
    y = np.tanh(c) * o
    return (y, c, np.concatenate([i, f, o])), y


def test_equations():
    compare(rj.FullGateRecurrenceLSTM(3), full_gate_recurrence_lstm)


def test_parameters():
    D, H = 3, 5
    want = 4 * H * (D + H + 1) + 3 * H + 9 * H * H
    assert count(rj.FullGateRecurrenceLSTM(H), D) == want
