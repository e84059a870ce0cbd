# SPDX-License-Identifier: Apache-2.0
"""Matrix states by chunks: products inside of each chunk, and a walk between them.

What happens inside of the chunks does not need the state, so it is computed for all
chunks at once. Each chunk is then one step of the state, and only these steps are taken
one after the other.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp

from recurrent_jax._core.arrays import select, zeros
from recurrent_jax._loop.loop import Flags
from recurrent_jax.scans._across import Across
from recurrent_jax.scans._diagonal import Order, Walk
from recurrent_jax.scans._sums import spans
from recurrent_jax.scans._walk import walk
from recurrent_jax.scans._wide import like, wide


def read_in_chunks(
    element: Any,
    query: Any,
    carry: Any,
    flags: Flags,
    fresh: Any,
    size: int,
    order: Order = Walk(),  # noqa: B008  (a frozen value)
    across: Across | None = None,
) -> tuple[Any, Any]:
    """Return the final carry, and what the queries read at each step.

    Args:
        element: the steps, with time as the first axis, such as `Outer`.
        query: the queries, `(time, *batch, heads, K)`.
        carry: the initial carry.
        flags: which steps are skipped, and which are reset.
        fresh: the carry that a reset restarts from.
        size: the number of steps in a chunk.
        order: the order in which the states between chunks are computed, if the step
            of a chunk is diagonal.
        across: the mesh axis that shares time, if any.

    Returns:
        `(carry, read)`: the final carry, in the dtype of the initial one, and what the
        queries read, `(time, *batch, heads, V)`, in the dtype of the queries.

    Example:
        >>> import jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> T, heads, K, V = 5, 2, 3, 4
        >>> steps = rj.scans.Outer(
        ...     jnp.zeros((T, heads)), jnp.ones((T, heads, K)), jnp.ones((T, heads, V)))
        >>> start = rj.scans.MatrixCarry(jnp.zeros((heads, K, V)))
        >>> carry, read = rj.scans.read_in_chunks(steps, jnp.ones((T, heads, K)), start,
        ...     rj.methods.Flags(None, None), start, size=2)
        >>> print(read[:, 0, 0], carry.S.shape)
        [ 3.  6.  9. 12. 15.] (2, 3, 4)
    """
    if flags.valid is not None:
        element = select(flags.valid, element, element.kept())
    time, start, dtype = query.shape[0], carry, query.dtype
    element, query, carry, fresh = wide((element, query, carry, fresh))
    size = min(size, time)
    lead = query.ndim - 2  # time and batch axes
    reset = flags.reset
    if more := -time % size:
        kept = jax.tree.map(lambda a: a[:more], (element.kept(), zeros((query, reset))))
        element, (query, reset) = jax.tree.map(
            lambda a, b: jnp.concatenate([a, b]), (element, (query, reset)), kept
        )

    def cut(a: jax.Array, axis: int) -> jax.Array:
        """Return `(chunks, ...)`, with the steps of a chunk as another axis."""
        return jnp.moveaxis(a.reshape(-1, size, *a.shape[1:]), 1, axis)

    def join(a: jax.Array) -> jax.Array:
        a = jnp.moveaxis(a, lead + 1, 1)
        return a.reshape(-1, *a.shape[2:])[:time].astype(dtype)

    bad = None
    if reset is not None:
        bad = cut(_not_finite(element, lead), lead)
        reset = cut(reset, lead)
    element, query = jax.tree.map(lambda a: cut(a, lead + 1), (element, query))
    walks = functools.partial(walk if across is None else across.walk, order)
    final, read = _chunks(element, query, carry, reset, fresh, bad, walks)
    return like(final, start), jax.tree.map(join, read)


def _chunks(
    element: Any,
    query: Any,
    carry: Any,
    reset: jax.Array | None,
    fresh: Any,
    bad: jax.Array | None,
    walks: Any,
) -> tuple[Any, Any]:
    """Return the final carry, and what is read, with the axes of chunks.

    A product over steps adds zero times what lies before a reset, and zero times NaN is
    NaN. So steps with such numbers are computed as zeros, and what they reach is set to
    NaN afterwards.
    """
    lead, size = query.ndim - 3, query.shape[-2]
    where = spans(reset, size, lead)
    if reset is None or bad is None:
        step, asked = element.chunk(query, where)
        starts, final = walks(step, carry, None, fresh)
        return final, asked.read(starts, fresh, None)

    element = select(bad[..., None, :], zeros(element), element)
    reached = jnp.any(where.together[..., 0, :, :] & bad[..., None, :], axis=-1)
    step, asked = element.chunk(query, where)
    step = step._replace(added=select(reached[..., -1], _nan(step.added), step.added))
    starts, final = walks(step, carry, jnp.any(reset, axis=-1), fresh)

    bad_start = _not_finite(starts, lead)
    starts = select(bad_start, zeros(starts), starts)
    read = asked.read(starts, fresh, where.restarted)
    spoilt = reached | (bad_start[..., None] & (jnp.cumsum(reset, axis=-1) == 0))
    return final, select(spoilt[..., None, :], _nan(read), read)


def _nan(tree: Any) -> Any:
    return jax.tree.map(lambda a: jnp.full_like(a, jnp.nan), tree)


def _not_finite(tree: Any, lead: int) -> jax.Array:
    """Return whether any number of a tree is not finite, by its leading axes."""
    parts = [
        jnp.any(~jnp.isfinite(a), axis=tuple(range(lead, a.ndim)))
        for a in jax.tree.leaves(tree)
    ]
    return jnp.any(jnp.stack(parts), axis=0)
