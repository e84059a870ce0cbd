# SPDX-License-Identifier: Apache-2.0
"""Flax NNX: cells in `nnx.RNN`; gates side by side."""

from typing import Any

import jax
from flax import nnx

import recurrent_jax as rj
from benchmarks.contenders import Contender
from benchmarks.problems import Shape


def contend(cell: rj.Cell, shape: Shape) -> dict[str, Contender]:
    """Return the optimized LSTM, the GRU or the plain cell."""
    match cell:
        case rj.LSTM():
            return {"nnx OptimizedLSTMCell": _entry("OptimizedLSTMCell", shape, _lstm)}
        case rj.GRU(reset_after=True):
            return {"nnx GRUCell": _entry("GRUCell", shape, _on_input)}
        case rj.Elman():
            options = {"activation_fn": cell.activation}
            return {"nnx SimpleCell": _entry("SimpleCell", shape, _on_input, **options)}
    return {}


def _entry(kind: str, shape: Shape, copy: Any, **options: Any) -> Contender:
    cell = getattr(nnx, kind)(
        shape.D,
        shape.H,
        recurrent_kernel_init=nnx.initializers.zeros,  # overwritten, and quicker
        rngs=nnx.Rngs(0),
        **options,
    )
    graph, state, rest = nnx.split(cell, nnx.Param, ...)
    structure = jax.tree.structure(state)

    def run(weights: Any, xs: jax.Array) -> jax.Array:
        filled = jax.tree.unflatten(structure, jax.tree.leaves(weights))
        module = nnx.RNN(nnx.merge(graph, filled, rest), time_major=True)
        return module(xs)

    return Contender(
        run=run,
        copy=copy,
        lacks=("recurrent_bias",),  # of the GRU; other cells of ours have none either
    )


def _lstm(params: rj.LSTM.Params) -> dict:
    return {
        "dense_h": {"bias": params.bias, "kernel": params.recurrent_kernel},
        "dense_i": {"kernel": params.kernel},
    }


def _on_input(params: Any) -> dict:
    """Copy a cell that has its bias on the side of the input."""
    return {
        "dense_h": {"kernel": params.recurrent_kernel},
        "dense_i": {"bias": params.bias, "kernel": params.kernel},
    }
