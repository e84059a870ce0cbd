# SPDX-License-Identifier: Apache-2.0
"""Haiku: cores in `hk.dynamic_unroll`."""

import haiku as hk
import jax
import jax.numpy as jnp

import recurrent_jax as rj
from benchmarks.contenders import Contender
from benchmarks.problems import Shape


def contend(cell: rj.Cell, shape: Shape) -> dict[str, Contender]:
    """Return the LSTM, the GRU that resets before, or the plain core, a relu."""
    match cell:
        case rj.LSTM():
            kind, copy = "LSTM", _lstm
        case rj.GRU(reset_after=False):
            kind, copy = "GRU", _gru
        case rj.Elman(activation=jax.nn.relu):
            kind, copy = "VanillaRNN", _elman
        case _:
            return {}

    @hk.without_apply_rng
    @hk.transform
    def network(xs: jax.Array) -> jax.Array:
        core = getattr(hk, kind)(shape.H)
        return hk.dynamic_unroll(core, xs, core.initial_state(shape.B))[0]

    return {f"haiku {kind}": Contender(run=network.apply, copy=copy)}


def _lstm(params: rj.LSTM.Params) -> dict:
    """Reorder to i, g, f, o, and take off the 1 that Haiku adds to f at every step."""

    def reorder(array: jax.Array) -> jax.Array:
        i, f, g, o = jnp.split(array, 4, -1)
        return jnp.concatenate([i, g, f, o], -1)

    i, f, g, o = jnp.split(params.bias, 4)
    kernels = jnp.concatenate([params.kernel, params.recurrent_kernel])
    bias = jnp.concatenate([i, g, f - 1, o])
    return {"lstm/linear": {"w": reorder(kernels), "b": bias}}


def _gru(params: rj.GRU.Params) -> dict:
    """Reorder to z, r, n, and negate z: it takes the new where ours keeps the old."""

    def reorder(array: jax.Array) -> jax.Array:
        r, z, n = jnp.split(array, 3, -1)
        return jnp.concatenate([-z, r, n], -1)

    w_i, w_h = reorder(params.kernel), reorder(params.recurrent_kernel)
    return {"gru": {"w_i": w_i, "w_h": w_h, "b": reorder(params.bias)}}


def _elman(params: rj.Elman.Params) -> dict:
    return {
        "vanilla_rnn/linear": {"w": params.kernel, "b": params.bias},
        "vanilla_rnn/linear_1": {
            "w": params.recurrent_kernel,
            "b": jnp.zeros_like(params.bias),
        },
    }
