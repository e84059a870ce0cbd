# SPDX-License-Identifier: Apache-2.0
"""Haiku: `VanillaRNN`, `LSTM` and `GRU`."""

import re
from typing import Any

import jax
import numpy as np

from recurrent_jax import _checks
from recurrent_jax._core.cell import Cell
from recurrent_jax._core.kinds import Params, Part
from recurrent_jax._core.network import Network
from recurrent_jax.cells import (
    GRU,
    LSTM,
    Elman,
    ElmanParams,
    GRUParams,
    LSTMParams,
)
from recurrent_jax.convert import _arrays, _layers
from recurrent_jax.convert._arrays import Array, nothing
from recurrent_jax.convert._gates import add_to_forget, find, take_from_forget
from recurrent_jax.convert._layers import SIGMOID, TANH, Direction

_NAMES = {Elman: "vanilla_rnn", LSTM: "lstm", GRU: "gru"}


@_checks.checked
def from_haiku(params: Any) -> tuple[Cell | Network, Any]:
    """Return a cell or network, and its parameters, from parameters of Haiku.

    Haiku's LSTM adds 1 to the forget gate at each step; here that 1 is in the bias. The
    update gate of Haiku's GRU takes the new state where ours keeps the old one, so its
    weights are negated.

    Args:
        params: a dictionary of modules, each a dictionary of arrays: of one core, or
            of several of one kind, as in a `DeepRNN`: `lstm`, `lstm_1`, ... Different
            kinds have no order in it, so pass a list of dictionaries.

    Returns:
        An `Elman` of ReLU, an `LSTM` or a `GRU` that resets before the product, or a
        `Deep` of several; and its parameters.

    Raises:
        ValueError: if names or shapes are not those of such cores.
        TypeError: if dtypes are mixed, or a weight is not an array.

    Example:
        >>> import numpy as np
        >>> import recurrent_jax as rj
        >>> weights = {"w": np.ones((6, 16), "float32"), "b": np.zeros(16, "float32")}
        >>> cell, params = rj.convert.from_haiku({"lstm/linear": weights})
        >>> cell, params.kernel.shape
        (LSTM(hidden_size=4), (2, 16))
    """
    if _arrays.is_list(params):
        return _layers.deep("from_haiku", [from_haiku(one) for one in params])
    _arrays.mapping("from_haiku", "params", params, "modules")
    cores: dict[str, dict[str, Array]] = {}
    for module, weights in params.items():
        _arrays.mapping("from_haiku", repr(module), weights, "arrays")
        core, _, role = str(module).rpartition("/")
        if not re.fullmatch(r"linear(_1)?", role):
            core, role = str(module), ""
        for name, value in weights.items():
            full = f"{role}/{name}" if role else str(name)
            value = _arrays.read("from_haiku", f"{module}/{name}", value)
            cores.setdefault(core, {})[full] = value
    parts = [_read(core, cores[core]) for core in _in_order(list(cores))]
    return _layers.deep("from_haiku", parts)


def _in_order(cores: list[str]) -> list[str]:
    """Return names in the order of the numbers that Haiku appends."""
    found = [re.fullmatch(r"(.*?)(?:_(\d+))?", core) for core in cores]
    if not cores or len({match[1] for match in found if match}) > 1:
        raise ValueError(
            f"from_haiku: the order of the cores {sorted(cores)} cannot be read off "
            "their names; pass a list of dictionaries, one for each"
        )
    return sorted(cores, key=lambda core: (len(core), core))


def _read(core: str, weights: dict[str, Array]) -> Direction:
    where = f"from_haiku: {core}"
    if "w_i" in weights:
        return _gru(where, weights)
    if "linear_1/w" in weights:
        return _elman(where, weights)
    return _lstm(where, weights)


def _elman(where: str, weights: dict[str, Array]) -> Direction:
    wanted = ["linear/w", "linear/b", "linear_1/w"]
    wanted += [name for name in ("linear_1/b",) if name in weights]
    _arrays.keys(where, weights, wanted)
    _arrays.rank(where, weights, {n: 1 + n.endswith("w") for n in wanted})
    rows, H = weights["linear/w"].shape
    shapes: dict[str, tuple[int, ...]] = {n: (H,) for n in wanted if n.endswith("b")}
    _arrays.check(where, weights, shapes | {"linear_1/w": (H, H)})
    bias = weights["linear/b"]
    bias = bias + weights["linear_1/b"] if "linear_1/b" in weights else bias
    params = ElmanParams(weights["linear/w"], weights["linear_1/w"], bias)
    return Direction(Elman(H, activation=jax.nn.relu), params)


