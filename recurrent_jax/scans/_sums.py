# SPDX-License-Identifier: Apache-2.0
"""Sums of log-decays between the steps of a chunk, and products that they weight.

The letters are those of linear attention. The log-decay g is at most zero. It has one
number for each head, or one for each of the K channels of a head. The axes are
`(chunks, *batch, heads, t, ...)`.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from recurrent_jax._core.arrays import trail


class Spans(NamedTuple):
    """Where the resets of chunks are.

    Attributes:
        together: `(..., heads, t, j)`: whether j is t or earlier, and no step after j
            up to t is reset.
        first: `(..., heads, t)`: whether step t is reset, or None if no step is.
        restarted: `(..., heads, t)`: whether step t or an earlier one of the chunk is
            reset, or None if no step is.
    """

    together: jax.Array
    first: jax.Array | None
    restarted: jax.Array | None


class Sums(NamedTuple):
    """Sums of log-decays, for each channel if g has any.

    Attributes:
        start: `(..., heads, t)`: the sum from the start of the chunk, or from the last
            reset.
        between: `(..., heads, t, j)`: the sum over the steps after j. It is minus
            infinity where step j does not reach step t.
    """

    start: jax.Array
    between: jax.Array


def spans(reset: jax.Array | None, size: int, lead: int) -> Spans:
    """Return the spans of chunks, for resets `(chunks, *batch, t)`, or for none.

    Args:
        reset: which steps are reset first, or None.
        size: the number of steps in a chunk.
        lead: the number of axes before the heads.
    """
    lower = jnp.tril(jnp.ones((size, size), bool))
    lower = lower.reshape((1,) * lead + lower.shape)
    if reset is None:
        return Spans(lower[..., None, :, :], None, None)
    count = jnp.cumsum(reset, axis=-1)
    together = (count[..., :, None] == count[..., None, :]) & lower
    return Spans(
        together[..., None, :, :], reset[..., None, :], (count > 0)[..., None, :]
    )


def sums(spans: Spans, g: jax.Array) -> tuple[Sums, Sums]:
    """Return the sums up to and with each step, and those without the step itself.

    They are sums of only the numbers between, not differences of sums from the start.
    Such a difference loses digits.
    """
    together, first, _ = spans
    t = together.ndim - 2  # the axes are (..., t, j, ...)
    lower = jnp.tril(jnp.ones(together.shape[-2:], bool), -1)
    rows = jnp.expand_dims(g, t + 1)
    below = trail(lower.reshape((1,) * t + lower.shape), rows)
    total = jnp.cumsum(jnp.where(below, rows, 0), axis=t)
    columns = jnp.expand_dims(g, t)
    start = jnp.sum(jnp.where(trail(together, columns), columns, 0), axis=t + 1)
    at = Sums(start, jnp.where(trail(together, total), total, -jnp.inf))

    strictly = together & lower.reshape((1,) * t + lower.shape)
    total = _later(total, t)
    start = _later(start, t)
    if first is not None:
        start = jnp.where(trail(first, start), 0, start)
    between = jnp.where(trail(strictly, total), total, -jnp.inf)
    return at, Sums(start, between)


def _later(a: jax.Array, axis: int) -> jax.Array:
    """Return an array moved one step later, with zero at the first step."""
    ends = [(1, 0) if i == axis else (0, 0) for i in range(a.ndim)]
    return jax.lax.slice_in_dim(jnp.pad(a, ends), 0, a.shape[axis], axis=axis)


def weights(query: jax.Array, decay: Sums, key: jax.Array) -> jax.Array:
    r"""Return $\sum_k q_{tk} e^{g_{tjk}} k_{jk}$, the weight of step j at step t."""
    if decay.between.ndim == query.ndim:
        return jnp.einsum("...tk,...jk->...tj", query, key) * jnp.exp(decay.between)
    decays = jnp.exp(decay.between)
    return jnp.einsum("...tk,...tjk,...jk->...tj", query, decays, key)


def since_start(query: jax.Array, decay: Sums) -> jax.Array:
    """Return queries as they read the state that their steps started from."""
    return query * by_channel(jnp.exp(decay.start), query)


def left(decay: Sums, key: jax.Array) -> jax.Array:
    """Return what is left of each channel after a chunk, `(..., heads, K or 1)`."""
    last = jax.lax.index_in_dim(decay.start, -1, key.ndim - 2, keepdims=False)
    return by_channel(jnp.exp(last), key[..., 0, :])


def lasting(decay: Sums, key: jax.Array) -> jax.Array:
    """Return keys times what is left of them at the end of the chunk."""
    last = jax.lax.index_in_dim(decay.between, -1, key.ndim - 2, keepdims=False)
    return by_channel(jnp.exp(last), key) * key


def written(key: jax.Array, value: jax.Array) -> jax.Array:
    r"""Return $\sum_j k_j v_j^\top$ over the steps of a chunk."""
    return jax.lax.optimization_barrier(jnp.swapaxes(key, -1, -2)) @ value


def by_channel(g: jax.Array, key: jax.Array) -> jax.Array:
    """Return a number for each head with the rank of one for each channel."""
    return g.reshape(g.shape + (1,) * (key.ndim - g.ndim))


def chunk_size(g: jax.Array, key: jax.Array) -> int:
    """Return a good size of a chunk. With channels, its memory has one more axis."""
    return 8 if g.ndim == key.ndim else 16
