# SPDX-License-Identifier: Apache-2.0
"""Flax Linen: cells in `nn.RNN`; one Dense for each gate and side."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp

import recurrent_jax as rj
from benchmarks.contenders import Contender
from benchmarks.problems import Shape


def contend(cell: rj.Cell, shape: Shape) -> dict[str, Contender]:
    """Return both LSTMs, or the one GRU or plain cell."""
    match cell:
        case rj.LSTM():
            kinds = {
                "OptimizedLSTMCell": nn.OptimizedLSTMCell(shape.H),
                "LSTMCell": nn.LSTMCell(shape.H),
            }
            copy = _lstm
        case rj.GRU(reset_after=True):
            kinds, copy = {"GRUCell": nn.GRUCell(shape.H)}, _gru
        case rj.Elman():
            simple = nn.SimpleCell(shape.H, activation_fn=cell.activation)
            kinds, copy = {"SimpleCell": simple}, _elman
        case _:
            return {}
    return {f"linen {name}": _entry(module, copy) for name, module in kinds.items()}


def _entry(cell: Any, copy: Any) -> Contender:
    module = nn.RNN(cell, time_major=True)
    return Contender(
        run=lambda weights, xs: module.apply({"params": {"cell": weights}}, xs),
        copy=copy,
    )


def _lstm(params: rj.LSTM.Params) -> dict:
    kernels = zip("ifgo", jnp.split(params.kernel, 4, -1), strict=True)
    recurrent = zip(
        "ifgo",
        jnp.split(params.recurrent_kernel, 4, -1),
        jnp.split(params.bias, 4),
        strict=True,
    )
    return {f"i{gate}": {"kernel": W} for gate, W in kernels} | {
        f"h{gate}": {"kernel": U, "bias": b} for gate, U, b in recurrent
    }


def _gru(params: rj.GRU.Params) -> dict:
    inputs = zip(
        "rzn", jnp.split(params.kernel, 3, -1), jnp.split(params.bias, 3), strict=True
    )
    r, z, n = jnp.split(params.recurrent_kernel, 3, -1)
    return {f"i{gate}": {"kernel": W, "bias": b} for gate, W, b in inputs} | {
        "hr": {"kernel": r},
        "hz": {"kernel": z},
        "hn": {"kernel": n, "bias": params.recurrent_bias},
    }


def _elman(params: rj.Elman.Params) -> dict:
    return {
        "i": {"kernel": params.kernel, "bias": params.bias},
        "h": {"kernel": params.recurrent_kernel},
    }
