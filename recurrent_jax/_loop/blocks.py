# SPDX-License-Identifier: Apache-2.0
"""Cut time into blocks, and loop over the blocks."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from recurrent_jax._core.mesh import explicit_mesh
from recurrent_jax._loop.loop import Loop
from recurrent_jax._loop.tuning import tuning

# The steps of a block for a batch of unknown size.
_UNKNOWN = 32


def cached_steps(loop: Loop, states: Any = ()) -> int:
    """Return a block size for which the projected input fits into the cache.

    So do `states`, the shapes of what is computed for all steps of a block.
    """
    zs = jax.eval_shape(loop.cell.project, loop.params, loop.xs)
    total = max(
        sum(a.size * a.dtype.itemsize for a in jax.tree.leaves(tree))
        for tree in (zs, states)
    )
    if not isinstance(total, int):  # a symbol, for `jax.export`
        return even(loop.time, min(loop.time, _UNKNOWN))
    blocks = max(1, round(total / tuning((loop.params, loop.xs)).block_bytes))
    return even(loop.time, math.ceil(loop.time / blocks))


def even(time: int, size: int) -> int:
    """Return the block size nearest to `size` that divides `time`.

    It is between half and twice `size`. If there is no such block size, return `size`.
    A shorter block at the end would be compiled separately and would copy the sequence.
    """
    near = range(max(1, size // 2), min(2 * size, time) + 1)
    return min(
        (n for n in near if time % n == 0), key=lambda n: abs(n - size), default=size
    )


class TimeBlocks(NamedTuple):
    """A tree cut along time: stacked blocks of one size, and a shorter last block."""

    full: Any  # None if there are none
    rest: Any  # None if nothing remains

    def join(self) -> Any:
        """Return the tree joined along time."""
        if self.full is None:
            return self.rest
        whole = jax.tree.map(
            lambda a: a.reshape(a.shape[0] * a.shape[1], *a.shape[2:]), self.full
        )
        if self.rest is None:
            return whole
        return jax.tree.map(lambda a, b: jnp.concatenate([a, b]), whole, self.rest)


def cut_time(tree: Any, time: int, size: int) -> TimeBlocks:
    """Cut arrays, which have time as the first axis, into blocks of `size` steps."""
    if time <= size:
        return TimeBlocks(None, tree)
    count, rest = divmod(time, size)
    full = jax.tree.map(
        lambda a: a[: count * size].reshape(count, size, *a.shape[1:]), tree
    )
    remainder = jax.tree.map(lambda a: a[count * size :], tree) if rest else None
    return TimeBlocks(full, remainder)


class Uncut(NamedTuple):
    """A block that is sliced from the sequence only when it is run."""

    start: jax.Array


def cut_inputs(
    xs: Any, time: int, size: int, axis: int
) -> tuple[TimeBlocks, Callable[[Any], Any]]:
    """Return the inputs in blocks, and the map from a block to its arrays.

    `xs` has time as the first axis. If the user passed another time `axis`, the inputs
    are moved back to it here, since XLA cancels a pair of transpositions. Then only one
    block at a time is transposed, never the whole sequence.
    """
    blocks = cut_time(xs, time, size)
    # JAX 0.12 cannot transpose a slice of an array sharded over an explicit mesh.
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

    return TimeBlocks(Uncut(jnp.arange(time // size) * size), blocks.rest), cut_out


def beside(*blocks: TimeBlocks) -> TimeBlocks:
    """Zip trees that were cut alike: return blocks of tuples."""
    fulls, rests = zip(*blocks, strict=True)
    return TimeBlocks(
        None if fulls[0] is None else fulls, None if rests[0] is None else rests
    )


def over_blocks(
    run: Callable[[Any, Any], Any], carry: Any, blocks: TimeBlocks, reverse: bool
) -> tuple[Any, TimeBlocks]:
    """Scan over blocks. The shorter one is last in time, in either direction."""
    full = rest = None
    if reverse and blocks.rest is not None:
        carry, rest = run(carry, blocks.rest)
    if blocks.full is not None:
        carry, full = lax.scan(run, carry, blocks.full, reverse=reverse)
    if not reverse and blocks.rest is not None:
        carry, rest = run(carry, blocks.rest)
    return carry, TimeBlocks(full, rest)


def in_blocks(run: Any, loop: Loop, carry: Any, size: int) -> tuple[Any, Any]:
    """Call `run(block, carry)` on one block of `size` steps after the other.

    Args:
        run: a function that returns the final carry and all outputs of a `Loop` over
            one block.
        loop: the loop to cut into blocks.
        carry: the initial carry.
        size: the number of steps in a block. The last block is shorter if `size` does
            not divide the number of steps.

    Returns:
        The final carry, and all outputs with time as the first axis.

    Example:
        >>> import dataclasses
        >>> import jax, jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> @dataclasses.dataclass(frozen=True)
        ... class InTwos:
        ...     def run(self, loop, carry):
        ...         return rj.backward.in_blocks(loop.method.run, loop, carry, size=2)
        >>> cell = rj.Elman(3)
        >>> params = cell.init(jax.random.key(0), in_features=2)
        >>> _, ys = rj.unroll(cell, params, jnp.ones((7, 2)), backward=InTwos())
        >>> ys.shape
        (7, 3)
    """

    def one(carry: Any, timed: Any) -> tuple[Any, Any]:
        xs, flags = timed
        return run(loop._replace(xs=xs, flags=flags, time_axis=0), carry)

    blocks = cut_time((loop.xs, loop.flags), loop.time, size)
    final, ys = over_blocks(one, carry, blocks, loop.reverse)
    return final, ys.join()
