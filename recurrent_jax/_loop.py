# SPDX-License-Identifier: Apache-2.0
"""The loop that strategies run, with skipped steps, resets and blocks of time."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import NamedSharding, PartitionSpec

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
    time_axis: int = 0  # where the user had time, if that is known

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
    time_axis: int


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


class Blocks(NamedTuple):
    """Something cut along time: blocks of one size, stacked, and a shorter last one."""

    full: Any  # None if there are none
    rest: Any  # None if nothing remains

    def join(self) -> Any:
        """Return the whole again."""
        if self.full is None:
            return self.rest
        whole = jax.tree.map(
            lambda a: a.reshape(a.shape[0] * a.shape[1], *a.shape[2:]), self.full
        )
        if self.rest is None:
            return whole
        return jax.tree.map(lambda a, b: jnp.concatenate([a, b]), whole, self.rest)


def cut_time(tree: Any, time: int, size: int) -> Blocks:
    """Return arrays, time first, in blocks of `size` steps."""
    if time <= size:
        return Blocks(None, tree)
    count, rest = divmod(time, size)
    full = jax.tree.map(
        lambda a: a[: count * size].reshape(count, size, *a.shape[1:]), tree
    )
    remainder = jax.tree.map(lambda a: a[count * size :], tree) if rest else None
    return Blocks(full, remainder)


class Uncut(NamedTuple):
    """A block that is cut out of the whole only when it is run."""

    start: jax.Array


def cut_inputs(
    xs: Any, time: int, size: int, axis: int
) -> tuple[Blocks, Callable[[Any], Any]]:
    """Return inputs, time first, in blocks, and the map from a block to its arrays.

    If time was another `axis` for the user, it is one here too, since XLA undoes a pair
    of transpositions. Then a block is transposed at a time, never the whole sequence.
    """
    blocks = cut_time(xs, time, size)
    # JAX 0.12 does not transpose a slice of what an explicit mesh shares out.
    explicit = any(map(explicit_mesh, jax.tree.leaves(xs)))
    if axis == 0 or blocks.full is None or explicit:
        return blocks, lambda block: block
    whole = jax.tree.map(lambda a: jnp.moveaxis(a, 0, axis), xs)

    def cut_out(block: Any) -> Any:
        if not isinstance(block, Uncut):
            return block

        def one(a: jax.Array) -> jax.Array:
            a = lax.dynamic_slice_in_dim(a, block.start, size, axis)
            return jnp.moveaxis(a, axis, 0)

        return jax.tree.map(one, whole)

    return Blocks(Uncut(jnp.arange(time // size) * size), blocks.rest), cut_out


def beside(*blocks: Blocks) -> Blocks:
    """Return blocks of tuples from things cut alike."""
    fulls, rests = zip(*blocks, strict=True)
    return Blocks(
        None if fulls[0] is None else fulls, None if rests[0] is None else rests
    )


def over_blocks(
    run: Callable[[Any, Any], Any], carry: Any, blocks: Blocks, reverse: bool
) -> tuple[Any, Blocks]:
    """Scan blocks; the shorter one stands at the end of time in either direction."""
    full = rest = None
    if reverse and blocks.rest is not None:
        carry, rest = run(carry, blocks.rest)
    if blocks.full is not None:
        carry, full = lax.scan(run, carry, blocks.full, reverse=reverse)
    if not reverse and blocks.rest is not None:
        carry, rest = run(carry, blocks.rest)
    return carry, Blocks(full, rest)


def in_blocks(run: Any, loop: Loop, carry: Any, size: int) -> tuple[Any, Any]:
    """Return what `run(block of the loop, carry)` gives, block after block."""

    def one(carry: Any, timed: Any) -> tuple[Any, Any]:
        xs, flags = timed
        return run(loop._replace(xs=xs, flags=flags, time_axis=0), carry)

    blocks = cut_time((loop.xs, loop.flags), loop.time, size)
    final, ys = over_blocks(one, carry, blocks, loop.reverse)
    return final, ys.join()


def part(loop: Loop) -> tuple[Static, Arrays]:
    """Return what of a loop is static and what is arrays."""
    static = Static(loop.cell, loop.reverse, loop.batch_shape, loop.time_axis)
    return static, Arrays(loop.params, loop.xs, loop.flags, loop.fresh)


def join(static: Static, arrays: Arrays) -> Loop:
    """Return the loop of both parts."""
    return Loop(static.cell, *arrays, *static[1:])


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


def explicit_mesh(a: jax.Array) -> Any:
    """Return the mesh with explicit axes that an array is shared out over, or None."""
    mesh = jax.typeof(a).sharding.mesh
    return mesh if mesh.explicit_axes else None


def shard_alike(tree: Any, xs: Any, batch_rank: int) -> Any:
    """Shard batch axes as those of `xs`, time first, where a mesh has explicit axes.

    There the type of an array says how it is sharded, and a loop must return what it
    took. Elsewhere the compiler finds it out.
    """
    first = jax.tree.leaves(xs)[0]
    mesh = explicit_mesh(first)
    if mesh is None:
        return tree
    batch = jax.typeof(first).sharding.spec[1 : 1 + batch_rank]

    def one(a: jax.Array) -> jax.Array:
        rest = jax.typeof(a).sharding.spec[batch_rank:]
        return jax.sharding.reshard(
            a, NamedSharding(mesh, PartitionSpec(*batch, *rest))
        )

    return jax.tree.map(lambda a: one(a) if a.ndim >= batch_rank else a, tree)


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
