# SPDX-License-Identifier: Apache-2.0
"""cuDNN: the flat weights of `jax.experimental.rnn`."""

import math
from typing import Any

import jax.numpy as jnp
import numpy as np

from recurrent_jax import _checks
from recurrent_jax._checks.array_kinds import FloatArray
from recurrent_jax._core.cell import Cell
from recurrent_jax._core.kinds import Params, Part
from recurrent_jax._core.network import Network
from recurrent_jax._core.types import Size
from recurrent_jax.cells import LSTM
from recurrent_jax.convert import _arrays, _double, _layers
from recurrent_jax.convert._arrays import Array


@_checks.checked
def from_cudnn(
    weights: Any,
    *,
    input_size: Size,
    hidden_size: Size,
    num_layers: Size = 1,
    bidirectional: bool = False,
) -> tuple[Cell | Network, Any]:
    """Return a cell or network, and its parameters, from flat cuDNN weights.

    They are the weights of `jax.experimental.rnn.lstm`: PyTorch's arrays one after
    another, first both matrices of every layer and direction, then both biases of each.
    On AMD GPUs undo `swap_lstm_gates` first.

    Args:
        weights: a vector, as from `init_lstm_weight`.
        input_size: the argument of `init_lstm_weight`: input features.
        hidden_size: its argument: hidden units.
        num_layers: its argument: the number of layers.
        bidirectional: its argument: whether there are two directions.

    Returns:
        An `LSTM`, a `Bidirectional` or, for several layers, a `Deep`; and its params.

    Raises:
        ValueError: if the number of weights does not match these sizes.

    Example:
        >>> import jax
        >>> from jax.experimental import rnn
        >>> import recurrent_jax as rj
        >>> weights = rnn.init_lstm_weight(jax.random.key(0), 2, 4, 1, False)
        >>> cell, params = rj.convert.from_cudnn(weights, input_size=2, hidden_size=4)
        >>> cell
        LSTM(hidden_size=4)
    """
    sizes = {"input_size": input_size, "hidden_size": hidden_size}
    weights = _arrays.read("from_cudnn", "weights", weights)
    FloatArray().check("from_cudnn", "weights", weights)
    count = _count(input_size, hidden_size, num_layers, 1 + bidirectional)
    if weights.shape != (count,):
        raise ValueError(
            f"from_cudnn: weights must be of shape ({count},) for {sizes}, "
            f"num_layers={num_layers}, bidirectional={bidirectional}; "
            f"got {_checks.describe(weights)}"
        )
    shapes = _shapes(input_size, hidden_size, num_layers, bidirectional)
    ways: dict[int, dict[str, Array]] = {}
    start = 0
    for way, name, shape in shapes:
        size = math.prod(shape)
        part = weights[start : start + size].reshape(shape)
        ways.setdefault(way, {})[name] = part
        start += size
    each = [_double.read("from_cudnn:", own, jnp.tanh) for own in ways.values()]
    step = 1 + bidirectional
    grouped = [each[n : n + step] for n in range(0, len(each), step)]
    parts = [_layers.either(group, "concatenate") for group in grouped]
    return _layers.deep("from_cudnn", parts)


@_checks.checked
def to_cudnn(network: Part, params: Params, *, nearest: bool = False) -> Array:
    """Return parameters as the flat weights that `jax.experimental.rnn.lstm` takes.

    `from_cudnn` restores them bit for bit. cuDNN computes only in float32.

    Args:
        network: an `LSTM`, a `Bidirectional` of two, or a `Deep` of such layers.
        params: its parameters.
        nearest: also convert what cuDNN computes differently (another activation, no
            biases), with a `LossyConversionWarning`.

    Returns:
        A NumPy vector.

    Raises:
        TypeError: if cuDNN has no such layer.
        ValueError: if cuDNN does not compute the same, and `nearest` is False.

    Example:
        >>> import jax
        >>> import recurrent_jax as rj
        >>> cell = rj.LSTM(4)
        >>> params = cell.init(jax.random.key(0), in_features=2)
        >>> rj.convert.to_cudnn(cell, params).shape
        (128,)
    """
    parts = _layers.layers("to_cudnn", network, params)
    _layers.alike("to_cudnn", "cuDNN", parts)
    matrices: list[Array] = []
    biases: list[Array] = []
    for layer, own in parts:
        for way in _layers.directions("to_cudnn", layer, own, ["concatenate"]):
            _layers.one_of("to_cudnn", "jax.experimental.rnn", way.cell, (LSTM,))
            way = _layers.with_bias("to_cudnn", "cuDNN", way, nearest)
            weights = _double.write("to_cudnn", "cuDNN", way, nearest)
            matrices += [weights["weight_ih"].ravel(), weights["weight_hh"].ravel()]
            biases += [weights["bias_ih"], weights["bias_hh"]]
    return np.concatenate([*matrices, *biases])


def _count(input_size: int, hidden_size: int, num_layers: int, ways: int) -> int:
    """Return the number of weights, also for absurd sizes."""
    own, above = hidden_size + 2, hidden_size * ways
    first, each = input_size + own, above + own
    return 4 * hidden_size * ways * (first + (num_layers - 1) * each)


def _shapes(
    input_size: int, hidden_size: int, num_layers: int, bidirectional: bool
) -> list[tuple[int, str, tuple[int, ...]]]:
    """Return direction, name and shape of every array, in order."""
    wide, ways = 4 * hidden_size, 1 + bidirectional
    matrices: list[tuple[int, str, tuple[int, ...]]] = []
    biases: list[tuple[int, str, tuple[int, ...]]] = []
    for n in range(num_layers * ways):
        in_features = input_size if n < ways else hidden_size * ways
        matrices += [(n, "weight_ih", (wide, in_features))]
        matrices += [(n, "weight_hh", (wide, hidden_size))]
        biases += [(n, "bias_ih", (wide,)), (n, "bias_hh", (wide,))]
    return matrices + biases
