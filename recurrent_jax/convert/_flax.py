# SPDX-License-Identifier: Apache-2.0
"""Flax: the cells of `linen` and of `nnx`, in `RNN`, `Bidirectional`, `Sequential`."""

import re
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from recurrent_jax import _checks
from recurrent_jax._core.cell import Cell
from recurrent_jax._core.kinds import Params, Part
from recurrent_jax._core.network import Network
from recurrent_jax._core.types import Activation, Size
from recurrent_jax.cells import (
    GRU,
    LSTM,
    MGU,
    UGRNN,
    ConvLSTM,
    Elman,
    ResidualElman,
)
from recurrent_jax.convert import _arrays, _flax_cells, _layers
from recurrent_jax.convert._flax_cells import Settings, Tree
from recurrent_jax.convert._layers import Direction

_PLACE = re.compile(r"(?:layers_)?(0|[1-9]\d{0,3})")


@_checks.checked
def from_linen(
    variables: Any,
    *,
    gate_fn: Activation = jax.nn.sigmoid,
    activation_fn: Activation = jnp.tanh,
    residual: bool = False,
    spatial_shape: tuple[Size, ...] | None = None,
) -> tuple[Cell | Network, Any]:
    """Return a cell or network, and its parameters, from `flax.linen` variables.

    Cells are known by the names of their parameters, and found under `params` and
    `cell`, in both directions of a `Bidirectional`, and in the layers of a
    `Sequential`. A compact model keeps all its cells side by side, as
    `OptimizedLSTMCell_0` and so on: pass them in order, in a list of layers, with
    `{"forward": ..., "backward": ...}` for two directions. Flax is batch-first:
    `time_axis=1`.

    Args:
        variables: of a cell, an `RNN`, a `Bidirectional` or a `Sequential` of these;
            or a list with one entry for each layer.
        gate_fn: the function of the gates, as the cells of Flax were given it.
        activation_fn: that of the candidate, as they were given it.
        residual: whether a `SimpleCell` was built with `residual=True`.
        spatial_shape: of the images that a `ConvLSTMCell` takes, whose strides and
            padding must be the defaults.

    Returns:
        An `Elman`, `ResidualElman`, `LSTM`, `GRU`, `MGU`, `UGRNN` or `ConvLSTM`, a
        `Bidirectional`, or a `Deep` for a `Sequential`; and its parameters.

    Raises:
        ValueError: if names or shapes are not those of such modules.
        TypeError: if dtypes are mixed, or a weight is not an array.

    Example:
        >>> import numpy as np
        >>> import recurrent_jax as rj
        >>> def ones(*shape):
        ...     return np.ones(shape, "float32")
        >>> weights = {
        ...     "i": {"kernel": ones(2, 4), "bias": ones(4)},
        ...     "h": {"kernel": ones(4, 4)},
        ... }
        >>> variables = {"params": {"cell": weights}}
        >>> cell, params = rj.convert.from_linen(variables)
        >>> cell
        Elman(hidden_size=4)
    """
    settings = Settings(
        *("from_linen", "variables"), gate_fn, activation_fn, spatial_shape, residual
    )
    return read_linen(settings, variables)


def read_linen(settings: Settings, variables: Any) -> tuple[Cell | Network, Any]:
    """Return what variables are here, for whoever asks."""
    found = _find(settings, variables, _flax_cells.from_linen)
    return _layers.deep(settings.where, _flat(found))


@_checks.checked
def from_nnx(
    params: Any,
    *,
    gate_fn: Activation = jax.nn.sigmoid,
    activation_fn: Activation = jnp.tanh,
    residual: bool = False,
) -> tuple[Cell | Network, Any]:
    """Return a cell or network, and its parameters, from `flax.nnx` parameters.

    For an LSTM the trees of `LSTMCell` and of `OptimizedLSTMCell` are accepted.

    Args:
        params: `nnx.to_pure_dict(nnx.state(module, nnx.Param))` of a cell, an `RNN`, a
            `Bidirectional` or a `Sequential` of these; or a list with one entry for
            each layer.
        gate_fn: the function of the gates, as the cells of Flax were given it.
        activation_fn: that of the candidate, as they were given it.
        residual: whether a `SimpleCell` was built with `residual=True`.

    Returns:
        An `Elman`, `ResidualElman`, `LSTM` or `GRU`, a `Bidirectional`, or a `Deep` for
        a `Sequential`; and its parameters.

    Raises:
        ValueError: if names or shapes are not those of such modules.
        TypeError: if dtypes are mixed, or a weight is not an array.

    Example:
        >>> import numpy as np
        >>> import recurrent_jax as rj
        >>> weights = {
        ...     "dense_i": {"kernel": np.ones((2, 16), "float32")},
        ...     "dense_h": {"kernel": np.ones((4, 16), "float32"),
        ...                 "bias": np.ones(16, "float32")},
        ... }
        >>> cell, params = rj.convert.from_nnx(weights)
        >>> cell
        LSTM(hidden_size=4)
    """
    settings = Settings("from_nnx", "params", gate_fn, activation_fn, None, residual)
    found = _find(settings, params, _flax_cells.from_nnx)
    return _layers.deep("from_nnx", _flat(found))


