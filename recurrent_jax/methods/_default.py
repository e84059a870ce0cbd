# SPDX-License-Identifier: Apache-2.0
"""The method that `unroll` chooses."""

import math
from typing import Any

import jax

from recurrent_jax import kernels
from recurrent_jax._core.cell import Cell
from recurrent_jax._core.mesh import are_on_cpu
from recurrent_jax._loop.loop import Backward, Method
from recurrent_jax._loop.tuning import Tuning, tuning
from recurrent_jax.methods._chunked import Chunked
from recurrent_jax.methods._fused import Fused, kernel_for
from recurrent_jax.methods._sequential import Sequential


def default_method(
    cell: Cell[Any, Any, Any],
    params: Any,
    xs: Any,
    time: int,
    backward: Backward | None,
) -> Method:
    """Return the method for a cell, its arrays and the strategy that the user chose."""
    needs_steps = backward is not None and getattr(backward, "steps", True)
    if cell.linear:
        at_once = cell.chunked or not tuning((params, xs)).walks
        return Chunked() if at_once and not needs_steps else Sequential()
    if backward is None and kernels.chosen_by_default() and are_on_cpu((params, xs)):
        refused = isinstance(kernel_for(cell, (params, xs)), str)
        if not refused and _gains(cell, params, xs, time, tuning((params, xs))):
            return Fused()
    return Sequential()


def _gains(cell: Any, params: Any, xs: Any, time: int, tuned: Tuning) -> bool:
    """Return whether a kernel was measured to be faster than a loop."""
    rows = math.prod(xs.shape[:-1])
    if not isinstance(rows, int):
        return False  # an exported program with symbols as sizes has no kernels
    weights = sum(a.size for a in jax.tree.leaves(params))
    is_long = time >= tuned.fused_steps and rows * tuned.fused_weights >= weights
    return is_long and cell.hidden_size <= tuned.fused_units
