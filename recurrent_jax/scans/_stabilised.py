# SPDX-License-Identifier: Apache-2.0
"""Steps of a matrix state with exponential gates, scaled so that none overflows."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from recurrent_jax._core.arrays import select, trail
from recurrent_jax.scans._matrix import Spans, sums


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

    def chunk(
        self, query: jax.Array, carry: StabilisedCarry, spans: Spans, fresh: Any
    ) -> tuple[StabilisedCarry, Read]:
        """Return the carry after a chunk, and what the queries of its steps read."""
        g, i, k, v = self
        decay, _ = sums(spans, g)

        def first(of: Any) -> jax.Array:  # of the state that the steps start from
            old, new = of(carry), of(fresh)
            if decay.fresh is None:
                return old
            return jnp.where(trail(decay.fresh, old), new, old)

        started = decay.start + first(lambda s: s.m[..., None])
        of_steps = decay.between + i[..., None, :]
        m = jnp.maximum(started, jnp.max(of_steps, axis=-1))
        start, weight = jnp.exp(started - m), jnp.exp(of_steps - m[..., None])

        within = jnp.einsum("...tk,...jk->...tj", query, k) * weight
        value = first(lambda s: jnp.einsum("...tk,...kv->...tv", query, s.C))
        value = start[..., None] * value + jnp.einsum("...tj,...jv->...tv", within, v)
        total = first(lambda s: jnp.einsum("...tk,...k->...t", query, s.n))
        total = start * total + jnp.sum(within, axis=-1)

        left, last = start[..., -1], weight[..., -1, :, None] * k
        if decay.fresh is not None:
            carry = select(decay.fresh[..., -1], fresh, carry)
        C = left[..., None, None] * carry.C
        C = C + jnp.einsum("...jk,...jv->...kv", last, v)
        n = left[..., None] * carry.n + jnp.sum(last, axis=-2)
        return StabilisedCarry(C, n, m[..., -1]), Read(value, total, m)
