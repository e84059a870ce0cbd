# SPDX-License-Identifier: Apache-2.0
"""Sums over many steps of numbers of 16 bits, in 32 bits."""

from typing import Any

import jax
import jax.numpy as jnp


def wide(tree: Any) -> Any:
    """Return a tree with its floats of 16 bits in 32 bits."""

    def one(a: jax.Array) -> jax.Array:
        narrow = jnp.issubdtype(a.dtype, jnp.floating) and a.dtype.itemsize == 2
        return a.astype(jnp.float32) if narrow else a

    return jax.tree.map(one, tree)


def like(tree: Any, other: Any) -> Any:
    """Return a tree with the dtypes of another tree."""
    return jax.tree.map(lambda a, b: a.astype(b.dtype), tree, other)
