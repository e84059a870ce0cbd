# SPDX-License-Identifier: Apache-2.0
"""The states of all steps at once, by Newton's method."""

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from recurrent_jax._core.arrays import select
from recurrent_jax._core.cell import Cell
from recurrent_jax._core.mesh import shard_alike, vary_alike
from recurrent_jax._core.partition import Partition
from recurrent_jax._core.vectors import to_carry, to_vector
from recurrent_jax._loop.loop import Flags
from recurrent_jax.scans import Blocks, Diagonal, Order
from recurrent_jax.scans._wide import like, wide


class NewtonReport(NamedTuple):
    """What Newton's method did in one chunk of time.

    Attributes:
        iterations: how many times the steps were linearised.
        residuals: for each iteration the largest distance of a state from the step of
            the state before it, relative to one plus its size. NaN for iterations that
            were not needed.
        converged: for each sequence, whether the distance is within the tolerance.
    """

    iterations: jax.Array
    residuals: jax.Array
    converged: jax.Array


@dataclasses.dataclass(frozen=True)
class Settings:
    """All that is static: how to solve, and how to read the arrays.

    With `most` of 0 nothing is solved: the states are those of a loop over the steps.
    """

    cell: Cell
    batch_rank: int
    partition: Partition
    order: Order
    damping: float = 0.0
    tolerance: float | None = None
    most: int = 0
    otherwise: str = "loop"


class Sequence(NamedTuple):
    """The arrays of a solve. The floats may have tangents."""

    params: Any
    zs: Any  # (time, *batch, ...)
    flags: Flags
    carry: Any  # (*batch, ...)
    fresh: Any


def after_each(how: Settings, seq: Sequence, befores: jax.Array) -> jax.Array:
    """Return the state after each step, from the states before, `(time, *batch, S)`."""

    def one(before: jax.Array, z: Any, valid: Any) -> jax.Array:
        carry = to_carry(before, seq.carry)
        after = to_vector(
            how.cell.recur(seq.params, carry, z)[0], before.shape[: how.batch_rank]
        )
        return after if valid is None else select(valid, after, before)

    return jax.vmap(one)(befores, seq.zs, seq.flags.valid)


def before_each(how: Settings, seq: Sequence, states: jax.Array) -> jax.Array:
    """Return the state that each step reads, from the states after each step."""
    lead = states.shape[1 : 1 + how.batch_rank]
    start = to_vector(seq.carry, lead)
    befores = jnp.concatenate([start[None], states[:-1]])
    if seq.flags.reset is None:
        return befores
    return select(seq.flags.reset, to_vector(seq.fresh, lead)[None], befores)


def linearised(how: Settings, seq: Sequence, befores: jax.Array) -> tuple[Any, Any]:
    """Return the state after each step, and the blocks of the Jacobian of each step.

    If the groups of the partition do not read each other, one tangent gives a column of
    every block. Otherwise each number needs a tangent of its own.
    """
    partition = how.partition
    count = len(partition.index)
    after, push = jax.linearize(functools.partial(after_each, how, seq), befores)

    def along(parts: jax.Array) -> jax.Array:
        tangent = jnp.broadcast_to(partition.merge(parts), befores.shape)
        tangent = shard_alike(tangent, befores, slice(0, befores.ndim - 1))
        return partition.split(push(vary_alike(tangent, befores)))

    if partition.exact:
        one = jnp.eye(partition.size, dtype=befores.dtype)[:, None]
        columns = jnp.broadcast_to(one, (partition.size, count, partition.size))
        return after, jax.vmap(along, out_axes=-1)(columns)

    def of_group(group: jax.Array) -> jax.Array:
        mine = (jnp.arange(count) == group).astype(befores.dtype)
        columns = jnp.eye(partition.size, dtype=befores.dtype)
        columns = mine[None, :, None] * columns[:, None, :]
        pushed = jax.vmap(along, out_axes=-1)(columns)
        return lax.dynamic_index_in_dim(pushed, group, axis=-3, keepdims=False)

    blocks = lax.map(of_group, jnp.arange(count))
    return after, jnp.moveaxis(blocks, 0, -3)


def scan_states(
    how: Settings, blocks: jax.Array, added: Any, carry: Any, reset: Any, fresh: Any
) -> jax.Array:
    """Return the states of the linear recurrence with these blocks, as vectors."""
    partition = how.partition
    added, carry, fresh = map(partition.split, (added, carry, fresh))
    if partition.size == 1:
        element: Any = Diagonal(blocks[..., 0], added)
    else:
        element = Blocks(blocks, added)
    dtype = added.dtype
    element, carry, fresh = wide((element, carry, fresh))
    states = how.order.states(element, carry, Flags(None, reset), fresh)
    return partition.merge(like(states, jax.ShapeDtypeStruct((), dtype)))


def solve(how: Settings, seq: Sequence) -> tuple[jax.Array, NewtonReport]:
    """Return the state after each step as Newton's method finds it, and its report."""
    time = jax.tree.leaves(seq.zs)[0].shape[0]
    lead = jax.tree.leaves(seq.carry)[0].shape[: how.batch_rank]
    start = to_vector(seq.carry, lead)
    zero = jnp.zeros_like(start)
    guess = jnp.broadcast_to(start, (time, *start.shape))
    allowed = how.tolerance or float(jnp.finfo(start.dtype).eps) ** 0.75

    def improve(now: Any) -> Any:
        count, states, _, history = now
        after, blocks = linearised(how, seq, before_each(how, seq, states))
        blocks = (1 - how.damping) * blocks
        if seq.flags.valid is not None:
            keep = Blocks(blocks, how.partition.split(states)).kept().decay
            blocks = select(seq.flags.valid, blocks, keep)
        gap = after - states
        moved = states + scan_states(how, blocks, gap, zero, seq.flags.reset, zero)
        # A step that overshoots beyond all numbers is replaced by that of the cell.
        moved = jnp.where(jnp.isfinite(moved), moved, after)
        worst = _worst(gap, after, states)
        history = history.at[count].set(jnp.max(worst, initial=0).astype(history.dtype))
        return count + 1, moved, worst, history

    def unfinished(now: Any) -> jax.Array:
        count, _, worst, _ = now
        return (count < how.most) & ~jnp.all(worst <= allowed)

    begin = (
        jnp.zeros((), int),
        guess,
        jnp.full_like(jnp.sum(start, -1), jnp.inf),  # sharded alike
        jnp.full(how.most, jnp.nan, start.dtype),
    )
    begin = vary_alike(begin, seq)
    count, states, worst, history = lax.while_loop(unfinished, improve, begin)
    # A NaN that stays one is settled, so that the others go on; it has not converged.
    found = jnp.all(~jnp.isnan(states), axis=(0, -1)) & (worst <= allowed)
    return states, NewtonReport(count, history, found)


def _worst(gap: jax.Array, after: jax.Array, states: jax.Array) -> jax.Array:
    """Return the largest relative gap of each sequence; NaN where it should is none."""
    alike = (after == states) | (jnp.isnan(after) & jnp.isnan(states))
    relative = jnp.where(alike, 0, jnp.abs(gap) / (1 + jnp.abs(states)))
    relative = jnp.where(jnp.isnan(relative), jnp.inf, relative)
    return jnp.max(relative, axis=(0, -1))
