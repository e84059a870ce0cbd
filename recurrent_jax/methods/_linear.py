# SPDX-License-Identifier: Apache-2.0
"""What the methods for linear cells share."""

from typing import Any

import jax
import jax.numpy as jnp

from recurrent_jax._core.arrays import select, zeros
from recurrent_jax._loop.loop import Loop, run_steps
from recurrent_jax._loop.tuning import tuning
from recurrent_jax.scans import Across, Order, Steps, Tree, Walk


def reason(loop: Loop, instead: str = "rj.Sequential()") -> str | None:
    """Return why the steps of a loop cannot be computed at once, or None."""
    if loop.cell.linear:
        return None
    return (
        "its step is not linear in the carry, or a wrapper changes the step; "
        f"{instead} runs every cell"
    )


def element_of(loop: Loop) -> Any:
    """Return the shapes of the linear steps of a loop."""

    def make(params: Any, xs: Any) -> Any:
        return loop.cell.element(params, loop.cell.project(params, xs))  # type: ignore[attr-defined]

    return jax.eval_shape(make, loop.params, loop.xs)


def order_of(loop: Loop) -> Order:
    """Return the order of diagonal steps that is best where the arrays are."""
    return Walk() if tuning((loop.params, loop.xs)).walks else Tree()


def at_once(
    loop: Loop,
    carry: Any,
    order: Order,
    chunk: int | None,
    across: Across | None = None,
) -> tuple[Any, Any]:
    """Return the final carry and all outputs of a linear cell.

    With `across`, the loop has the steps of one device, and the carries are those of
    the whole sequence.
    """
    if loop.time == 0 or 0 in loop.batch_shape:
        return run_steps(loop, carry)[:2]

    def turn(tree: Any) -> Any:
        if not loop.reverse:
            return tree
        return jax.tree.map(lambda a: jnp.flip(a, 0), tree)

    zs = turn(loop.cell.project(loop.params, loop.xs))
    flags = turn(loop.flags)
    how = Steps(flags, loop.fresh, order, chunk, across)
    final, ys = loop.cell.steps(loop.params, carry, zs, how)  # type: ignore[attr-defined]
    if flags.valid is not None:
        ys = select(flags.valid, ys, zeros(ys))
    return final, turn(ys)
