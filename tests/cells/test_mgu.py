# SPDX-License-Identifier: Apache-2.0
"""MGU: Zhou et al., 2016, and Flax's cell of this name."""

import flax.linen as nn
import jax
import numpy as np
import pytest
from jax import lax
from parity.common import SIZES, Draw, assert_parity, join

import recurrent_jax as rj
from cells.common import compare, count, sigmoid

H = 3


def mgu(p, carry, x):
    """Equations 5a to 5c of the paper, with W h and W x for its W [h, x]."""
    h = carry.h
    W_f, W_n = np.split(p.kernel, 2, axis=-1)
    U_f, U_n = np.split(p.recurrent_kernel, 2, axis=-1)
    b_f, b_n = np.split(p.bias, 2)
    f = sigmoid(U_f.T @ h + W_f.T @ x + b_f)
    n = np.tanh(U_n.T @ (f * h) + W_n.T @ x + b_n)
    h = (1 - f) * h + f * n
    return (h,), h


def test_equations():
    compare(rj.MGU(H), mgu)


@pytest.mark.parametrize("use_bias", [True, False])
@pytest.mark.parametrize("reset_after", [True, False])
def test_number_of_parameters(use_bias, reset_after):
    D = 3
    cell = rj.MGU(H, use_bias=use_bias, reset_after=reset_after)
    assert count(cell, D) == 2 * H * (D + H) + use_bias * (2 + reset_after) * H


def from_linen(weights):
    return rj.MGU.Params(
        kernel=join(weights[f"i{gate}"]["kernel"] for gate in "fn"),
        recurrent_kernel=join(weights[f"h{gate}"]["kernel"] for gate in "fn"),
        bias=join(weights[f"i{gate}"]["bias"] for gate in "fn"),
        recurrent_bias=weights["hn"]["bias"],
    )


def test_flax(dtype):
    draw = Draw(dtype)
    peer = nn.MGUCell(SIZES.hidden, param_dtype=dtype)
    xs, h = draw(*SIZES.xs), draw(*SIZES.h)
    weights = jax.eval_shape(peer.init, jax.random.key(0), h, xs[0])["params"]
    cell = rj.MGU(SIZES.hidden, gate_keeps_old=True, reset_after=True)

    def ours(weights, xs, h):
        carry, ys = rj.unroll(cell, from_linen(weights), xs, carry=rj.MGU.Carry(h))
        return carry.h, ys

    def theirs(weights, xs, h):
        return lax.scan(lambda h, x: peer.apply({"params": weights}, h, x), h, xs)

    assert_parity(ours, theirs, (draw.like(weights), xs, h), draw)
