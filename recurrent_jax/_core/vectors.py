# SPDX-License-Identifier: Apache-2.0
"""The floats of a carry as one vector, and back."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from recurrent_jax._core.arrays import is_float


def to_vector(carry: Any, batch_shape: tuple[int, ...] = ()) -> jax.Array:
    """Return the concatenation of all floats of a carry, `(*batch, S)`."""
    rank = len(batch_shape)
    # Not -1 for the size: it is not known if a batch is empty.
    parts = [
        p.reshape(*batch_shape, math.prod(p.shape[rank:]))
        for p in jax.tree.leaves(carry)
        if is_float(p)
    ]
    return jnp.concatenate(parts, axis=-1)


def to_carry(vector: jax.Array, like: Any) -> Any:
    """Return the carry of a vector; other leaves than floats come from `like`."""
    leaves, structure = jax.tree.flatten(like)
    batch, start = vector.ndim - 1, 0
    for n, leaf in enumerate(leaves):
        if is_float(leaf):
            size = math.prod(leaf.shape[batch:])
            part = lax.slice_in_dim(vector, start, start + size, axis=-1)
            leaves[n], start = part.reshape(leaf.shape), start + size
    return jax.tree.unflatten(structure, leaves)
