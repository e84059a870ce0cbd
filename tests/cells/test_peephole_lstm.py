# SPDX-License-Identifier: Apache-2.0
"""The clipped cell state of the peephole LSTM against NumPy."""

import jax
import jax.numpy as jnp
import numpy as np

import recurrent_jax as rj
from cells.common import compare, count, sigmoid


def test_cell_clip():
    def clipped(params, carry, x):
        """Gers et al., 2002, with the new cell state cut off at 0.4."""
        a = x @ params.kernel + carry.h @ params.recurrent_kernel + params.bias
        i, f, g, o = np.split(a, 4)
        p_i, p_f, p_o = params.peephole
        c = sigmoid(f + p_f * carry.c) * carry.c
        c = np.clip(c + sigmoid(i + p_i * carry.c) * np.tanh(g), -0.4, 0.4)
        h = sigmoid(o + p_o * c) * np.tanh(c)
        return (h, c), h

    compare(rj.PeepholeLSTM(3, cell_clip=0.4), clipped)


def test_the_clip_is_felt():
    params = rj.PeepholeLSTM(4).init(jax.random.key(0), 3)
    xs = 5 * jax.random.normal(jax.random.key(1), (6, 3, 3))
    carry, _ = rj.unroll(rj.PeepholeLSTM(4, cell_clip=0.4), params, xs)
    assert jnp.max(jnp.abs(carry.c)) == jnp.float32(0.4)
    carry, _ = rj.unroll(rj.PeepholeLSTM(4), params, xs)
    assert jnp.max(jnp.abs(carry.c)) > 0.4


def test_parameters():
    D, H = 3, 5
    assert count(rj.PeepholeLSTM(H), D) == 4 * H * (D + H + 1) + 3 * H
