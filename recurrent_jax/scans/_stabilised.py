# SPDX-License-Identifier: Apache-2.0
"""Steps of a matrix state with exponential gates, scaled so that none overflows."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from recurrent_jax._core.arrays import trail
from recurrent_jax.scans._sums import Spans, sums, written


class StabilisedCarry(NamedTuple):
    """A matrix and its normaliser for each head, both scaled by exp(-m)."""

    C: jax.Array  # (*batch, heads, K, V)
    n: jax.Array  # (*batch, heads, K), the normaliser
    m: jax.Array  # (*batch, heads), the stabiliser


class Read(NamedTuple):
    """What a query reads of a state: a value, a sum of weights, and their scale."""

    value: jax.Array  # (*lead, heads, V)
    total: jax.Array  # (*lead, heads)
    m: jax.Array  # (*lead, heads)


class Stabilised(NamedTuple):
    r"""The step $C \leftarrow f C + i\, k v^\top$ and $n \leftarrow f n + i\, k$.

    Both are stored divided by $e^m$, with
    $m \leftarrow \max(\log f + m, \log i)$, so that no exponential overflows.

    Attributes:
        log_forget: $\log f$, `(*lead, heads)`, at most zero.
        log_input: $\log i$, `(*lead, heads)`, any number.
        key: k, `(*lead, heads, K)`.
        value: v, `(*lead, heads, V)`.
    """

    log_forget: jax.Array
    log_input: jax.Array
    key: jax.Array
    value: jax.Array

    def apply(self, carry: StabilisedCarry) -> StabilisedCarry:
        """Return the carry after the step."""
        kept = self.log_forget + carry.m
        m = jnp.maximum(kept, self.log_input)
        f = jnp.exp(kept - m)[..., None]
        k = jnp.exp(self.log_input - m)[..., None] * self.key
        C = f[..., None] * carry.C + k[..., :, None] * self.value[..., None, :]
        return StabilisedCarry(C, f * carry.n + k, m)

    def look(self, query: jax.Array, carry: StabilisedCarry) -> Read:
        """Return what the query reads."""
        value = jnp.einsum("...k,...kv->...v", query, carry.C)
        return Read(value, jnp.sum(query * carry.n, axis=-1), carry.m)

    # The number of steps in a chunk, if the user does not choose it.
    chunk_size = 16

    def kept(self) -> "Stabilised":
        """Return the element of a step that changes nothing."""
        zero = jax.tree.map(jnp.zeros_like, self)
        lowest = jnp.finfo(self.log_input.dtype).min
        return zero._replace(log_input=jnp.full_like(self.log_input, lowest))

    def chunk(self, query: jax.Array, spans: Spans) -> tuple["Rescaled", "AskedScaled"]:
        """Return each chunk as one step, and its queries."""
        g, i, k, v = self
        decay, _ = sums(spans, g)
        of_steps = decay.between + i[..., None, :]
        m = jnp.max(of_steps, axis=-1)
        weight = jnp.exp(of_steps - m[..., None])
        within = jnp.einsum("...tk,...jk->...tj", query, k) * weight
        value = jnp.einsum("...tj,...jv->...tv", within, v)
        own = Read(value, jnp.sum(within, axis=-1), m)

        last = weight[..., -1, :, None] * k
        C = written(last, v)
        added = StabilisedCarry(C, jnp.sum(last, axis=-2), m[..., -1])
        return Rescaled(decay.start[..., -1], added), AskedScaled(
            query, decay.start, own
        )


class Rescaled(NamedTuple):
    """The step of a whole chunk: a decay, and a state with a scale of its own."""

    log_decay: jax.Array  # (..., heads)
    added: StabilisedCarry

    def apply(self, carry: StabilisedCarry) -> StabilisedCarry:
        """Return the carry after the step."""
        kept = self.log_decay + carry.m
        m = jnp.maximum(kept, self.added.m)
        old, new = jnp.exp(kept - m)[..., None], jnp.exp(self.added.m - m)[..., None]
        C = old[..., None] * carry.C + new[..., None] * self.added.C
        return StabilisedCarry(C, old * carry.n + new * self.added.n, m)

    def after(self, first: "Rescaled") -> "Rescaled":
        """Return one step that is `first` and then this one."""
        return Rescaled(self.log_decay + first.log_decay, self.apply(first.added))


class AskedScaled(NamedTuple):
    """The queries of the steps of chunks, and what they read of their own chunk."""

    query: jax.Array  # (..., heads, t, K)
    log_decay: jax.Array  # (..., heads, t), since the start of the chunk or a reset
    own: Read

    def read(
        self, carry: StabilisedCarry, fresh: StabilisedCarry, restarted: Any
    ) -> Read:
        """Return what the queries read, given the states before the chunks."""

        def first(of: Any) -> jax.Array:  # of the state that the steps start from
            old = of(carry)
            if restarted is None:
                return old
            return jnp.where(trail(restarted, old), of(fresh), old)

        started = self.log_decay + first(lambda s: s.m[..., None])
        m = jnp.maximum(started, self.own.m)
        old, new = jnp.exp(started - m), jnp.exp(self.own.m - m)
        q = self.query
        value = first(lambda s: jnp.einsum("...tk,...kv->...tv", q, s.C))
        total = first(lambda s: jnp.einsum("...tk,...k->...t", q, s.n))
        return Read(
            old[..., None] * value + new[..., None] * self.own.value,
            old * total + new * self.own.total,
            m,
        )
