# SPDX-License-Identifier: Apache-2.0
"""The time axis and the valid steps of the input of a network."""

from typing import Any

import jax
import jax.numpy as jnp

from recurrent_jax._core.network import Options
from recurrent_jax._loop.loop import valid_steps


def time_of(xs: Any, options: Options) -> tuple[int, int]:
    """Return the time axis and its size."""
    first = jax.tree.leaves(xs)[0]
    axis = options.time_axis % first.ndim
    return axis, first.shape[axis]


def valid(xs: Any, options: Options) -> Any:
    """Return which steps are valid, time-major, or None if all are."""
    axis, time = time_of(xs, options)
    mask = options.mask
    if mask is not None:
        mask = jnp.moveaxis(jnp.asarray(mask), axis, 0)
    return valid_steps(time, options.lengths, mask)
