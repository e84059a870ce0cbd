# SPDX-License-Identifier: Apache-2.0
"""The method and the strategy that `unroll` chooses."""

import functools
import math
from typing import Any

import jax

from recurrent_jax import _checks, kernels
from recurrent_jax._core.cell import Cell
from recurrent_jax._core.mesh import are_on_cpu
from recurrent_jax._loop.loop import Backward, Method
from recurrent_jax._loop.tuning import Tuning, tuning
from recurrent_jax.backward import Checkpointed
from recurrent_jax.methods._chunked import Chunked
from recurrent_jax.methods._fused import Fused, kernel_for
from recurrent_jax.methods._sequential import Sequential


def chosen(
    cell: Cell[Any, Any, Any],
    params: Any,
    xs: Any,
    time: int,
    method: Method | None = None,
    backward: Backward | None = None,
    carry: Any = None,
) -> tuple[Method, Backward]:
    """Return the method and the strategy. The user chose none, one or both of them.

    Without a carry, the cell is asked for one, and `params` are those of its `init`.
    """
    is_free = method is None and backward is None
    if method is None:
        method = default_method(cell, params, xs, time, backward)
    _checks.method("unroll", method)
    if is_free and cell.linear and method == Sequential():
        *lead, features = jax.tree.leaves(xs)[0].shape
        rows, most = math.prod(lead), tuning((params, xs)).remake_bytes
        if carry is None:
            one = _state_of(cell, *_checks.structs(params))
        else:
            batch = len(lead) - 1
            one = [
                jax.ShapeDtypeStruct(a.shape[batch:], a.dtype)
                for a in jax.tree.leaves(carry)
            ]
        state = _wide(cell, features, one)
        # A symbol, as in an exported program, is no int.
        if state and isinstance(rows, int) and rows * state >= most:
            backward = Checkpointed()
    backward = method.backward if backward is None else backward
    _checks.strategy("unroll", backward)
    return method, backward


@functools.lru_cache(maxsize=512)
def _state_of(cell: Cell[Any, Any, Any], tree: Any, leaves: Any) -> list[Any]:
    """Return the types of a cell's carry, without batch axes."""
    params = _checks.of_structs(tree, leaves)
    dtype = _checks.float_dtype(params, ())
    carry = jax.eval_shape(lambda p: cell.initial_carry((), dtype, p), params)
    return list(jax.tree.leaves(carry))


def _wide(cell: Cell[Any, Any, Any], features: Any, state: list[Any]) -> int:
    """Return the bytes of a state with many more numbers than an output, or zero.

    Many such states take longer to keep than to compute again.
    """
    if sum(a.size for a in state) <= 4 * cell.out_features(features):
        return 0
    return sum(a.size * a.dtype.itemsize for a in state)


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
