# SPDX-License-Identifier: Apache-2.0
"""The trajectory of a cell along a sequence."""

from typing import Any, NamedTuple

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
