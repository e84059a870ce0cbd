# SPDX-License-Identifier: Apache-2.0
"""Keras on JAX: layers as pure functions, through `stateless_call`; batch first."""

import os
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "jax")

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import keras  # noqa: E402

import recurrent_jax as rj  # noqa: E402
from benchmarks.contenders import Contender  # noqa: E402
from benchmarks.problems import Shape  # noqa: E402

if keras.backend.backend() != "jax":
    raise ImportError("Keras runs on another backend; set KERAS_BACKEND=jax")


def contend(cell: rj.Cell, shape: Shape) -> dict[str, Contender]:
    """Return the LSTM, either GRU, or the plain layer."""
    match cell:
        case rj.LSTM():
            kind, copy, options = "LSTM", tuple, {}
        case rj.GRU():
            kind, copy, options = "GRU", _gru, {"reset_after": cell.reset_after}
        case rj.Elman():
            name = "relu" if cell.activation is jax.nn.relu else "tanh"
            kind, copy, options = "SimpleRNN", tuple, {"activation": name}
        case _:
            return {}
    layer = getattr(keras.layers, kind)(
        shape.H,
        return_sequences=True,
        recurrent_initializer="zeros",  # overwritten, and quicker
        **options,
    )
    layer.build((shape.B, shape.T, shape.D))
    frozen = [variable.value for variable in layer.non_trainable_variables]

    def run(weights: Any, xs: jax.Array) -> jax.Array:
        return layer.stateless_call(list(weights), frozen, xs)[0]

    return {f"keras {kind}": Contender(run=run, copy=copy, batch_major=True)}


def _gru(params: rj.GRU.Params) -> tuple:
    """Reorder to z, r, n; the bias has two rows if the reset comes after."""

    def reorder(array: jax.Array) -> jax.Array:
        r, z, n = jnp.split(array, 3, -1)
        return jnp.concatenate([z, r, n], -1)

    bias = reorder(params.bias)
    if params.recurrent_bias is not None:
        zero = jnp.zeros_like(params.recurrent_bias)
        on_state = jnp.concatenate([zero, zero, params.recurrent_bias])
        bias = jnp.stack([bias, on_state])
    return reorder(params.kernel), reorder(params.recurrent_kernel), bias
