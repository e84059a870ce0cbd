# SPDX-License-Identifier: Apache-2.0
"""Keras: `SimpleRNN`, `LSTM`, `GRU`, `ConvLSTM1D` to `3D`, and `Bidirectional`."""

import functools
from collections.abc import Callable
from typing import Any, Literal, cast

import jax
import jax.numpy as jnp
import numpy as np

from recurrent_jax import _checks
from recurrent_jax._core.cell import Cell
from recurrent_jax._core.kinds import Params, Part
from recurrent_jax._core.network import Network
from recurrent_jax._core.types import Activation, Size
from recurrent_jax.cells import (
    GRU,
    LSTM,
    ConvLSTM,
    ConvLSTMParams,
    Elman,
    ElmanParams,
    GRUParams,
    LSTMParams,
)
from recurrent_jax.convert import _arrays, _biases, _layers
from recurrent_jax.convert._arrays import Array
from recurrent_jax.convert._gates import find
from recurrent_jax.convert._layers import Direction

_ACTIVATIONS: dict[str, Activation] = {
    "tanh": jnp.tanh,
    "sigmoid": jax.nn.sigmoid,
    "hard_sigmoid": jax.nn.hard_sigmoid,
    "relu": jax.nn.relu,
    "relu6": jax.nn.relu6,
    "linear": jax.nn.identity,
    "elu": jax.nn.elu,
    "selu": jax.nn.selu,
    "silu": jax.nn.silu,
    "softplus": jax.nn.softplus,
    "softsign": jax.nn.soft_sign,
}
_MERGES = {
    "concat": "concatenate",
    "sum": "sum",
    "ave": "mean",
    "mul": "product",
    None: None,
}
_ROWS = {
    Elman: find("Keras", "SimpleRNN"),
    LSTM: find("Keras", "LSTM"),
    GRU: find("Keras", "GRU"),
    ConvLSTM: find("Keras", "ConvLSTM2D"),
}
_NAMES = ("kernel", "recurrent_kernel", "bias")


@_checks.checked
def from_keras(
    weights: Any,
    *,
    activation: str | Activation = "tanh",
    recurrent_activation: str | Activation = "sigmoid",
    reset_after: bool = True,
    merge_mode: str | None = "concat",
    spatial_shape: tuple[Size, ...] | None = None,
    strides: Size | tuple[Size, ...] = 1,
    padding: str = "valid",
) -> tuple[Cell | Network, Any]:
    """Return a cell or network, and its parameters, from weights of Keras.

    The number and shapes of the weights determine the kind of layer, its biases and
    directions. Pass everything else. Keras is batch-major, so pass `time_axis=1` to
    `unroll`.

    Args:
        weights: `layer.get_weights()`: kernel, recurrent kernel and optional bias,
            twice for a `Bidirectional`; or a list with one such entry per layer.
        activation: the argument of the Keras layer, a name or a function.
        recurrent_activation: the same, for the gates.
        reset_after: the argument of a Keras GRU. Used only if there is no bias.
        merge_mode: the argument of a Keras `Bidirectional`.
        spatial_shape: the shape of the images that a ConvLSTM takes.
        strides: the argument of a Keras ConvLSTM.
        padding: the argument of a Keras ConvLSTM.

    Returns:
        An `Elman`, `LSTM`, `GRU` or `ConvLSTM`, a `Bidirectional` or, for several
        layers, a `Deep`; and its parameters.

    Raises:
        ValueError: if number or shapes are not those of such a layer, or a name is
            not known.
        TypeError: if dtypes are mixed, or a weight is not an array.

    Example:
        >>> import numpy as np
        >>> import recurrent_jax as rj
        >>> shapes = (2, 12), (4, 12), (2, 12)
        >>> weights = [np.ones(shape, "float32") for shape in shapes]
        >>> cell, params = rj.convert.from_keras(weights)
        >>> cell
        GRU(hidden_size=4)
    """
    where = "from_keras"
    if merge_mode not in _MERGES:
        raise ValueError(
            f"{where}: merge_mode must be one of {list(_MERGES)}, got {merge_mode!r}"
        )
    phi = _function(where, "activation", activation)
    sigma = _function(where, "recurrent_activation", recurrent_activation)
    conv = functools.partial(_conv, spatial_shape, strides, padding)
    if not _arrays.is_list(weights) or not weights:
        raise TypeError(
            f"{where}: weights must be a list of arrays, got {type(weights).__name__}; "
            "layer.get_weights() makes one"
        )
    if not _arrays.is_list(weights[0]):
        weights = [weights]
    parts = []
    for layer in weights:
        ways = [
            _read(where, own, phi, sigma, reset_after, conv) for own in _ways(layer)
        ]
        parts.append(_layers.either(ways, _MERGES[merge_mode]))
    return _layers.deep("from_keras", parts)


def _ways(layer: Any) -> list[Any]:
    if not _arrays.is_list(layer) or len(layer) not in (2, 3, 4, 6):
        size = len(layer) if _arrays.is_list(layer) else type(layer).__name__
        raise ValueError(
            "from_keras: a layer has kernel, recurrent kernel and perhaps a bias, and "
            f"a Bidirectional one twice as many; got {size}"
        )
    half = len(layer) // 2
    return [layer] if len(layer) < 4 else [layer[:half], layer[half:]]


def _function(where: str, argument: str, given: Any) -> Activation:
    if callable(given):
        return given  # type: ignore[no-any-return]
    if given not in _ACTIVATIONS:
        raise ValueError(
            f"{where}: {argument} must be one of {list(_ACTIVATIONS)} or a function, "
            f"got {given!r}"
        )
    return _ACTIVATIONS[given]


