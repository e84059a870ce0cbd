# SPDX-License-Identifier: Apache-2.0
"""Keras: `SimpleRNN`, `LSTM` and `GRU`, on its JAX backend."""

import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest

import recurrent_jax as rj
from parity.common import MASK, SIZES, Draw, assert_parity
from recurrent_jax.convert import from_keras

# The states of an LSTM come as [h, c], the order of ours.
KINDS = {
    "SimpleRNN": (keras.layers.SimpleRNN, {}),
    "LSTM": (keras.layers.LSTM, {}),
    "GRU": (keras.layers.GRU, {}),
    "GRU_reset_before": (keras.layers.GRU, {"reset_after": False}),
}
VARIANTS = {
    "plain": {},
    "no_bias": {"use_bias": False},
    "mask": {"mask": MASK},
    "backwards": {"backwards": True},
    "mask_backwards": {"mask": MASK, "backwards": True},
    "hard_sigmoid": {"hard_sigmoid": True},
}


CASES = [(kind, variant) for kind in KINDS for variant in VARIANTS]
CASES.remove(("SimpleRNN", "hard_sigmoid"))  # it has no gates


@pytest.mark.mostly_slow
@pytest.mark.parametrize(("kind", "variant"), CASES)
def test_layer(kind, variant, dtype):
    check(*KINDS[kind], dtype, **VARIANTS[variant])


def check(
    layer_type,
    settings,
    dtype,
    use_bias=True,
    mask=None,
    backwards=False,
    hard_sigmoid=False,
):
    gates = {}
    if layer_type is not keras.layers.SimpleRNN:
        gates = {"recurrent_activation": "hard_sigmoid" if hard_sigmoid else "sigmoid"}
    layer = layer_type(
        SIZES.hidden,
        use_bias=use_bias,
        return_sequences=True,
        return_state=True,
        go_backwards=backwards,
        zero_output_for_mask=True,
        dtype=dtype,
        recurrent_initializer="zeros",  # overwritten, and quicker than orthogonal
        **activations(dtype, activation="tanh", **gates),
        **settings,
    )
    layer.build((SIZES.batch, SIZES.time, SIZES.features))
    draw = Draw(dtype)
    weights = [draw(*variable.shape) for variable in layer.trainable_variables]
    cell, _ = from_keras(weights, **gates, **settings)
    carry_type = type(cell.initial_carry())
    xs = np.swapaxes(draw(*SIZES.xs), 0, 1)
    carry = [draw(*SIZES.h) for _ in cell.initial_carry()]
    mask = None if mask is None else mask.T

    def ours(weights, xs, carry):
        return rj.unroll(
            cell,
            from_keras(weights, **gates, **settings)[1],
            xs,
            carry=carry_type(*carry),
            mask=mask,
            reverse=backwards,
            time_axis=1,
        )

    def theirs(weights, xs, carry):
        (ys, *carry), _ = layer.stateless_call(
            weights,
            [variable.value for variable in layer.non_trainable_variables],
            xs,
            initial_state=carry,
            mask=None if mask is None else jnp.asarray(mask),
        )
        # Keras leaves outputs in the order of its run.
        return carry_type(*carry), ys[:, ::-1] if backwards else ys

    assert_parity(ours, theirs, (weights, xs, carry), draw)


def activations(dtype, **names):
    """Return activations by name, or JAX's own: those of Keras compute in float32."""
    if dtype == "float32":
        return names
    functions = {
        "tanh": jnp.tanh,
        "sigmoid": jax.nn.sigmoid,
        "hard_sigmoid": jax.nn.hard_sigmoid,
    }
    return {argument: functions[name] for argument, name in names.items()}
