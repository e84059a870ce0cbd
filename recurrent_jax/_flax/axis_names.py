# SPDX-License-Identifier: Apache-2.0
"""Logical names for the axes of parameters, and rules that map them to a mesh."""

import dataclasses
from typing import Any

import jax

from recurrent_jax import _checks
from recurrent_jax._core.cell import Cell
from recurrent_jax._core.network import Network
from recurrent_jax._flax import adapters

Names = tuple[str | None, ...]
Rules = tuple[tuple[str, str | None], ...]


@_checks.checked
def axis_rules(
    *, batch: str | None = None, units: str | None = None, fsdp: str | None = None
) -> Rules:
    """Return rules that map the names of `logical_axes` to mesh axes.

    They are for `nn.logical_axis_rules`, `nn.logical_to_mesh_sharding` and
    `nnx.logical_axis_rules`. No two names of one parameter share a mesh axis.

    | name | of | mesh axis |
    |---|---|---|
    | `batch` | inputs and outputs, for your own constraints | `batch` |
    | `features` | parameters: the input features of the network | `units` |
    | `hidden` | parameters: units, if it is not the last axis | `units` |
    | `units` | parameters: units of all gates, the last axis | `fsdp` |

    Pass `units` to the method too, `rj.Sharded(units="model")`. It computes with a
    share of the units of all gates on each device, wherever the parameters are stored.

    Args:
        batch: the mesh axis of the sequences.
        units: the mesh axis of tensor parallelism.
        fsdp: the mesh axis over which parameters are stored in parts, usually that of
            the batch. Then pass `batch` to `rj.Sharded`, which gathers them once a
            sequence.

    Raises:
        TypeError, ValueError: if an axis is not a string, or if `units` and `fsdp` are
            the same.

    Example:
        >>> import recurrent_jax as rj
        >>> for rule in rj.linen.axis_rules(batch="data", units="model", fsdp="data"):
        ...     print(rule)
        ('batch', 'data')
        ('features', 'model')
        ('hidden', 'model')
        ('units', 'data')
    """
    if units is not None and units == fsdp:
        raise ValueError(
            "axis_rules: units and fsdp cut the same parameters, so they need two mesh "
            f"axes, got {units!r} for both; pass fsdp alone to only store them in parts"
        )
    return ("batch", batch), ("features", units), ("hidden", units), ("units", fsdp)


def names_of(network: Cell | Network, in_features: int) -> dict[str, Names]:
    """Return the names of the axes of each parameter, by its path.

    They follow from which axes grow with the units and with the input features.
    """
    now = _shapes(network, in_features)
    large = _grown(network)
    both = _shapes(large, 2 * in_features)
    try:
        fed = _shapes(network, 2 * in_features)
    except Exception:  # it has as many units as features, such as a residual network
        fed = now

    def one(shape: Any, wider: Any, larger: Any) -> Names:
        names: list[str | None] = []
        for axis, size in enumerate(shape):
            if larger[axis] == size:
                names.append(None)
            elif wider[axis] != size:
                names.append("features")
            else:
                names.append("units" if axis == len(shape) - 1 else "hidden")
        return tuple(names)

    return {path: one(now[path], fed[path], both[path]) for path in now}


def _shapes(network: Cell | Network, in_features: int) -> dict[str, tuple[int, ...]]:
    found: dict[str, tuple[int, ...]] = {}
    adapters.nest(
        _checks.fresh(network, in_features),
        lambda path, p: found.setdefault(path, p.shape),
    )
    return found


def _grown(part: Any) -> Any:
    """Return a cell or network with twice as many units everywhere."""
    if not isinstance(part, Cell | Network):
        return part

    def is_part(a: Any) -> bool:
        return isinstance(a, Cell | Network)

    changed = {}
    for field in dataclasses.fields(part):
        value = getattr(part, field.name)
        if field.name == "hidden_size":
            changed[field.name] = 2 * value
        elif is_part(value) or isinstance(value, tuple):
            changed[field.name] = jax.tree.map(_grown, value, is_leaf=is_part)
    return dataclasses.replace(part, **changed)
