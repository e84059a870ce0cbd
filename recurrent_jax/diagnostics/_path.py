# SPDX-License-Identifier: Apache-2.0
"""The trajectory of a cell along a sequence, with states as vectors."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from recurrent_jax import _checks
from recurrent_jax._core.cell import Cell


class Path(NamedTuple):
    """The trajectory along a sequence; one entry per step, `(time, *batch, ...)`."""

    params: Any  # prepared
    carries: Any  # before each step
    zs: Any  # the projected inputs
    batch_shape: tuple[int, ...]


def follow(where: str, cell: Cell, params: Any, xs: Any, carry: Any) -> Path:
    """Return the time-major trajectory of a cell along a sequence."""
    _checks.instance(where, cell, order="(cell, params, xs)")
    params = _checks.arrays(where, "params", params)
    xs = _checks.arrays(where, "xs", xs)
    reading = _checks.read(where, "xs", cell, xs, 0)
    if not reading.time:
        raise ValueError(f"{where}: needs at least one step ({reading})")
    _checks.features(reading, params, xs)
    if carry is None:
        dtype = _checks.float_dtype(params, reading.first)
        carry = cell.initial_carry(reading.batch_shape, dtype, params)
    carry = _checks.arrays(where, "carry", carry)
    _checks.carry(reading, params, "carry", carry)
    prepared = cell.prepare(params)
    zs = cell.project(prepared, xs)

    def body(carry: Any, z: Any) -> tuple[Any, Any]:
        after, _ = cell.recur(prepared, carry, z)
        return after, carry

    _, carries = lax.scan(body, carry, zs)
    return Path(prepared, carries, zs, reading.batch_shape)


def to_vector(carry: Any, batch_shape: tuple[int, ...] = ()) -> jax.Array:
    """Return the concatenation of all floats of a carry, `(*batch, S)`."""
    parts = [p.reshape(*batch_shape, -1) for p in jax.tree.leaves(carry) if _real(p)]
    return jnp.concatenate(parts, axis=-1)


def to_carry(vector: jax.Array, like: Any) -> Any:
    """Return the carry of a vector; other leaves than floats come from `like`."""
    leaves, structure = jax.tree.flatten(like)
    batch, start = vector.ndim - 1, 0
    for n, leaf in enumerate(leaves):
        if _real(leaf):
            size = math.prod(leaf.shape[batch:])
            part = lax.slice_in_dim(vector, start, start + size, axis=-1)
            leaves[n], start = part.reshape(leaf.shape), start + size
    return jax.tree.unflatten(structure, leaves)


def _real(part: jax.Array) -> bool:
    return bool(jnp.issubdtype(part.dtype, jnp.floating))
