# SPDX-License-Identifier: Apache-2.0
"""Cells and networks of ours, taken apart into layers and put together again."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from recurrent_jax import _checks
from recurrent_jax._core.cell import Cell
from recurrent_jax._core.names import spell
from recurrent_jax.convert._arrays import export, finish, lose
from recurrent_jax.networks import Bidirectional, BidirectionalParams, Deep

Layer = Any  # a cell or a `Bidirectional`

TANH = (jnp.tanh, jax.nn.tanh, lax.tanh)
SIGMOID = (jax.nn.sigmoid, lax.logistic)


class Direction(NamedTuple):
    """A cell that runs in one direction, and its parameters."""

    cell: Any
    params: Any


def layers(where: str, network: Any, params: Any) -> list[tuple[Layer, Any]]:
    """Return the layers of a network; a cell is a network of one."""
    if not isinstance(network, Deep):
        return [(network, params)]
    for name in ("residual", "skip"):
        if getattr(network, name):
            raise ValueError(
                f"{where}: {network!r} adds what no layer there does; convert its "
                f"layers one by one, and write {name} into the model there"
            )
    if not isinstance(params, tuple) or len(params) != len(network.layers):
        raise TypeError(
            f"{where}: params must be a tuple of {len(network.layers)}, one for each "
            f"layer of {network!r}; got {type(params).__name__}"
        )
    each = zip(network.layers, params, strict=True)
    return [part for layer, own in each for part in layers(where, layer, own)]


def directions(
    where: str, layer: Layer, params: Any, merges: Sequence[str | None]
) -> tuple[Direction, ...]:
    """Return the directions of a layer, one or two, with parameters of NumPy."""
    if not isinstance(layer, Bidirectional):
        return (_direction(where, layer, params),)
    if layer.merge not in merges:
        raise ValueError(
            f"{where}: {layer!r} must merge by one of {list(merges)}; take the "
            "directions apart, or merge in the model there"
        )
    if not isinstance(params, BidirectionalParams):
        raise TypeError(
            f"{where}: params must be BidirectionalParams(forward, backward), got "
            f"{_checks.outline(params)}"
        )
    backward = layer.forward if layer.backward is None else layer.backward
    return (
        _direction(where, layer.forward, params.forward),
        _direction(where, backward, params.backward),
    )


def _direction(where: str, cell: Any, params: Any) -> Direction:
    _checks.instance(where, cell, order="(cell, params)")
    if not hasattr(params, "kernel"):
        raise TypeError(
            f"{where}: params must be those of {cell!r}, got "
            f"{type(params).__name__}; the order is (cell, params)"
        )
    if hasattr(params.kernel, "_fields"):
        raise TypeError(
            f"{where}: the other libraries have no {cell!r}, whose kernel is "
            f"{_checks.outline(params.kernel)}; save_safetensors keeps the weights of "
            "any cell"
        )
    params = export(where, _checks.arrays(where, "params", params))
    if params.kernel is None:
        raise TypeError(f"{where}: params.kernel must be an array, got None")
    if params.kernel.ndim < 2:
        raise ValueError(
            f"{where}: params.kernel must have 2 axes or more, got "
            f"{_checks.describe(params.kernel)}"
        )
    expected = _checks.fresh(cell, params.kernel.shape[-2])
    if type(params) is not type(expected):
        raise TypeError(
            f"{where}: params must be {type(expected).__name__}, got "
            f"{type(params).__name__}; they were made for another cell than {cell!r}"
        )
    for name, got, want in zip(params._fields, params, expected, strict=True):
        shape = None if want is None else want.shape
        if (None if got is None else got.shape) != shape:
            raise ValueError(
                f"{where}: params.{name} must be of shape {shape}, got "
                f"{_checks.outline(got)}; they were made for another cell than "
                f"{cell!r}"
            )
        if got is not None and got.dtype != params.kernel.dtype:
            raise TypeError(
                f"{where}: params.{name} is {got.dtype} but params.kernel is "
                f"{params.kernel.dtype}; nothing is cast silently"
            )
    return Direction(cell, params)


def either(ways: Sequence[Direction], merge: str | None) -> Direction:
    """Return one direction as it is, and both as one layer."""
    if len(ways) == 1:
        return ways[0]
    forward, backward = ways
    other = None if forward.cell == backward.cell else backward.cell
    layer = Bidirectional(forward.cell, other, merge=merge)  # type: ignore[arg-type]
    return Direction(layer, BidirectionalParams(forward.params, backward.params))


def alike(where: str, peer: str, parts: Sequence[tuple[Layer, Any]]) -> None:
    """Check that all directions of all layers are of one kind, size and form."""
    ways = [
        [layer.forward, layer.backward or layer.forward]
        if isinstance(layer, Bidirectional)
        else [layer]
        for layer, _ in parts
    ]
    if (
        len({repr(_plain(cell)) for way in ways for cell in way}) > 1
        or len(set(map(len, ways))) > 1
    ):
        raise ValueError(
            f"{where}: the layers of one module of {peer} are all alike, got "
            f"{[layer for layer, _ in parts]}; convert them one by one"
        )


def _plain(cell: Any) -> Any:
    """Return a cell without the fields that only `init` reads."""
    if not isinstance(cell, Cell):
        return cell
    start = {
        f.name: f.default
        for f in dataclasses.fields(cell)
        if f.name.endswith("_init") or f.name == "forget_bias"
    }
    return dataclasses.replace(cell, **start)


_OF_FLAX = ("from_linen", "from_nnx", "from_flax")
_BOTH = (
    "; if they are two directions of one layer, pass {'forward': ..., 'backward': ...}"
)


def deep(
    where: str, parts: Sequence[tuple[Layer, Any]], dropout: float = 0.0
) -> tuple[Any, Any]:
    """Return layers as one network, or the only one as it is."""
    if not parts:
        raise ValueError(f"{where}: there are no weights: the list of layers is empty")
    given = None
    for n, (layer, params) in enumerate(parts):
        takes = {p.kernel.shape[-2] for p in _ways(layer, params)}
        if len(takes) > 1 or (given is not None and {given} != takes):
            raise ValueError(
                f"{where}: layer {n} takes {sorted(takes)} features, but is given "
                f"{'one and the same input' if given is None else given}"
                + (_BOTH if where in _OF_FLAX else "")
            )
        given = layer.out_features(takes.pop()) if _is_merged(layer) else None
    if len(parts) == 1:
        layer, params = parts[0]
        return layer, finish(params)
    cells, params = zip(*parts, strict=True)
    return Deep(cells, dropout=dropout), finish(params)


def _ways(layer: Layer, params: Any) -> tuple[Any, ...]:
    if isinstance(layer, Deep):
        return _ways(layer.layers[0], params[0])
    both = isinstance(layer, Bidirectional)
    return (params.forward, params.backward) if both else (params,)


def _is_merged(layer: Layer) -> bool:
    return not isinstance(layer, Bidirectional) or layer.merge is not None


def one_of(where: str, peer: str, cell: Cell, kinds: Sequence[type]) -> None:
    """Check that a library has such a cell."""
    if type(cell) not in kinds:
        names = ", ".join(kind.__name__ for kind in kinds)
        raise TypeError(f"{where}: {peer} has no {cell!r}; of ours it has {names}")


def activations(
    where: str,
    peer: str,
    cell: Any,
    nearest: bool,
    **allowed: tuple[Callable[..., Any], ...],
) -> None:
    """Check the activations of a cell against the only ones that a library has."""
    for name, functions in allowed.items():
        got = getattr(cell, name, functions[0])
        if got not in functions:
            lose(
                where,
                f"{peer} computes {name} by {spell(functions[0])}, "
                f"but {cell!r} by {spell(got)}, so outputs will differ",
                nearest,
            )


def reset_after(where: str, peer: str, cell: Any, nearest: bool) -> None:
    """Check that a GRU resets after the product."""
    if not cell.reset_after:
        lose(
            where,
            f"{peer} resets after the recurrent product, but {cell!r} before it, so "
            "outputs will differ",
            nearest,
        )


def with_bias(where: str, peer: str, way: Direction, nearest: bool) -> Direction:
    """Return a direction that has a bias, for a library where all have one."""
    cell, params = way
    if params.bias is not None:
        return way
    lose(where, f"{peer} has no {cell!r} without bias; it gains one of zeros", nearest)
    bias = np.zeros(params.kernel.shape[-1], params.kernel.dtype)
    return Direction(cell, params._replace(bias=bias))


def each(
    where: str,
    peer: str,
    network: Any,
    params: Any,
    write: Callable[[str, Direction, bool], Any],
    nearest: bool,
) -> Any:
    """Return what a library without networks makes of a cell, a list for a `Deep`."""
    parts = []
    for layer, own in layers(where, network, params):
        if isinstance(layer, Bidirectional):
            raise TypeError(
                f"{where}: {peer} has nothing like {layer!r}; convert its directions "
                "one by one, params.forward and params.backward"
            )
        (way,) = directions(where, layer, own, [])
        parts.append(write(where, way, nearest))
    return parts if isinstance(network, Deep) else parts[0]


def reset_before(where: str, peer: str, cell: Any, params: Any, nearest: bool) -> None:
    """Check that a GRU resets before the product."""
    if cell.reset_after:
        lose(
            where,
            f"{peer} resets before the recurrent product, but {cell!r} after it and "
            "with a second bias, so outputs will differ",
            nearest,
        )


def unclipped(where: str, peer: str, cell: Any, nearest: bool) -> None:
    """Check that a cell clips nothing."""
    for name in ("cell_clip", "projection_clip"):
        if getattr(cell, name, None) is not None:
            lose(where, f"{peer} has no {name}, so outputs may differ", nearest)


def is_deep(network: Any) -> bool:
    """Whether a network is a stack of layers."""
    return isinstance(network, Deep)