def _find(
    settings: Settings, tree: Any, read: Callable[[Settings, Tree], Direction]
) -> list[Any] | Direction:
    """Return layers as a list, or one that is not in a list."""
    if _arrays.is_list(tree):
        return [_find(settings, part, read) for part in tree]
    if not isinstance(tree, Mapping):
        raise TypeError(
            f"{settings.where}: {settings.argument} must be dictionaries of modules, "
            f"got {type(tree).__name__}"
        )
    names = set(map(str, tree))
    if len(names) == 1 and names < {"params", "cell", "layers"}:
        return _find(settings, next(iter(tree.values())), read)
    if names in ({"forward_rnn", "backward_rnn"}, set(_WAYS)):
        end = "" if names == set(_WAYS) else "_rnn"
        ways = [_find(settings, tree[f"{name}{end}"], read) for name in _WAYS]
        if not all(isinstance(way, Direction) for way in ways):
            raise ValueError(f"{settings.where}: a Bidirectional holds two RNNs")
        return _layers.either(ways, "concatenate")  # type: ignore[arg-type]
    places = {name: _PLACE.fullmatch(str(name)) for name in tree}
    if tree and all(places.values()):
        order = sorted((int(match[1]), name) for name, match in places.items() if match)
        if [n for n, _ in order] != list(range(len(order))):
            raise ValueError(
                f"{settings.where}: the layers {sorted(names)} are not all of a "
                "Sequential's; those without parameters cannot be converted: pass a "
                "list of the recurrent ones"
            )
        return [_find(settings, tree[name], read) for _, name in order]
    return read(settings, tree)


_WAYS = ("forward", "backward")


def _flat(found: list[Any] | Direction) -> list[Direction]:
    if isinstance(found, Direction):
        return [found]
    return [layer for part in found for layer in _flat(part)]


@_checks.checked
def to_linen(network: Part, params: Params, *, nearest: bool = False) -> dict[str, Any]:
    """Return parameters as the variables of modules of `flax.linen`.

    `from_linen` restores them bit for bit, if it gets the activations. The names are
    those of a cell, of a `Bidirectional` of `RNN`s, and of a `Sequential` of these.

    Args:
        network: an `Elman`, `ResidualElman`, `LSTM`, `GRU` or `UGRNN`, an `MGU` of
            Flax's form, or a `ConvLSTM` without peepholes; a `Bidirectional` of two; or
            a `Deep` of such layers.
        params: its parameters.
        nearest: also convert what Flax computes differently (a reset before the
            product, no bias, an output activation other than the candidate's) or must
            round (the forget bias of a ConvLSTM), with a `LossyConversionWarning`.

    Returns:
        `{"params": ...}`. To use the variables of a cell in an `RNN`, write
        `{"params": {"cell": ...}}`.

    Raises:
        TypeError: if Flax has no such cell.
        ValueError: if no cell of Flax computes the same, and `nearest` is False.

    Example:
        >>> import jax
        >>> import recurrent_jax as rj
        >>> cell = rj.Elman(4)
        >>> params = cell.init(jax.random.key(0), in_features=2)
        >>> jax.tree.map(lambda w: w.shape, rj.convert.to_linen(cell, params))
        {'params': {'h': {'kernel': (4, 4)}, 'i': {'bias': (4,), 'kernel': (2, 4)}}}
    """

    def write(way: Direction) -> Tree:
        kinds = (Elman, ResidualElman, LSTM, GRU, MGU, UGRNN, ConvLSTM)
        _layers.one_of("to_linen", "flax.linen", way.cell, kinds)
        return _flax_cells.to_linen("to_linen", way, nearest)

    layers = _write("to_linen", network, params, write)
    if _layers.is_deep(network):
        return {"params": {f"layers_{n}": tree for n, tree in enumerate(layers)}}
    return {"params": layers[0].get("cell", layers[0])}


@_checks.checked
def to_nnx(
    network: Part,
    params: Params,
    *,
    optimized: bool = False,
    nearest: bool = False,
) -> dict[str, Any]:
    """Return parameters as those of modules of `flax.nnx`.

    `from_nnx` restores them bit for bit, if it gets the activations. The GRU of
    `flax.nnx` has no second bias in its candidate, so ours must be zero.

    Args:
        network: an `Elman`, `ResidualElman`, `LSTM` or `GRU`, a `Bidirectional` of two,
            or a `Deep` of such layers.
        params: its parameters.
        optimized: for an LSTM, return the tree of `OptimizedLSTMCell`.
        nearest: also convert what Flax computes differently (a second bias, a reset
            before the product, no bias), with a `LossyConversionWarning`.

    Returns:
        What `nnx.replace_by_pure_dict` takes. To use the parameters of a cell in an
        `RNN`, write `{"cell": ...}`.

    Raises:
        TypeError: if Flax has no such cell.
        ValueError: if no cell of Flax computes the same, and `nearest` is False.

    Example:
        >>> import jax
        >>> import recurrent_jax as rj
        >>> cell = rj.Elman(4)
        >>> params = cell.init(jax.random.key(0), in_features=2)
        >>> weights = rj.convert.to_nnx(cell, params)
        >>> {name: tuple(sorted(part)) for name, part in weights.items()}
        {'dense_i': ('bias', 'kernel'), 'dense_h': ('kernel',)}
    """

    def write(way: Direction) -> Tree:
        _layers.one_of(
            "to_nnx", "flax.nnx", way.cell, (Elman, ResidualElman, LSTM, GRU)
        )
        return _flax_cells.to_nnx("to_nnx", way, optimized, nearest)

    layers = _write("to_nnx", network, params, write)
    if _layers.is_deep(network):
        return {"layers": dict(enumerate(layers))}
    return layers[0].get("cell", layers[0])  # type: ignore[no-any-return]


def _write(
    where: str, network: Any, params: Any, write: Callable[[Direction], Tree]
) -> list[dict[str, Any]]:
    """Return each layer as an `RNN` or a `Bidirectional` of two."""
    written = []
    for layer, own in _layers.layers(where, network, params):
        ways = _layers.directions(where, layer, own, ["concatenate"])
        trees = [{"cell": write(way)} for way in ways]
        both = {f"{name}_rnn": t for name, t in zip(_WAYS, trees, strict=False)}
        written.append(both if len(trees) == 2 else trees[0])
    return written
