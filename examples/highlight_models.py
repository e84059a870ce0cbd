# SPDX-License-Identifier: Apache-2.0
"""A recurrent network, and baselines that see a window of the last characters."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from highlight_data import CODES, KINDS

import recurrent_jax as rj

draw = rj.initializers.glorot_uniform


class Params(NamedTuple):
    """Parameters of a network."""

    table: jax.Array  # (CODES, E), the embedding of a character
    body: Any
    kernel: jax.Array  # (H, kinds)
    bias: jax.Array  # (kinds,)


@dataclasses.dataclass(frozen=True)
class Recurrent:
    """A cell that reads one character after the other.

    A network maps a carry and characters, `(T, N)`, to the next carry and logits,
    `(T, N, kinds)`. The kind of a character follows from it and from those before it.
    """

    cell: Any
    embedding: int

    def init(self, key: jax.Array) -> Params:
        """Return fresh parameters."""
        keys = jax.random.split(key, 3)
        return Params(
            table=0.3 * jax.random.normal(keys[0], (CODES, self.embedding)),
            body=self.cell.init(keys[1], self.embedding),
            kernel=draw(keys[2], (self.cell.hidden_size, len(KINDS)), float),
            bias=jnp.zeros(len(KINDS)),
        )

    def start(self, streams: int) -> Any:
        """Return the carry at the start of the text."""
        return self.cell.initial_carry((streams,))

    def __call__(self, params: Params, carry: Any, codes: jax.Array) -> Any:
        """Return the next carry and the logits."""
        xs = params.table[codes]
        carry, ys = rj.unroll(self.cell, params.body, xs, carry=carry)
        return carry, rj.affine(ys, params.kernel, params.bias)


@dataclasses.dataclass(frozen=True)
class Window:
    """A network without memory that sees the last `width` characters.

    Its carry is the characters that the window still holds. If `ordered` is False, it
    sees how often each character occurs there, and not where.
    """

    width: int
    hidden_size: int
    embedding: int
    ordered: bool = True

    def init(self, key: jax.Array) -> Params:
        """Return fresh parameters."""
        keys, H = jax.random.split(key, 3), self.hidden_size
        seen = (self.width if self.ordered else 1) * self.embedding
        return Params(
            table=0.3 * jax.random.normal(keys[0], (CODES, self.embedding)),
            body=(draw(keys[1], (seen, H), float), jnp.zeros(H)),
            kernel=draw(keys[2], (H, len(KINDS)), float),
            bias=jnp.zeros(len(KINDS)),
        )

    def start(self, streams: int) -> jax.Array:
        """Return the window at the start of the text."""
        return jnp.zeros((self.width - 1, streams), int)

    def __call__(self, params: Params, carry: Any, codes: jax.Array) -> Any:
        """Return the next carry and the logits."""
        known = jnp.concatenate([carry, codes])
        xs, T = params.table[known], len(codes)
        each = [xs[lag : lag + T] for lag in range(self.width)]
        seen = jnp.concatenate(each, -1) if self.ordered else sum(each)
        h = jax.nn.relu(rj.affine(seen, *params.body))
        return known[T:], rj.affine(h, params.kernel, params.bias)
