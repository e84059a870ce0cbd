# SPDX-License-Identifier: Apache-2.0
"""Layer normalisation, for the cells that use it."""

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
    """Return `x` normalised over its last axis, then scaled and shifted.

    Before scale and bias, the mean is 0 and the variance 1. The variance is computed
    from the centred numbers. The mean of squares minus the square of the mean, as in
    `jax.nn.standardize`, loses precision where the mean is large.

    Args:
        x: `(*batch, features)`.
        scale: `(features,)`.
        bias: `(features,)`, or None.
        groups: the number of equal parts of the features. Each part is normalised
            separately.
        epsilon: a constant added to the variance.

    References:
        Ba, Kiros and Hinton, 2016. Layer normalization.
        https://arxiv.org/abs/1607.06450
    """
    parts = x.reshape(*x.shape[:-1], groups, x.shape[-1] // groups)
    # In at least float32: at a variance of 0, float16 cannot hold the derivative.
    wide = jnp.float32 if jnp.finfo(x.dtype).bits < 32 else x.dtype
    parts = parts.astype(wide)
    centred = parts - parts.mean(-1, keepdims=True)
    variance = jnp.square(centred).mean(-1, keepdims=True)
    normal = centred * lax.rsqrt(variance + epsilon)
    y = normal.astype(x.dtype).reshape(x.shape) * expand_like(scale, x)
    return y if bias is None else y + expand_like(bias, y)
