# SPDX-License-Identifier: Apache-2.0
"""Normalisation, for the cells that have it inside."""

import jax
import jax.numpy as jnp
from jax import lax

from recurrent_jax._core.arrays import expand_like


def layer_norm(
    x: jax.Array,
    scale: jax.Array,
    bias: jax.Array | None = None,
    *,
    groups: int = 1,
    epsilon: float = 1e-5,
) -> jax.Array:
    """Return `x` with mean 0 and variance 1 over its last axis, scaled and shifted.

    The variance is that of the centred numbers: the mean of squares less the square of
    the mean, as `jax.nn.standardize` has it, cancels where the mean is large.

    Args:
        x: `(*batch, features)`.
        scale: `(features,)`.
        bias: `(features,)`, or None.
        groups: into how many parts of equal size the features are cut, each of which
            is normalised by itself.
        epsilon: is added to the variance.

    References:
        Ba, Kiros and Hinton, 2016. Layer normalization.
        https://arxiv.org/abs/1607.06450
    """
    parts = x.reshape(*x.shape[:-1], groups, x.shape[-1] // groups)
    centred = parts - parts.mean(-1, keepdims=True)
    variance = jnp.square(centred).mean(-1, keepdims=True)
    y = (centred * lax.rsqrt(variance + epsilon)).reshape(x.shape) * expand_like(
        scale, x
    )
    return y if bias is None else y + expand_like(bias, y)