def _lstm(where: str, weights: dict[str, Array]) -> Direction:
    _arrays.keys(where, weights, ["linear/w", "linear/b"])
    _arrays.rank(where, weights, {"linear/w": 2, "linear/b": 1})
    rows, columns = weights["linear/w"].shape
    H = columns // 4
    if columns != 4 * H or rows <= H:
        raise ValueError(
            f"{where}: linear/w must be (in + H, 4H), got {weights['linear/w'].shape}"
        )
    _arrays.check(where, weights, {"linear/b": (columns,)})
    row = find("Haiku", "LSTM")
    kernel = row.ours(weights["linear/w"])  # of input and state together
    bias = add_to_forget(row, row.ours(weights["linear/b"]))
    params = LSTMParams(kernel[: rows - H], kernel[rows - H :], bias)
    return Direction(LSTM(H), params)


def _gru(where: str, weights: dict[str, Array]) -> Direction:
    _arrays.keys(where, weights, ["w_i", "w_h", "b"])
    _arrays.rank(where, weights, {"w_i": 2, "w_h": 2, "b": 1})
    H = weights["w_h"].shape[0]
    features = weights["w_i"].shape[0]
    shapes = {"w_i": (features, 3 * H), "w_h": (H, 3 * H), "b": (3 * H,)}
    _arrays.check(where, weights, shapes)
    kernel, U, b = map(find("Haiku", "GRU").ours, map(weights.get, ("w_i", "w_h", "b")))
    return Direction(GRU(H, reset_after=False), GRUParams(kernel, U, b, None))


@_checks.checked
def to_haiku(
    network: Part, params: Params, *, nearest: bool = False
) -> dict[str, dict[str, Array]]:
    """Return parameters as those of a recurrent core of Haiku, or of a `DeepRNN`.

    `from_haiku` restores them bit for bit. For an LSTM this requires forget biases from
    which 1 can be subtracted without rounding, as those from Haiku.

    Args:
        network: an `Elman` of ReLU, an `LSTM`, a `GRU` that resets before the product,
            or a `Deep` of layers of one kind.
        params: its parameters.
        nearest: also convert what Haiku computes differently (another activation, a
            reset after the product, no bias) or must round (a forget bias), with a
            `LossyConversionWarning`.

    Returns:
        NumPy arrays by module and name, with the names of Haiku.

    Raises:
        TypeError: if Haiku has no such core.
        ValueError: if no core of Haiku computes the same, and `nearest` is False.

    Example:
        >>> import jax
        >>> import recurrent_jax as rj
        >>> cell = rj.LSTM(4)
        >>> params = cell.init(jax.random.key(0), in_features=2)
        >>> rj.convert.to_haiku(cell, params)["lstm/linear"]["w"].shape
        (6, 16)
    """
    where = "to_haiku"
    parts = _layers.layers(where, network, params)
    if len(kinds := {type(layer).__name__ for layer, _ in parts}) > 1:
        raise ValueError(
            f"{where}: Haiku gives no order to cores of several kinds, "
            f"{sorted(kinds)}; convert the layers one by one"
        )
    modules: dict[str, dict[str, Array]] = {}
    written = _layers.each(where, "Haiku", network, params, _one, nearest)
    for n, core in enumerate(written if isinstance(written, list) else [written]):
        for full, value in core.items():
            kind, role, name = full.split("/")
            module = f"{kind}_{n}" if n else kind
            module = f"{module}/{role}" if role else module
            modules.setdefault(module, {})[name] = value
    return modules


def _one(where: str, way: Direction, nearest: bool) -> dict[str, Array]:
    """Return arrays by `kind/role/name`."""
    _layers.one_of(where, "Haiku", way.cell, tuple(_NAMES))
    cell, params = _layers.with_bias(where, "Haiku", way, nearest)
    if isinstance(cell, Elman):
        _layers.activations(where, "Haiku", cell, nearest, activation=(jax.nn.relu,))
        return {
            "vanilla_rnn/linear/w": params.kernel,
            "vanilla_rnn/linear/b": params.bias,
            "vanilla_rnn/linear_1/w": params.recurrent_kernel,
            "vanilla_rnn/linear_1/b": nothing(params.bias),
        }
    functions = {"activation": TANH, "gate_activation": SIGMOID}
    functions |= {"output_activation": TANH} if isinstance(cell, LSTM) else {}
    _layers.activations(where, "Haiku", cell, nearest, **functions)
    if isinstance(cell, LSTM):
        row = find("Haiku", "LSTM")
        kernel = np.concatenate([params.kernel, params.recurrent_kernel])
        bias = take_from_forget(where, row, params.bias, nearest)
        return {
            "lstm/linear/w": row.theirs(kernel),
            "lstm/linear/b": row.theirs(bias),
        }
    row = find("Haiku", "GRU")
    _layers.reset_before(where, "Haiku", cell, params, nearest)
    names = ("gru//w_i", "gru//w_h", "gru//b")
    return {name: row.theirs(p) for name, p in zip(names, params[:3], strict=True)}
