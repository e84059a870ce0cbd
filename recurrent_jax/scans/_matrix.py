# SPDX-License-Identifier: Apache-2.0
"""Steps of a state that is a matrix, and many of them as products of matrices.

The letters are those of linear attention. The state S, `(*batch, heads, K, V)`, maps a
key to a value. The log-decay g is at most zero. It has one number for each head, or one
for each of the K channels of a head.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.linalg import solve_triangular

from recurrent_jax._core.arrays import select, trail
from recurrent_jax._loop.blocks import cut_time, over_blocks
from recurrent_jax._loop.loop import Flags
from recurrent_jax.scans._diagonal import Diagonal
from recurrent_jax.scans._wide import like, wide


class MatrixCarry(NamedTuple):
    """The carry of a cell whose state is a matrix for each head."""

    S: jax.Array  # (*batch, heads, K, V)


class Outer(NamedTuple):
    r"""The step $S \leftarrow \mathrm{diag}(e^{g}) S + k v^\top$.

    Attributes:
        log_decay: g, `(*lead, heads)`, or one for each channel, `(*lead, heads, K)`.
        key: k, `(*lead, heads, K)`.
        value: v, `(*lead, heads, V)`.
    """

    log_decay: jax.Array
    key: jax.Array
    value: jax.Array

    def apply(self, carry: MatrixCarry) -> MatrixCarry:
        """Return the carry after the step."""
        return self.diagonal(carry).apply(carry)

    def diagonal(self, carry: MatrixCarry) -> Diagonal:
        """Return the step as a diagonal one, which takes the memory of a state."""
        g = _by_channel(self.log_decay, self.key)
        outer = self.key[..., :, None] * self.value[..., None, :]
        return Diagonal(jnp.exp(g)[..., None], type(carry)(outer))

    def look(self, query: jax.Array, carry: MatrixCarry) -> jax.Array:
        r"""Return $S^\top q$, the value that the state has for the query."""
        return jnp.einsum("...k,...kv->...v", query, carry.S)

    @property
    def chunk_size(self) -> int:
        """The number of steps in a chunk, if the user does not choose it."""
        return chunk_size(self.log_decay, self.key)

    def kept(self) -> "Outer":
        """Return the element of a step that changes nothing."""
        return jax.tree.map(jnp.zeros_like, self)

    def chunk(
        self, query: jax.Array, carry: MatrixCarry, spans: "Spans", fresh: MatrixCarry
    ) -> tuple[MatrixCarry, jax.Array]:
        """Return the carry after a chunk, and what the queries of its steps read."""
        g, k, v = self
        decay, _ = sums(spans, g)
        S = last_start(decay, carry.S, fresh.S) + written(decay, k, v)
        o = from_start(query, decay, carry.S, fresh.S)
        o = o + jnp.einsum("...tj,...jv->...tv", weights(query, decay, k), v)
        return type(carry)(S), o


class Delta(NamedTuple):
    r"""The step $S \leftarrow \mathrm{diag}(e^{g}) S + w (r^\top S) + k v^\top$.

    What the state holds for r is written back along w. With $r = -e^g k$ and
    $w = \beta k$, and $\beta v$ for v, it is the gated delta rule, which replaces the
    value that the state has for a key.

    Attributes:
        log_decay: g, `(*lead, heads)`, or one for each channel, `(*lead, heads, K)`.
        look_up: r, `(*lead, heads, K)`. It reads the state before its decay.
        write: w, `(*lead, heads, K)`.
        key: k, `(*lead, heads, K)`.
        value: v, `(*lead, heads, V)`.
    """

    log_decay: jax.Array
    look_up: jax.Array
    write: jax.Array
    key: jax.Array
    value: jax.Array

    def apply(self, carry: MatrixCarry) -> MatrixCarry:
        """Return the carry after the step."""
        S = carry.S
        found = jnp.einsum("...k,...kv->...v", self.look_up, S)
        S = jnp.exp(_by_channel(self.log_decay, self.key))[..., None] * S
        S = S + self.write[..., :, None] * found[..., None, :]
        return type(carry)(S + self.key[..., :, None] * self.value[..., None, :])

    def look(self, query: jax.Array, carry: MatrixCarry) -> jax.Array:
        r"""Return $S^\top q$, the value that the state has for the query."""
        return jnp.einsum("...k,...kv->...v", query, carry.S)

    @property
    def chunk_size(self) -> int:
        """The number of steps in a chunk, if the user does not choose it."""
        return chunk_size(self.log_decay, self.key)

    def kept(self) -> "Delta":
        """Return the element of a step that changes nothing."""
        return jax.tree.map(jnp.zeros_like, self)

    def chunk(
        self, query: jax.Array, carry: MatrixCarry, spans: "Spans", fresh: MatrixCarry
    ) -> tuple[MatrixCarry, jax.Array]:
        """Return the carry after a chunk, and what the queries of its steps read.

        What the steps find, R, obeys $R = L R + F$ with a strictly lower triangular L,
        since a step finds only what others wrote before. One triangular solve gives R.
        """
        g, r, w, k, v = self
        at, before = sums(spans, g)
        axis = r.ndim - 2

        # What the steps look up and what they are asked, in one product.
        def both(a: jax.Array, b: jax.Array) -> jax.Array:
            return jnp.concatenate([a, b], axis)

        decay = jax.tree.map(both, before, at)
        asked = both(r, query)
        start = from_start(asked, decay, carry.S, fresh.S)
        of_keys, of_writes = weights(asked, decay, k), weights(asked, decay, w)
        found, o = jnp.split(start, 2, axis)
        look_up, of_keys = jnp.split(of_keys, 2, axis)
        lower, of_writes = jnp.split(of_writes, 2, axis)

        one = jnp.eye(lower.shape[-1], dtype=lower.dtype)
        lower = jnp.broadcast_to(one, lower.shape) - lower
        found = solve_triangular(
            lower, found + look_up @ v, lower=True, unit_diagonal=True
        )
        o = o + of_keys @ v + of_writes @ found
        S = last_start(at, carry.S, fresh.S)
        S = S + written(at, k, v) + written(at, w, found)
        return type(carry)(S), o


class Spans(NamedTuple):
    """Where the resets of a chunk are.

    Attributes:
        together: `(*batch, heads, t, j)`: whether j is t or earlier, and no step after
            j up to t is reset.
        first: `(*batch, heads, t)`: whether step t is reset, or None if no step is.
    """

    together: jax.Array
    first: jax.Array | None


class Sums(NamedTuple):
    """Sums of log-decays, `(*batch, heads, t, ...)`, for each channel if g has any.

    Attributes:
        start: the sum from the start of the chunk, or from the last reset.
        between: the sum over the steps after j, `(*batch, heads, t, j, ...)`. It is
            minus infinity where step j does not reach step t.
        fresh: `(*batch, heads, t)`: whether the state comes from a reset, or None.
    """

    start: jax.Array
    between: jax.Array
    fresh: jax.Array | None


def sums(spans: Spans, g: jax.Array) -> tuple[Sums, Sums]:
    """Return the sums up to and with each step, and those without the step itself.

    They are sums of only the numbers between, not differences of sums from the start.
    Such a difference loses digits.
    """
    together, first = spans
    t = together.ndim - 2  # the axes are (..., t, j, ...)
    fresh = None if first is None else jnp.cumsum(first, axis=t) > 0
    lower = jnp.tril(jnp.ones(together.shape[-2:], bool), -1)
    rows = jnp.expand_dims(g, t + 1)
    below = trail(lower.reshape((1,) * t + lower.shape), rows)
    total = jnp.cumsum(jnp.where(below, rows, 0), axis=t)
    columns = jnp.expand_dims(g, t)
    start = jnp.sum(jnp.where(trail(together, columns), columns, 0), axis=t + 1)
    at = Sums(start, jnp.where(trail(together, total), total, -jnp.inf), fresh)

    strictly = together & lower.reshape((1,) * t + lower.shape)
    total = _later(total, t)
    start = _later(start, t)
    if first is not None:
        start = jnp.where(trail(first, start), 0, start)
    between = jnp.where(trail(strictly, total), total, -jnp.inf)
    return at, Sums(start, between, fresh)


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


def from_start(
    query: jax.Array, decay: Sums, start: jax.Array, fresh: jax.Array
) -> jax.Array:
    """Return what queries read of the state that the steps started from."""
    decayed = query * _by_channel(jnp.exp(decay.start), query)
    read = jnp.einsum("...tk,...kv->...tv", decayed, start)
    if decay.fresh is None:
        return read
    other = jnp.einsum("...tk,...kv->...tv", decayed, fresh)
    return jnp.where(decay.fresh[..., None], other, read)


def last_start(decay: Sums, start: jax.Array, fresh: jax.Array) -> jax.Array:
    """Return what is left of the first state after the chunk."""
    if decay.fresh is not None:
        start = jnp.where(decay.fresh[..., -1, None, None], fresh, start)
    axis = start.ndim - 2
    left = jnp.exp(jax.lax.index_in_dim(decay.start, -1, axis, keepdims=False))
    return left.reshape(left.shape + (1,) * (start.ndim - left.ndim)) * start


def written(decay: Sums, key: jax.Array, value: jax.Array) -> jax.Array:
    """Return what the steps of a chunk have written into the state at its end."""
    axis = key.ndim - 2
    left = jnp.exp(jax.lax.index_in_dim(decay.between, -1, axis, keepdims=False))
    return jnp.einsum("...jk,...jv->...kv", _by_channel(left, key) * key, value)


def chunk_size(g: jax.Array, key: jax.Array) -> int:
    """Return a good size of a chunk. With channels, its memory has one more axis."""
    return 8 if g.ndim == key.ndim else 16


def _by_channel(g: jax.Array, key: jax.Array) -> jax.Array:
    """Return a number for each head with the rank of one for each channel."""
    return g.reshape(g.shape + (1,) * (key.ndim - g.ndim))


def read_in_chunks(
    element: Any, query: Any, carry: Any, flags: Flags, fresh: Any, size: int
) -> tuple[Any, Any]:
    """Return the final carry, and what the queries read at each step.

    Args:
        element: the steps, with time as the first axis, such as `Outer`.
        query: the queries, `(time, *batch, heads, K)`.
        carry: the initial carry.
        flags: which steps are skipped, and which are reset.
        fresh: the carry that a reset restarts from.
        size: the number of steps in a chunk.
    """
    if flags.valid is not None:
        element = select(flags.valid, element, element.kept())
    time, start, dtype = query.shape[0], carry, query.dtype
    element, query, carry, fresh = wide((element, query, carry, fresh))

    def run(carry: Any, now: Any) -> tuple[Any, Any]:
        element, query, reset = now
        return _chunk(element, query, carry, reset, fresh)

    blocks = cut_time((element, query, flags.reset), time, size)
    final, read = over_blocks(run, carry, blocks, reverse=False)
    read = jax.tree.map(lambda a: a.astype(dtype), read.join())
    return like(final, start), read


def _chunk(
    element: Any, query: Any, carry: Any, reset: Any, fresh: Any
) -> tuple[Any, Any]:
    """Return the carry after one chunk, and what is read in it.

    A product over steps adds zero times what lies before a reset, and zero times NaN is
    NaN. So steps with such numbers are computed as zeros, and what they reach is set to
    NaN afterwards.
    """
    lead = query.ndim - 2  # time and batch axes
    time = query.shape[0]
    lower = jnp.tril(jnp.ones((time, time), bool))
    if reset is None:
        spoilt, spans = None, Spans(lower.reshape((1,) * lead + lower.shape), None)
    else:
        bad, start_bad = _not_finite(element, lead), _not_finite(carry, lead - 1)
        element = select(bad, jax.tree.map(jnp.zeros_like, element), element)
        carry = select(start_bad, jax.tree.map(jnp.zeros_like, carry), carry)
        first = jnp.moveaxis(reset, 0, -1)
        count = jnp.cumsum(first, axis=-1)
        alike = count[..., :, None] == count[..., None, :]
        alike &= lower.reshape((1,) * (lead - 1) + lower.shape)
        reached = jnp.any(alike & jnp.moveaxis(bad, 0, -1)[..., None, :], axis=-1)
        spoilt = reached | (start_bad[..., None] & (count == 0))
        spans = Spans(alike[..., None, :, :], first[..., None, :])

    # From (time, *batch, heads, ...) to (*batch, heads, time, ...).
    def inside(
        a: jax.Array,
    ) -> jax.Array:  # (time, *batch, heads) to (*batch, heads, time)
        return jnp.moveaxis(a, 0, lead)

    element, query = jax.tree.map(inside, (element, query))
    carry, read = element.chunk(query, carry, spans, fresh)
    read = jax.tree.map(lambda a: jnp.moveaxis(a, lead, 0), read)
    if spoilt is None:
        return carry, read
    nan = jax.tree.map(lambda a: jnp.full_like(a, jnp.nan), (carry, read))
    carry = select(spoilt[..., -1], nan[0], carry)
    return carry, select(jnp.moveaxis(spoilt, -1, 0), nan[1], read)


def _not_finite(tree: Any, lead: int) -> jax.Array:
    """Return whether any number of a tree is not finite, by its leading axes."""
    parts = [
        jnp.any(~jnp.isfinite(a), axis=tuple(range(lead, a.ndim)))
        for a in jax.tree.leaves(tree)
    ]
    return jnp.any(jnp.stack(parts), axis=0)
