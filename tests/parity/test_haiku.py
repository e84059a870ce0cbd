# SPDX-License-Identifier: Apache-2.0
"""Haiku: `VanillaRNN`, `LSTM` and `GRU`, plain and in a `ResetCore`."""

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import recurrent_jax as rj
from parity.common import SIZES, Draw, assert_parity, join

RESETS = np.array([[0, 1, 1, 0, 0, 1], [0, 0, 0, 1, 0, 0], [1, 0, 0, 0, 0, 0]], bool).T


def elman_from_haiku(weights):
    on_input, on_state = weights["vanilla_rnn/linear"], weights["vanilla_rnn/linear_1"]
    return rj.ElmanParams(
        kernel=on_input["w"],
        recurrent_kernel=on_state["w"],
        bias=on_input["b"] + on_state["b"],
    )


def lstm_from_haiku(weights):
    """Reorder i, g, f, o, and store the 1 that Haiku adds to f at every step."""
    layer = weights["lstm/linear"]
    i, g, f, o = jnp.split(layer["b"], 4)
    bias = join([i, f + jnp.ones_like(f), g, o])
    i, g, f, o = jnp.split(layer["w"], 4, axis=-1)
    kernel = join([i, f, g, o])  # input and state together
    in_features = kernel.shape[0] - kernel.shape[1] // 4
    return rj.LSTMParams(kernel[:in_features], kernel[in_features:], bias)


def gru_from_haiku(weights):
    """Reorder z, r, a, and negate z: there it takes the new, here it keeps the old."""

    def reorder(a):
        z, r, n = jnp.split(a, 3, axis=-1)
        return join([r, -z, n])

    return rj.GRUParams(
        kernel=reorder(weights["gru"]["w_i"]),
        recurrent_kernel=reorder(weights["gru"]["w_h"]),
        bias=reorder(weights["gru"]["b"]),
        recurrent_bias=None,
    )


# hk.LSTMState has the names `hidden` and `cell`, and the order of ours.
KINDS = {
    "VanillaRNN": (
        rj.Elman(SIZES.hidden, activation=jax.nn.relu),
        elman_from_haiku,
        rj.ElmanCarry,
    ),
    "LSTM": (rj.LSTM(SIZES.hidden), lstm_from_haiku, lambda s: rj.LSTMCarry(*s)),
    "GRU": (rj.GRU(SIZES.hidden, reset_after=False), gru_from_haiku, rj.GRUCarry),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "settings",
    [{}, {"reverse": True}, {"resets": RESETS}, {"resets": RESETS, "reverse": True}],
    ids=lambda settings: "-".join(settings) or "plain",
)
def test_core(kind, settings, dtype):
    cell, params_from, carry_from = KINDS[kind]
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
        params, carry = params_from(weights), carry_from(carry)
        return rj.unroll(cell, params, xs, carry=carry, **settings)

    def theirs(weights, xs, carry):
        ys, carry = network.apply(weights, xs, carry)
        return carry_from(carry), ys

    assert_parity(ours, theirs, (weights, xs, carry), draw)
