# SPDX-License-Identifier: Apache-2.0
"""Steps that write the outer product of a key and a value into a matrix.

The letters are those of linear attention. The state S, `(*batch, heads, K, V)`, maps a
key to a value.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from recurrent_jax.scans._diagonal import Diagonal
from recurrent_jax.scans._sums import (
    Spans,
    by_channel,
    chunk_size,
    lasting,
    left,
    since_start,
    sums,
    weights,
    written,
)


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
        g = by_channel(self.log_decay, self.key)
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

    def chunk(self, query: jax.Array, spans: Spans) -> tuple[Diagonal, "Asked"]:
        """Return each chunk as one step, and its queries."""
        g, k, v = self
        decay, _ = sums(spans, g)
        added = written(lasting(decay, k), v)
        own = jnp.einsum("...tj,...jv->...tv", weights(query, decay, k), v)
        step = Diagonal(left(decay, k)[..., None], MatrixCarry(added))
        return step, Asked(since_start(query, decay), own)


class Asked(NamedTuple):
    """The queries of the steps of chunks.

    Attributes:
        query: `(..., heads, t, K)`, as it reads the state before the chunk, or the one
            after a reset.
        own: `(..., heads, t, V)`: what the query reads of the steps of its own chunk.
    """

    query: jax.Array
    own: jax.Array

    def read(self, carry: MatrixCarry, fresh: MatrixCarry, restarted: Any) -> jax.Array:
        """Return what the queries read, given the states before the chunks."""
        old = jnp.einsum("...tk,...kv->...tv", self.query, carry.S)
        if restarted is not None:
            new = jnp.einsum("...tk,...kv->...tv", self.query, fresh.S)
            old = jnp.where(restarted[..., None], new, old)
        return old + self.own
