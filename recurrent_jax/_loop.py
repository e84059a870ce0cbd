# SPDX-License-Identifier: Apache-2.0
"""The loop that strategies run, with skipped steps, resets and blocks of time."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from recurrent_jax._cell import Cell


class Flags(NamedTuple):
    """Which steps count and which start afresh, `(time, *batch)`, or None."""

    valid: jax.Array | None
    reset: jax.Array | None


class Loop(NamedTuple):
    """What `unroll` hands to a strategy, time first."""

    cell: Cell
    params: Any
    xs: Any
    flags: Flags
    fresh: Any  # the carry that a reset starts from
    reverse: bool
    batch_shape: tuple[int, ...]

    @property
    def time(self) -> int:
        """The number of steps."""
        return int(jax.tree.leaves(self.xs)[0].shape[0])

    def enter(self, carry: Any, flags: Flags) -> Any:
        """Return the carry that a step works on."""
        return carry if flags.reset is None else select(flags.reset, self.fresh, carry)

    def leave(self, before: Any, after: Any, y: Any, flags: Flags) -> tuple[Any, Any]:
        """Return carry and output: as they were, and zero, if the step is skipped."""
        if flags.valid is None:
            return after, y
        return select(flags.valid, after, before), select(flags.valid, y, zeros(y))


class Static(NamedTuple):
    """What of a loop is not arrays, and hashes."""

    cell: Cell
    reverse: bool
    batch_shape: tuple[int, ...]


class Arrays(NamedTuple):
    """What of a loop is arrays."""

    params: Any
    xs: Any
    flags: Flags
    fresh: Any


def forward(
    loop: Loop, carry: Any, leaving: Callable[[Any], Any] = lambda carry: carry
) -> tuple[Any, Any, Any]:
    """Return final carry, outputs, and the carries that the steps worked on."""

    def body(carry: Any, now: Any) -> tuple[Any, Any]:
        z, flags = now
        before = loop.enter(carry, flags)
        after, y = loop.cell.recur(loop.params, before, z)
        after, y = loop.leave(before, after, y, flags)
        return leaving(after), (y, before)

    zs = loop.cell.project(loop.params, loop.xs)
    inputs = (zs, loop.flags)
    final, (ys, befores) = lax.scan(body, carry, inputs, reverse=loop.reverse)
    return final, ys, befores


def cached_steps(loop: Loop, target: int = 2_500_000) -> int:
    """Return a block size for which the projected input has about `target` bytes."""
    zs = jax.eval_shape(loop.cell.project, loop.params, loop.xs)
    total = sum(z.size * z.dtype.itemsize for z in jax.tree.leaves(zs))
    return even(loop.time, math.ceil(loop.time / max(1, round(total / target))))


def even(time: int, size: int) -> int:
    """Return a block size near `size` that divides `time`, if one is half to twice it.

    A shorter block at the end would be compiled apart and copy the sequence.
    """
    near = range(max(1, size // 2), min(2 * size, time) + 1)
    return min(
        (n for n in near if time % n == 0), key=lambda n: abs(n - size), default=size
    )


def in_blocks(run: Any, loop: Loop, carry: Any, size: int) -> tuple[Any, Any]:
    """Run block after block; a shorter one, if any, stands at the end of time."""
    if loop.time <= size:
        return run(loop, carry)
    count, rest = divmod(loop.time, size)
    full = count * size

    def one(carry: Any, timed: Any) -> tuple[Any, Any]:
        xs, flags = timed
        return run(loop._replace(xs=xs, flags=flags), carry)

    timed = (loop.xs, loop.flags)
    blocks = jax.tree.map(lambda a: a[:full].reshape(count, size, *a.shape[1:]), timed)
    remainder = jax.tree.map(lambda a: a[full:], timed)
    late: Any = None
    if rest and loop.reverse:
        carry, late = one(carry, remainder)
    carry, ys = lax.scan(one, carry, blocks, reverse=loop.reverse)
    if rest and not loop.reverse:
        carry, late = one(carry, remainder)
    ys = jax.tree.map(lambda y: y.reshape(full, *y.shape[2:]), ys)
    if rest:
        ys = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), ys, late)
    return carry, ys


def part(loop: Loop) -> tuple[Static, Arrays]:
    """Return what of a loop is static and what is arrays."""
    static = Static(loop.cell, loop.reverse, loop.batch_shape)
    return static, Arrays(loop.params, loop.xs, loop.flags, loop.fresh)


def join(static: Static, arrays: Arrays) -> Loop:
    """Return the loop of both parts."""
    return Loop(
        static.cell, *arrays, reverse=static.reverse, batch_shape=static.batch_shape
    )


def select(flags: jax.Array, yes: Any, no: Any) -> Any:
    """Return `yes` where `flags`, else `no`; a select, so that NaN cannot leak."""
    return jax.tree.map(lambda a, b: jnp.where(trail(flags, a), a, b), yes, no)


def trail(flags: jax.Array, like: jax.Array) -> jax.Array:
    """Return `flags` with trailing axes of size one, as many as `like` has axes."""
    return flags.reshape(flags.shape + (1,) * (like.ndim - flags.ndim))


def zeros(tree: Any) -> Any:
    """Return zeros for every array but PRNG keys, which have none."""

    def one(x: jax.Array) -> jax.Array:
        is_key = jnp.issubdtype(x.dtype, jax.dtypes.prng_key)
        return x if is_key else jnp.zeros_like(x)

    return jax.tree.map(one, tree)


def valid_steps(time: int, lengths: Any, mask: Any) -> Any:
    """Return which steps count, `(time, *batch)`, or None if all do."""
    if lengths is None:
        return mask
    lengths = jnp.asarray(lengths).astype(int)
    step = lax.expand_dims(jnp.arange(time), range(1, 1 + lengths.ndim))
    within = step < lengths[None]
    return within if mask is None else within & mask


def vary_alike(tree: Any, others: Any) -> Any:
    """Mark `tree` as varying over the mesh axes of `others`, inside `shard_map`."""

    def varying(x: jax.Array) -> frozenset[str]:
        return getattr(jax.typeof(x).manual_axis_type, "varying", frozenset())

    axes = frozenset().union(*map(varying, jax.tree.leaves((tree, others))))
    if not axes:
        return tree
    return jax.tree.map(
        lambda x: lax.pcast(x, tuple(axes - varying(x)), to="varying"), tree
    )
