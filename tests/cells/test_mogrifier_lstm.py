# SPDX-License-Identifier: Apache-2.0
"""The Mogrifier LSTM against NumPy."""

import jax
import numpy as np
import pytest

import recurrent_jax as rj
from cells.common import compare, count, sigmoid


def mogrifier_lstm(params, carry, x):
    """Melis, Kocisky and Blunsom, 2020."""
    W, U, b, rounds = params
    h, c = carry
    matrices = [np.linalg.multi_dot([*m, np.eye(m[-1].shape[1])]) for m in rounds]
    for i, matrix in enumerate(matrices, start=1):
        if i % 2 == 1:
            x = 2 * sigmoid(h @ matrix) * x
        if i % 2 == 0:
            h = 2 * sigmoid(x @ matrix) * h
    i, f, g, o = np.split(x @ W + h @ U + b, 4)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    h = sigmoid(o) * np.tanh(c)
    return (h, c), h


@pytest.mark.mostly_slow
@pytest.mark.parametrize("rounds, rank", [(5, None), (2, 2), (1, 1)])
def test_equations(rounds, rank):
    cell = rj.MogrifierLSTM(3, rounds=rounds, rank=rank)
    compare(cell, mogrifier_lstm, in_features=2)


def test_without_rounds_it_is_an_lstm():
    cell = rj.MogrifierLSTM(4, rounds=0)
    params = cell.init(jax.random.key(0), 3)
    xs = jax.random.normal(jax.random.key(1), (5, 2, 3))
    _, got = rj.unroll(cell, params, xs)
    lstm = rj.LSTM.Params(*params[:3])
    _, want = rj.unroll(rj.LSTM(4), lstm, xs, method=rj.Sequential())
    np.testing.assert_allclose(got, want, rtol=1e-6)


def test_parameters():
    D, H, r, k = 3, 5, 4, 2
    lstm = 4 * H * (D + H + 1)
    assert count(rj.MogrifierLSTM(H, rounds=r), D) == lstm + r * D * H
    assert count(rj.MogrifierLSTM(H, rounds=r, rank=k), D) == lstm + r * k * (D + H)


def test_fields():
    with pytest.raises(ValueError, match="rounds must be at least 0, got -1"):
        rj.MogrifierLSTM(4, rounds=-1)
    with pytest.raises(ValueError, match="rank must be at least 1, got 0"):
        rj.MogrifierLSTM(4, rank=0)
