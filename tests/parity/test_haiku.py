# SPDX-License-Identifier: Apache-2.0
"""Haiku: `VanillaRNN`, `LSTM` and `GRU`, plain and in a `ResetCore`."""

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import recurrent_jax as rj
from parity.common import SIZES, Draw, assert_parity
from recurrent_jax.convert import from_haiku

RESETS = np.array([[0, 1, 1, 0, 0, 1], [0, 0, 0, 1, 0, 0], [1, 0, 0, 0, 0, 0]], bool).T


# hk.LSTMState has the names `hidden` and `cell`, and the order of ours.
KINDS = {
    "VanillaRNN": rj.Elman.Carry,
    "LSTM": lambda s: rj.LSTM.Carry(*s),
    "GRU": rj.GRU.Carry,
}


@pytest.mark.mostly_slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "settings",
    [{}, {"reverse": True}, {"resets": RESETS}, {"resets": RESETS, "reverse": True}],
    ids=lambda settings: "-".join(settings) or "plain",
)
def test_core(kind, settings, dtype):
    carry_from = KINDS[kind]
    resets, reverse = settings.get("resets"), settings.get("reverse", False)

    @hk.without_apply_rng
    @hk.transform
    def network(xs, carry):
        core = getattr(hk, kind)(SIZES.hidden)
        if resets is not None:
            core, xs = hk.ResetCore(core), (xs, jnp.asarray(resets))
        return hk.dynamic_unroll(core, xs, carry, reverse=reverse)

    draw = Draw(dtype)
    xs, h, c = draw(*SIZES.xs), draw(*SIZES.h), draw(*SIZES.h)
    carry = hk.LSTMState(hidden=h, cell=c) if kind == "LSTM" else h
    weights = draw.like(jax.eval_shape(network.init, jax.random.key(0), xs, carry))

    def ours(weights, xs, carry):
        cell, params = from_haiku(weights)
        return rj.unroll(cell, params, xs, carry=carry_from(carry), **settings)

    def theirs(weights, xs, carry):
        ys, carry = network.apply(weights, xs, carry)
        return carry_from(carry), ys

    assert_parity(ours, theirs, (weights, xs, carry), draw)