def _read(
    where: str,
    given: Any,
    phi: Activation,
    sigma: Activation,
    reset_after: bool,
    conv: Callable[..., Direction],
) -> Direction:
    named = zip(_NAMES, given, strict=False)
    weights = {name: _arrays.read(where, name, value) for name, value in named}
    kernel, U, b = (weights.get(name) for name in _NAMES)
    if U is None or kernel is None or U.ndim < 2 or 0 in U.shape:
        raise ValueError(f"{where}: recurrent_kernel must be (H, gates * H)")
    _arrays.rank(where, weights, {"kernel": U.ndim})
    H, wide = U.shape[-2:]
    gates, rest = divmod(wide, H)
    two = b is not None and gates == 3 and b.ndim == 2
    shapes = {"kernel": (*kernel.shape[:-1], wide)}
    shapes |= {"bias": (2, wide) if two else (wide,)} if b is not None else {}
    _arrays.check(where, weights, shapes)
    use_bias = b is not None
    if U.ndim == 2 and gates == 1:
        cell: Any = Elman(H, activation=phi, use_bias=use_bias)
        return Direction(cell, ElmanParams(kernel, U, b))
    if U.ndim == 2 and gates == 4 and not rest:
        cell = LSTM(H, phi, phi, sigma, use_bias=use_bias)
        return Direction(cell, LSTMParams(kernel, U, b))
    if U.ndim == 2 and gates == 3 and not rest:
        after = two if use_bias else reset_after
        cell = GRU(H, after, phi, sigma, use_bias=use_bias)
        return Direction(cell, _gru(kernel, U, b))
    if 3 <= U.ndim <= 5 and gates == 4 and not rest:
        return conv(H, kernel, U, b, phi, sigma)
    raise ValueError(
        f"{where}: recurrent_kernel {_checks.describe(U)} is of no layer: one of "
        f"{H} units has {H} columns (SimpleRNN), {3 * H} (GRU) or {4 * H} (LSTM, "
        "ConvLSTM)"
    )


def _gru(kernel: Array, U: Array, b: Array | None) -> GRUParams:
    row = _ROWS[GRU]
    of_n = None
    if b is not None and b.ndim == 2:
        b, of_n = _biases.gru_added(row, b[0], b[1])
    elif b is not None:
        b = row.ours(b)
    return GRUParams(row.ours(kernel), row.ours(U), b, of_n)


def _conv(
    spatial_shape: tuple[int, ...] | None,
    strides: int | tuple[int, ...],
    padding: str,
    F: int,
    kernel: Array,
    U: Array,
    b: Array | None,
    phi: Activation,
    sigma: Activation,
) -> Direction:
    if spatial_shape is None:
        raise ValueError(
            "from_keras: a ConvLSTM needs the size of its images, "
            f"spatial_shape=({'..., ' * (U.ndim - 2)})"
        )
    cell = ConvLSTM(
        F,
        spatial_shape,
        kernel_shape=U.shape[:-2],
        strides=strides,
        padding=cast(Literal["SAME", "VALID"], str(padding).upper()),
        activation=phi,
        output_activation=phi,
        gate_activation=sigma,
        use_bias=b is not None,
        use_peephole=False,
    )
    return Direction(cell, ConvLSTMParams(kernel, U, b, None))


@_checks.checked
def to_keras(network: Part, params: Params, *, nearest: bool = False) -> list[Any]:
    """Return parameters as the weights of a recurrent layer of Keras.

    `from_keras` restores them bit for bit, if it gets the fields that the weights do
    not show: activations, `reset_after` of a GRU, `merge_mode`, and the shapes of a
    ConvLSTM.

    Args:
        network: an `Elman`, `LSTM`, `GRU`, or `ConvLSTM` without peepholes; a
            `Bidirectional` of two; or a `Deep` of such layers.
        params: its parameters.
        nearest: also convert what Keras computes differently (an output activation
            other than the candidate's, peepholes), with a `LossyConversionWarning`.

    Returns:
        What `layer.set_weights` takes; a list of these for a `Deep`.

    Raises:
        TypeError: if Keras has no such layer.
        ValueError: if no layer of Keras computes the same, and `nearest` is False.

    Example:
        >>> import jax
        >>> import recurrent_jax as rj
        >>> cell = rj.GRU(4)
        >>> params = cell.init(jax.random.key(0), in_features=2)
        >>> [w.shape for w in rj.convert.to_keras(cell, params)]
        [(2, 12), (4, 12), (2, 12)]
    """
    where = "to_keras"
    written = []
    for layer, own in _layers.layers(where, network, params):
        ways = _layers.directions(where, layer, own, list(_MERGES.values()))
        written.append([w for way in ways for w in _one(where, way, nearest)])
    return written if _layers.is_deep(network) else written[0]


def _one(where: str, way: Direction, nearest: bool) -> list[Array]:
    cell, params = way
    _layers.one_of(where, "Keras", cell, tuple(_ROWS))
    row = _ROWS[type(cell)]
    if isinstance(cell, LSTM | ConvLSTM):
        same = {"output_activation": (cell.activation,)}
        _layers.activations(where, "Keras", cell, nearest, **same)
    if getattr(params, "peephole", None) is not None:
        _arrays.lose(where, "Keras has no peepholes, so outputs will differ", nearest)
    b = None if params.bias is None else row.theirs(params.bias)
    if isinstance(cell, GRU) and cell.reset_after and b is not None:
        pair: Any = _biases.gru_apart(row, params.bias, params.recurrent_bias)
        b = np.stack(pair)
    weights = [row.theirs(params.kernel), row.theirs(params.recurrent_kernel), b]
    return [w for w in weights if w is not None]
