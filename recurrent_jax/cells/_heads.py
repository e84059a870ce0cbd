# SPDX-License-Identifier: Apache-2.0
"""Heads and delta rules, for the cells that have them."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import DTypeLike

from recurrent_jax import _checks
from recurrent_jax._core.cell import C, P
from recurrent_jax._core.types import Size
from recurrent_jax.scans import Delta, MatrixCell
from recurrent_jax.scans._sums import by_channel


@dataclasses.dataclass(frozen=True)
class HeadsCell(MatrixCell[P, C]):
    """A matrix cell with heads, which may have a field `key_size`."""

    hidden_size: Size
    heads: Size

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.hidden_size % self.heads:
            raise ValueError(
                f"{type(self).__name__}: heads must divide "
                f"hidden_size={self.hidden_size}, got {self.heads}; heads=1 always does"
            )

    @property
    def sizes(self) -> tuple[int, int, int]:
        """The number of heads, and the key and value channels of each: N, K, V."""
        N, V = self.heads, self.hidden_size // self.heads
        return N, getattr(self, "key_size", None) or V, V

    def initial_carry(
        self,
        batch_shape: tuple[int, ...] = (),
        dtype: DTypeLike = float,
        params: Any = None,
    ) -> C:
        """Return a state of zeros."""
        _checks.own(self, params)
        N, K, V = self.sizes
        # Of each head: a matrix, its normaliser, and a number.
        shapes = (N, K, V), (N, K), (N,)
        parts = zip(self.Carry._fields, shapes, strict=False)
        return self.Carry(*(jnp.zeros((*batch_shape, *s), dtype) for _, s in parts))


def replace(g: jax.Array, beta: jax.Array, k: jax.Array, v: jax.Array) -> Delta:
    """Return the step that decays, then moves the value of a key by the share beta.

    The log-decay g has one number for each head, or one for each channel. The step of
    `Delta` finds a value before the decay, so the decay is put into what is looked up.
    """
    found = -beta[..., None] * by_channel(jnp.exp(g), k) * k
    return Delta(g, found, k, k, beta[..., None] * v)


def unit(a: jax.Array, epsilon: float = 1e-6) -> jax.Array:
    """Return the vectors of the last axis with a length of one, or of zero if zero."""
    # In at least float32: in float16 the derivative at zero, 1e9 times zero, is NaN.
    wide = a.astype(jnp.float32) if jnp.finfo(a.dtype).bits < 32 else a
    squares = jnp.sum(wide * wide, axis=-1, keepdims=True)
    return (wide * lax.rsqrt(squares + epsilon)).astype(a.dtype)


def scaled(query: jax.Array) -> jax.Array:
    """Return queries divided by the root of the number of key channels."""
    return query * query.shape[-1] ** -0.5


def by_head(a: jax.Array, heads: int) -> jax.Array:
    """Return the features of each head on an axis of their own."""
    return a.reshape(*a.shape[:-1], heads, a.shape[-1] // heads)


def side_by_side(a: jax.Array) -> jax.Array:
    """Return the features of all heads on one axis."""
    return a.reshape(*a.shape[:-2], a.shape[-2] * a.shape[-1])
