# SPDX-License-Identifier: Apache-2.0
"""One direction of an `RNN`, `LSTM` or `GRU` node of ONNX, and the cell that it is."""

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from recurrent_jax import activations
from recurrent_jax._core.names import spell
from recurrent_jax._core.types import Activation
from recurrent_jax.activations import Clipped
from recurrent_jax.cells import (
    CIFG,
    GRU,
    LSTM,
    CIFGParams,
    Elman,
    ElmanParams,
    GRUParams,
    LSTMParams,
    PeepholeLSTM,
    PeepholeLSTMParams,
)
from recurrent_jax.convert import _arrays, _biases
from recurrent_jax.convert._arrays import Array, join, split
from recurrent_jax.convert._gates import ORDERS, PEEPHOLES, arrange, find
from recurrent_jax.convert._layers import Direction

ROWS = {op: find("ONNX", op) for op in ("RNN", "LSTM", "GRU")}
OPERATORS: dict[type, str] = {
    Elman: "RNN",
    LSTM: "LSTM",
    PeepholeLSTM: "LSTM",
    CIFG: "LSTM",
    GRU: "GRU",
}
# The activations of a node in its order; `clip` acts on all but the last of an LSTM.
FIELDS = {
    "RNN": ("activation",),
    "GRU": ("gate_activation", "activation"),
    "LSTM": ("gate_activation", "activation", "output_activation"),
}
CLIPPED = {op: FIELDS[op][:2] for op in FIELDS}

_PLAIN: dict[str, Activation] = {
    "Tanh": jnp.tanh,
    "Sigmoid": jax.nn.sigmoid,
    "Relu": jax.nn.relu,
    "Softsign": jax.nn.soft_sign,
    "Softplus": jax.nn.softplus,
}
_SHAPED: dict[str, Any] = {
    "Affine": activations.Affine,
    "LeakyRelu": activations.LeakyRelu,
    "ThresholdedRelu": activations.ThresholdedRelu,
    "ScaledTanh": activations.ScaledTanh,
    "HardSigmoid": activations.HardSigmoid,
    "Elu": activations.Elu,
}
# For these ONNX has no defaults, or runtimes have others.
_WITHOUT_DEFAULT = ("Affine", "ScaledTanh", "ThresholdedRelu")
_SAME: dict[Any, Any] = {
    jax.nn.identity: activations.Affine(1.0, 0.0),
    jax.nn.hard_sigmoid: activations.HardSigmoid(1 / 6, 0.5),
    jax.nn.elu: activations.Elu(),
    jax.nn.leaky_relu: activations.LeakyRelu(),
}


class Functions(NamedTuple):
    """Activations as a node spells them."""

    names: list[str]
    alpha: list[float]
    beta: list[float]


def number(value: float) -> float:
    """Return the shortest number that a 32-bit float of ONNX stands for."""
    return float(str(np.float32(value)))


def write_functions(where: str, cell: Any, op: str) -> Functions:
    """Return the activations of a cell, without the clip."""
    found = Functions([], [], [])
    for field in FIELDS[op]:
        function = getattr(cell, field)
        if isinstance(function, Clipped) and field in CLIPPED[op]:
            function = function.activation
        function = _SAME.get(function, function)
        for name, plain in _PLAIN.items():
            if function is plain:
                found.names.append(name)
                break
        else:
            if type(function) not in _SHAPED.values():
                raise ValueError(
                    f"{where}: ONNX has no {field} {spell(function)}, of {cell!r}; "
                    f"it has {[*_PLAIN, *_SHAPED]} (recurrent_jax.activations)"
                )
            found.names.append(type(function).__name__)
            values = [getattr(function, f.name) for f in dataclasses.fields(function)]
            found.alpha.append(values[0])
            found.beta.extend(values[1:])
    return found


