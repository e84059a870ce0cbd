# SPDX-License-Identifier: Apache-2.0
"""Heads and delta rules, for the cells that have them."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import DTypeLike

from recurrent_jax.scans import Delta, MatrixCarry


def replace(g: jax.Array, beta: jax.Array, k: jax.Array, v: jax.Array) -> Delta:
    """Return the step that decays, then moves the value of a key by the share beta.

    The step of `Delta` finds a value before the decay, so the decay is put into what is
    looked up.
    """
    found = -(beta * jnp.exp(g))[..., None] * k
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


def key_size(cell: Any) -> int:
    """Return the number of key channels of a head."""
    return getattr(cell, "key_size", None) or cell.hidden_size // cell.heads


def empty(cell: Any, batch_shape: tuple[int, ...], dtype: DTypeLike) -> MatrixCarry:
    """Return a state of zeros for each head."""
    N, K, V = cell.heads, key_size(cell), cell.hidden_size // cell.heads
    return MatrixCarry(jnp.zeros((*batch_shape, N, K, V), dtype))


def check_heads(cell: Any) -> None:
    """Check that the heads of a cell divide its units."""
    if cell.hidden_size % cell.heads:
        raise ValueError(
            f"{type(cell).__name__}: heads must divide hidden_size={cell.hidden_size}, "
            f"got {cell.heads}; heads=1 always does"
        )
