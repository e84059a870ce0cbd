# SPDX-License-Identifier: Apache-2.0
"""The multiplicative LSTM against NumPy."""

import jax
import jax.numpy as jnp
import numpy as np

import recurrent_jax as rj
from cells.common import compare, count, sigmoid


def multiplicative_lstm(params, carry, x):
    """Krause et al., 2016, with biases."""
    W, U, b, W_m, U_m = params
    h, c = carry
    m = (x @ W_m) * (h @ U_m)
    i, f, g, o = (
        x @ W_k + m @ U_k + b_k
        for W_k, U_k, b_k in zip(
            np.split(W, 4, axis=1), np.split(U, 4, axis=1), np.split(b, 4), strict=True
        )
    )
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    h = sigmoid(o) * np.tanh(c)
    return (h, c), h


def test_equations():
    compare(rj.MultiplicativeLSTM(3), multiplicative_lstm)


def test_each_input_has_a_recurrent_matrix_of_its_own(x64):
    """The sum in the gates is that of an LSTM with U_m diag(x W_m) U for U."""
    cell = rj.MultiplicativeLSTM(4)
    params = cell.init(jax.random.key(0), 3)
    x, h, c = (
        jax.random.normal(jax.random.key(n), (s,)) for n, s in enumerate((3, 4, 4))
    )
    U = params.recurrent_factor_kernel @ jnp.diag(x @ params.factor_kernel)
    plain = rj.LSTM.Params(params.kernel, U @ params.recurrent_kernel, params.bias)
    want, _ = rj.LSTM(4).step(plain, rj.LSTM.Carry(h, c), x)
    got, _ = cell.step(params, rj.MultiplicativeLSTM.Carry(h, c), x)
    np.testing.assert_allclose(got, want, rtol=1e-12)


def test_parameters():
    D, H = 3, 5
    assert count(rj.MultiplicativeLSTM(H), D) == 4 * H * (D + H + 1) + H * (D + H)
