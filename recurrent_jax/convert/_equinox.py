# SPDX-License-Identifier: Apache-2.0
"""Equinox: `LSTMCell` and `GRUCell`."""

from collections.abc import Mapping
from typing import Any

from recurrent_jax import _checks
from recurrent_jax._core.cell import Cell
from recurrent_jax._core.kinds import Params, Part
from recurrent_jax._core.network import Network
from recurrent_jax.cells import GRU, LSTM, GRUParams, LSTMParams
from recurrent_jax.convert import _arrays, _layers
from recurrent_jax.convert._arrays import Array, nothing
from recurrent_jax.convert._gates import find
from recurrent_jax.convert._layers import SIGMOID, TANH, Direction

_NAMES = ("weight_ih", "weight_hh", "bias", "bias_n")


@_checks.checked
def from_equinox(module: Any) -> tuple[Cell | Network, Any]:
    """Return a cell, and its parameters, from a cell of Equinox.

    Args:
        module: an `eqx.nn.LSTMCell` or `eqx.nn.GRUCell`; or a dictionary of their
            `weight_ih`, `weight_hh`, `bias` and `bias_n`; or a list of layers.

    Returns:
        An `LSTM` or a `GRU`, or a `Deep` of them for a list; and its parameters.

    Raises:
        ValueError: if names or shapes are not those of such a cell.
        TypeError: if dtypes are mixed, or a weight is not an array.

    Example:
        >>> import numpy as np
        >>> import recurrent_jax as rj
        >>> weights = {
        ...     "weight_ih": np.ones((16, 2), "float32"),
        ...     "weight_hh": np.ones((16, 4), "float32"),
        ...     "bias": np.ones(16, "float32"),
        ... }
        >>> cell, params = rj.convert.from_equinox(weights)
        >>> cell
        LSTM(hidden_size=4)
    """
    if _arrays.is_list(module):
        return _layers.deep("from_equinox", [from_equinox(one) for one in module])
    where = "from_equinox"
    given = _given(where, module)
    weights = {
        name: _arrays.read(where, name, value)
        for name, value in given.items()
        if value is not None
    }
    _arrays.keys(
        where, weights, [*_NAMES[:2], *(n for n in _NAMES[2:] if n in weights)]
    )
    _arrays.rank(where, weights, {n: 1 + (n[0] == "w") for n in weights})
    rows, H = weights["weight_hh"].shape
    use_bias = "bias" in weights
    cell: Any
    kind: Any
    if rows == 4 * H and "bias_n" not in weights:
        layer, cell, kind = "LSTMCell", LSTM(H, use_bias=use_bias), LSTMParams
    elif rows == 3 * H and use_bias == ("bias_n" in weights):
        layer, cell, kind = "GRUCell", GRU(H, use_bias=use_bias), GRUParams
    else:
        raise ValueError(
            f"{where}: weight_hh of {rows} rows for {H} units, with {sorted(weights)}, "
            "is neither that of an LSTMCell, of four times as many, nor of a GRUCell, "
            "of three times as many and with both biases or none"
        )
    shapes = {"weight_ih": (rows, weights["weight_ih"].shape[1])}
    wanted: dict[str, tuple[int, ...]] = {"bias": (rows,), "bias_n": (H,)}
    _arrays.check(
        where, weights, shapes | {n: wanted[n] for n in wanted if n in weights}
    )
    row = find("Equinox", layer)
    parts: list[Any] = [
        row.ours(weights[n]) if n in weights else None for n in _NAMES[:3]
    ]
    parts += [weights.get("bias_n")] if kind is GRUParams else []
    return _layers.deep("from_equinox", [Direction(cell, kind(*parts))])


def _given(where: str, module: Any) -> Mapping[str, Any]:
    if isinstance(module, Mapping):
        return module
    if not hasattr(module, "weight_ih"):
        raise TypeError(
            f"{where}: module must be an LSTMCell or GRUCell of Equinox, a dictionary "
            f"of its weights or a list of these, got {type(module).__name__}"
        )
    return {name: getattr(module, name, None) for name in _NAMES}


@_checks.checked
def to_equinox(
    network: Part, params: Params, *, nearest: bool = False
) -> dict[str, Array] | list[dict[str, Array]]:
    """Return parameters as the weights of a cell of Equinox.

    `from_equinox` restores them bit for bit. Put them into a module with `eqx.tree_at`.

    Args:
        network: an `LSTM` or a `GRU`, or a `Deep` of them.
        params: its parameters.
        nearest: also convert what Equinox computes differently (another activation, a
            reset before the product), with a `LossyConversionWarning`.

    Returns:
        NumPy arrays by name, without absent ones; a list of these for a `Deep`.

    Raises:
        TypeError: if Equinox has no such cell.
        ValueError: if no cell of Equinox computes the same, and `nearest` is False.

    Example:
        >>> import jax
        >>> import recurrent_jax as rj
        >>> cell = rj.GRU(4)
        >>> params = cell.init(jax.random.key(0), in_features=2)
        >>> weights = rj.convert.to_equinox(cell, params)
        >>> {name: w.shape for name, w in weights.items()}
        {'weight_ih': (12, 2), 'weight_hh': (12, 4), 'bias': (12,), 'bias_n': (4,)}
    """
    return _layers.each("to_equinox", "Equinox", network, params, _one, nearest)


def _one(where: str, way: Direction, nearest: bool) -> dict[str, Array]:
    cell, params = way
    _layers.one_of(where, "Equinox", cell, (LSTM, GRU))
    functions = {"activation": TANH, "gate_activation": SIGMOID}
    row = find("Equinox", "LSTMCell")
    of_n = None
    if isinstance(cell, GRU):
        _layers.reset_after(where, "Equinox", cell, nearest)
        row = find("Equinox", "GRUCell")
        if params.bias is not None:
            of_n = params.recurrent_bias
            of_n = nothing(params.bias[: cell.hidden_size]) if of_n is None else of_n
    else:
        functions |= {"output_activation": TANH}
    _layers.activations(where, "Equinox", cell, nearest, **functions)
    values = [None if p is None else row.theirs(p) for p in params[:3]]
    named = dict(zip(_NAMES, [*values, of_n], strict=True))
    return {name: value for name, value in named.items() if value is not None}
