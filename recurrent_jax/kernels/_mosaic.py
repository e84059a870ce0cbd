# SPDX-License-Identifier: Apache-2.0
"""Reading and writing tiles in a kernel of Mosaic GPU, in JAX 0.10 and 0.12 alike."""

import inspect
from typing import Any

import jax
from jax import lax


def part(number: Any, size: int) -> Any:
    """Return the indices of a part of an axis that is cut into parts."""
    from jax.experimental import pallas as pl

    return pl.ds(number * size, size)


def layout() -> Any:
    """Return how the threads of a warpgroup share the result of a product."""
    from jax.experimental.pallas import mosaic_gpu as plgpu

    return plgpu.Layout.WGMMA


def spread(ref: Any, axis: int, shape: tuple[int, int]) -> jax.Array:
    """Return a vector along an axis, the same along the other."""
    from jax.experimental.pallas import mosaic_gpu as plgpu

    vector = load(ref, layout().reduce(1 - axis))
    array = lax.broadcast_in_dim(vector, shape, (axis,))
    cast: jax.Array = plgpu.layout_cast(array, layout())
    return cast


def load(ref: Any, form: Any) -> jax.Array:
    """Return an array in registers, shared out as `form` says."""
    from jax.experimental.pallas import mosaic_gpu as plgpu

    # The index was an argument in JAX 0.10.
    index = [()] if "idx" in inspect.signature(plgpu.load).parameters else []
    loaded: jax.Array = plgpu.load(ref, *index, layout=form, optimized=False)
    return loaded


def store(ref: Any, value: jax.Array, optimized: bool) -> None:
    """Write an array; `optimized` wants a fast way into shared memory or an error."""
    from jax.experimental.pallas import mosaic_gpu as plgpu

    if (found := getattr(plgpu, "store", None)) is None:  # in JAX 0.10
        ref[...] = value
    else:
        found(ref, value, optimized=optimized)
