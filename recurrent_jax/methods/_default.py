# SPDX-License-Identifier: Apache-2.0
"""The method that `unroll` chooses."""

from typing import Any

import jax

from recurrent_jax import kernels
from recurrent_jax._core.cell import Cell
from recurrent_jax._loop.loop import Backward, Method
from recurrent_jax._loop.tuning import tuning
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
        at_once = cell.chunked or not tuning().walks
        return Chunked() if at_once and not needs_steps else Sequential()
    if backward is None and _is_on_cpu() and kernels.chosen_by_default():
        if not isinstance(kernel_for(cell, (params, xs)), str) and _gains(cell, time):
            return Fused()
    return Sequential()


def _gains(cell: Any, time: int) -> bool:
    """Return whether a kernel was measured to be faster than a loop."""
    # What is exported with sizes that are symbols runs without a kernel anyway.
    is_long = isinstance(time, int) and time >= tuning().fused_steps
    return is_long and cell.hidden_size <= tuning().fused_units


def _is_on_cpu() -> bool:
    """Return whether JAX puts arrays on a CPU, unless it is told otherwise."""
    device = getattr(jax.config, "jax_default_device", None)
    return (getattr(device, "platform", device) or jax.default_backend()) == "cpu"