def read_functions(
    where: str, names: Sequence[str], alpha: Sequence[float], beta: Sequence[float]
) -> list[Activation]:
    """Return activations; numbers go to those that take one, in their order."""
    alpha, beta = list(alpha), list(beta)
    found: list[Activation] = []
    for name in names:
        if name in _PLAIN:
            found.append(_PLAIN[name])
            continue
        if name not in _SHAPED:
            raise ValueError(
                f"{where}: activations has {name!r}; known are {[*_PLAIN, *_SHAPED]}"
            )
        fields = [f.name for f in dataclasses.fields(_SHAPED[name])]
        given = {
            field: number(values.pop(0))
            for field, values in (("alpha", alpha), ("beta", beta))
            if field in fields and values
        }
        if name in _WITHOUT_DEFAULT and len(given) < len(fields):
            raise ValueError(
                f"{where}: activations has {name!r} without activation_"
                f"{fields[len(given)]}, whose default runtimes disagree on"
            )
        found.append(_SHAPED[name](**given))
    if alpha or beta:
        raise ValueError(
            f"{where}: activation_alpha or activation_beta has more numbers than "
            f"{list(names)} take; ONNX Runtime gives one to each that takes one"
        )
    return found


def clip_of(where: str, cell: Any, op: str) -> float | None:
    """Return the clip of a node, which is that of all gates or of none."""
    bounds = {
        getattr(getattr(cell, field), "bound", None)
        if isinstance(getattr(cell, field), Clipped)
        else None
        for field in CLIPPED[op]
    }
    if len(bounds) > 1:
        raise ValueError(
            f"{where}: a node of ONNX clips all gates alike or none, got {cell!r}"
        )
    return bounds.pop()


def write_weights(way: Direction) -> dict[str, Array]:
    """Return the inputs W, R, B and P of one direction."""
    cell, params = way
    op = OPERATORS[type(cell)]
    row = ROWS[op]
    kernel, U, bias = params[:3]
    if isinstance(cell, CIFG):
        kernel, U, bias = (_with_f(p) for p in (kernel, U, bias))
    if op == "GRU" and cell.reset_after:
        b, b_r = _biases.gru_apart(row, bias, params.recurrent_bias)
    else:
        b, b_r = _biases.apart(row, bias)
    weights = {"W": row.theirs(kernel), "R": row.theirs(U)}
    if b is not None and b_r is not None:
        weights["B"] = join([b, b_r])
    peephole = getattr(params, "peephole", None)
    if peephole is not None:
        i, o = peephole[0], peephole[-1]
        f = np.zeros_like(i) if isinstance(cell, CIFG) else peephole[1]
        weights["P"] = arrange(join([i, f, o]), PEEPHOLES, "iof")
    return weights


def _with_f(p: Array | None) -> Array | None:
    """Return coupled gates with one of zeros for f, which the node ignores."""
    if p is None:
        return None
    parts = dict(zip(ORDERS["CIFG"], split(p, 3), strict=True))
    parts["f"] = np.zeros_like(parts["i"])
    return join([parts[gate] for gate in ORDERS["LSTM"]])


def _without_f(p: Array | None) -> Array | None:
    if p is None:
        return None
    parts = dict(zip(ORDERS["LSTM"], split(p, 4), strict=True))
    return join([parts[gate] for gate in ORDERS["CIFG"]])


def read_weights(
    op: str, H: int, weights: dict[str, Array], fields: dict[str, Any]
) -> Direction:
    """Return the cell of one direction; `fields` are all that is no weight."""
    row = ROWS[op]
    B = weights.get("B")
    b, b_r = (None, None) if B is None else split(B, 2)
    kernel, U = row.ours(weights["W"]), row.ours(weights["R"])
    bias = _biases.added(row, b, b_r)
    fields = fields | {"use_bias": B is not None}
    if op == "RNN":
        return Direction(Elman(H, **fields), ElmanParams(kernel, U, bias))
    if op == "GRU":
        of_n = None
        if fields["reset_after"]:
            bias, of_n = _biases.gru_added(row, b, b_r)
        return Direction(GRU(H, **fields), GRUParams(kernel, U, bias, of_n))
    p = None
    if "P" in weights:
        i, f, o = split(arrange(weights["P"], "iof", PEEPHOLES), 3)
        p = i, f, o
    if fields.pop("input_forget"):
        parts = (_without_f(part) for part in (kernel, U, bias))
        cell = CIFG(H, peepholes=p is not None, **fields)
        two = None if p is None else _arrays.stack([p[0], p[2]])
        return Direction(cell, CIFGParams(*parts, two))  # type: ignore[arg-type]
    if p is None:
        return Direction(LSTM(H, **fields), LSTMParams(kernel, U, bias))
    params = PeepholeLSTMParams(kernel, U, bias, _arrays.stack(p))
    return Direction(PeepholeLSTM(H, **fields), params)
