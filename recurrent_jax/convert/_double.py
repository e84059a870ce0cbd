# SPDX-License-Identifier: Apache-2.0
"""One direction of a layer as PyTorch and cuDNN have it, each with two biases."""

from typing import Any

import jax

from recurrent_jax._core.types import Activation
from recurrent_jax.cells import (
    GRU,
    LSTM,
    Elman,
    ElmanParams,
    GRUParams,
    LSTMParams,
    ProjectedLSTM,
    ProjectedLSTMParams,
)
from recurrent_jax.convert import _arrays, _biases, _layers
from recurrent_jax.convert._arrays import Array
from recurrent_jax.convert._gates import find
from recurrent_jax.convert._layers import SIGMOID, TANH, Direction

RNN, LSTM_, GRU_ = (find("PyTorch", layer) for layer in ("RNN", "LSTM", "GRU"))

Weights = dict[str, Array]


def read(where: str, weights: Weights, activation: Activation | None) -> Direction:
    """Return the cell that these weights make, and its parameters."""
    _names(where, weights)
    rows, out = weights["weight_hh"].shape
    is_projected, use_bias = "weight_hr" in weights, "bias_ih" in weights
    H = weights["weight_hr"].shape[1] if is_projected else out
    shapes: dict[str, tuple[int, ...]] = {"weight_ih": (rows, *_in(weights))}
    shapes |= {"weight_hr": (out, H)} if is_projected else {}
    shapes |= {"bias_ih": (rows,), "bias_hh": (rows,)} if use_bias else {}
    _arrays.check(where, weights, shapes)
    if rows == 4 * H and is_projected:
        cell: Any = ProjectedLSTM(H, out, use_bias=use_bias)
        return Direction(cell, _projected(weights))
    if rows == 4 * H:
        return Direction(LSTM(H, use_bias=use_bias), LSTMParams(*_one(LSTM_, weights)))
    if rows == 3 * H and not is_projected:
        return Direction(GRU(H, use_bias=use_bias), _gru(weights))
    if rows == H and not is_projected:
        if activation is None:
            raise ValueError(
                f"{where}: these are weights of an nn.RNN, which are the same for tanh "
                'and ReLU; say which it is: nonlinearity="tanh" (the default of '
                'PyTorch) or nonlinearity="relu"'
            )
        cell = Elman(H, activation=activation, use_bias=use_bias)
        return Direction(cell, ElmanParams(*_one(RNN, weights)))
    raise ValueError(
        f"{where} weight_hh has {rows} rows for a hidden size of {H}; an RNN has as "
        "many, a GRU three times and an LSTM four times as many, and only an LSTM a "
        "projection"
    )


def _in(weights: Weights) -> tuple[int, ...]:
    return tuple(weights["weight_ih"].shape[1:])


def _names(where: str, weights: Weights) -> None:
    wanted = ["weight_ih", "weight_hh"]
    wanted += ["weight_hr"] if "weight_hr" in weights else []
    wanted += ["bias_ih", "bias_hh"] if any("bias" in name for name in weights) else []
    _arrays.keys(where, weights, wanted)
    _arrays.rank(where, weights, {name: 1 + ("weight" in name) for name in wanted})


def _one(row: Any, weights: Weights) -> tuple[Array, Array, Array | None]:
    return (
        row.ours(weights["weight_ih"]),
        row.ours(weights["weight_hh"]),
        _biases.added(row, weights.get("bias_ih"), weights.get("bias_hh")),
    )


def _projected(weights: Weights) -> ProjectedLSTMParams:
    kernel, recurrent_kernel, bias = _one(LSTM_, weights)
    return ProjectedLSTMParams(kernel, recurrent_kernel, bias, weights["weight_hr"].T)


def _gru(weights: Weights) -> GRUParams:
    bias, of_n = _biases.gru_added(GRU_, weights.get("bias_ih"), weights.get("bias_hh"))
    kernel, recurrent_kernel, _ = _one(GRU_, weights)
    return GRUParams(kernel, recurrent_kernel, bias, of_n)


def write(where: str, peer: str, way: Direction, nearest: bool) -> Weights:
    """Return parameters under the names of PyTorch."""
    cell, params = way
    _layers.one_of(where, peer, cell, (Elman, LSTM, ProjectedLSTM, GRU))
    if isinstance(cell, Elman):
        row, functions = RNN, {"activation": (*TANH, jax.nn.relu)}
    else:
        row = GRU_ if isinstance(cell, GRU) else LSTM_
        functions = {"activation": TANH, "gate_activation": SIGMOID}
        functions |= {} if isinstance(cell, GRU) else {"output_activation": TANH}
    _layers.activations(where, peer, cell, nearest, **functions)
    _layers.unclipped(where, peer, cell, nearest)
    if isinstance(cell, GRU):
        _layers.reset_after(where, peer, cell, nearest)
        b, b_r = _biases.gru_apart(row, params.bias, params.recurrent_bias)
    else:
        b, b_r = _biases.apart(row, params.bias)
    weights = {
        "weight_ih": row.theirs(params.kernel),
        "weight_hh": row.theirs(params.recurrent_kernel),
        "bias_ih": b,
        "bias_hh": b_r,
        "weight_hr": getattr(params, "projection_kernel", None),
    }
    if weights["weight_hr"] is not None:
        weights["weight_hr"] = weights["weight_hr"].T
    return {name: w for name, w in weights.items() if w is not None}
