# SPDX-License-Identifier: Apache-2.0
"""Equinox: `LSTMCell` and `GRUCell`, in a scan of our own."""

import equinox as eqx
import jax
import pytest

import recurrent_jax as rj
from parity.common import SIZES, Draw, assert_parity

# Weights are stored (out, in), gates in our order.


def lstm_from_equinox(cell):
    return rj.LSTMParams(cell.weight_ih.T, cell.weight_hh.T, cell.bias)


def gru_from_equinox(cell):
    return rj.GRUParams(cell.weight_ih.T, cell.weight_hh.T, cell.bias, cell.bias_n)


KINDS = {
    "LSTMCell": (rj.LSTM, lstm_from_equinox, lambda state: rj.LSTMCarry(*state)),
    "GRUCell": (rj.GRU, gru_from_equinox, rj.GRUCarry),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("use_bias", [True, False])
def test_cell(kind, use_bias, dtype):
    cell_type, params_from, carry_from = KINDS[kind]
    cell = cell_type(SIZES.hidden, use_bias=use_bias)
    draw = Draw(dtype)
    # The module is the tree of its own weights.
    module = draw.like(
        getattr(eqx.nn, kind)(
            SIZES.features, SIZES.hidden, use_bias, key=jax.random.key(0)
        )
    )
    xs, h, c = draw(*SIZES.xs), draw(*SIZES.h), draw(*SIZES.h)
    carry = (h, c) if kind == "LSTMCell" else h

    def ours(module, xs, carry):
        return rj.unroll(cell, params_from(module), xs, carry=carry_from(carry))

    def theirs(module, xs, carry):
        def step(state, x):
            state = jax.vmap(module)(x, state)
            return state, carry_from(state).h

        carry, ys = jax.lax.scan(step, carry, xs)
        return carry_from(carry), ys

    assert_parity(ours, theirs, (module, xs, carry), draw)
