# SPDX-License-Identifier: Apache-2.0
"""Equinox: `LSTMCell` and `GRUCell`, in a scan of our own."""

import equinox as eqx
import jax
import pytest

import recurrent_jax as rj
from parity.common import SIZES, Draw, assert_parity
from recurrent_jax.convert import from_equinox

KINDS = {
    "LSTMCell": lambda state: rj.LSTM.Carry(*state),
    "GRUCell": rj.GRU.Carry,
}


@pytest.mark.mostly_slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("use_bias", [True, False])
def test_cell(kind, use_bias, dtype):
    carry_from = KINDS[kind]
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
        cell, params = from_equinox(module)
        return rj.unroll(cell, params, xs, carry=carry_from(carry))

    def theirs(module, xs, carry):
        def step(state, x):
            state = jax.vmap(module)(x, state)
            return state, carry_from(state).h

        carry, ys = jax.lax.scan(step, carry, xs)
        return carry_from(carry), ys

    assert_parity(ours, theirs, (module, xs, carry), draw)
