# SPDX-License-Identifier: Apache-2.0
"""The equation of all steps of a loop, and its solution put back into a loop."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from recurrent_jax._core.arrays import is_float, select, zeros
from recurrent_jax._core.partition import Partition, exact_partition, row, whole
from recurrent_jax._core.vectors import to_carry
from recurrent_jax._loop.loop import Loop
from recurrent_jax._loop.tuning import tuning
from recurrent_jax._newton.solve import Sequence, Settings, before_each
from recurrent_jax._newton.trajectory import apart, trajectory
from recurrent_jax.scans import Order, Tree, Walk

# The most numbers that a block of the Jacobian is computed for, if it is not asked for.
# A block has their square.
MOST = 32


def not_posed(loop: Loop, what: str, instead: str) -> str | None:
    """Return None, or why the steps of a loop are no equation of real numbers.

    Args:
        loop: the loop.
        what: what needs the equation, for the message.
        instead: what works in its place.
    """
    leaves = jax.tree.leaves_with_path(loop.fresh)
    if not leaves:
        return f"it has no state to solve for; {instead} runs every cell"
    for path, leaf in leaves:
        if not is_float(leaf):
            name = jax.tree_util.keystr(path)
            return (
                f"its carry has {leaf.dtype} numbers in {name}, and {what} needs "
                f"real floats; {instead} runs every cell"
            )
    arrays = jax.tree.leaves((loop.params, loop.xs))
    if not (loop.cell.rowwise or all(map(is_float, arrays))):
        return (
            "it reads integers or bools and does not declare rowwise = True, so "
            f"its rows may depend on each other; {instead} runs every cell"
        )
    return None


def is_empty(loop: Loop) -> bool:
    """Return whether there are no steps or no sequences."""
    return loop.time == 0 or 0 in loop.batch_shape


def posed(
    loop: Loop, carry: Any, partition: Partition, **how: Any
) -> tuple[Settings, Sequence]:
    """Return the equation of all steps: what is static, and the arrays.

    Args:
        loop: the loop.
        carry: the initial carry.
        partition: the blocks of the Jacobian of a step.
        how: the other fields of `Settings`, which say how it is solved.
    """
    order: Order = Walk() if tuning((loop.params, loop.xs)).walks else Tree()
    settings = Settings(
        cell=loop.cell,
        batch_rank=len(loop.batch_shape),
        partition=partition,
        order=order,
        **how,
    )
    zs = loop.cell.project(loop.params, loop.xs)
    flags = loop.flags
    if flags.valid is not None and flags.reset is not None:
        flags = flags._replace(reset=flags.reset & flags.valid)
    zs, flags = turn(loop, (zs, flags))
    return settings, Sequence(loop.params, zs, flags, carry, loop.fresh)


def states_of(how: Settings, seq: Sequence) -> jax.Array:
    """Return the state after each step, with the derivative of the solution."""
    arrays, form = apart(seq)
    return trajectory(how, form, arrays)


def outputs_of(loop: Loop, how: Settings, seq: Sequence, states: Any) -> Any:
    """Return the final carry and all outputs for the states of an equation."""

    def emit(before: jax.Array, z: Any) -> Any:
        return loop.cell.recur(seq.params, to_carry(before, seq.carry), z)[1]

    ys = jax.vmap(emit)(before_each(how, seq, states), seq.zs)
    if seq.flags.valid is not None:
        ys = select(seq.flags.valid, ys, zeros(ys))
    return to_carry(states[-1], seq.carry), turn(loop, ys)


def exact_groups(loop: Loop) -> Partition:
    """Return the groups that do not read each other, or all numbers as one group."""
    carry = row(loop.fresh, len(loop.batch_shape))
    zs = jax.eval_shape(loop.cell.project, loop.params, loop.xs)
    try:
        z = row(zs, 1 + len(loop.batch_shape))
        return exact_partition(_Recur(loop.cell), carry, loop.params, z)
    except Exception:  # parameters with batch axes, such as a memory, have no one row
        return whole(carry)


def turn(loop: Loop, tree: Any) -> Any:
    """Return arrays over time in the order in which the steps are taken, or back."""
    if not loop.reverse:
        return tree
    return jax.tree.map(lambda a: jnp.flip(a, 0), tree)


@dataclasses.dataclass(frozen=True)
class _Recur:
    """A step as a function of the carry first, that compares by value."""

    cell: Any

    def __call__(self, carry: Any, params: Any, z: Any) -> Any:
        return self.cell.recur(params, carry, z)[0]
