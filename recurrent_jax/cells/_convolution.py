# SPDX-License-Identifier: Apache-2.0
"""Convolution over any number of leading axes, for cells that work on images."""

import itertools
import math
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from recurrent_jax import _checks
from recurrent_jax._core.mesh import explicit_mesh


def convolve(
    x: jax.Array,
    kernel: jax.Array,
    strides: tuple[int, ...] | None = None,
    padding: str = "SAME",
) -> jax.Array:
    """Return `x` convolved with `kernel`. All axes before the image are batch axes.

    Args:
        x: `(*batch, *spatial, in)`.
        kernel: `(*window, in, out)`.
        strides: the strides of the window, one for each spatial axis. None means 1.
        padding: `"SAME"` or `"VALID"`.
    """
    n = kernel.ndim - 2
    strides = strides or (1,) * n
    if explicit_mesh(x) is not None:
        return _product_of_windows(x, kernel, strides, padding)
    lead, image = x.shape[: x.ndim - n - 1], x.shape[x.ndim - n - 1 :]
    axes = "xyz"[:n]
    y = lax.conv_general_dilated(
        x.reshape(math.prod(lead), *image),
        kernel,
        strides,
        padding,
        dimension_numbers=(f"N{axes}C", f"{axes}IO", f"N{axes}C"),
    )
    return y.reshape(*lead, *y.shape[1:])


def _product_of_windows(
    x: jax.Array, kernel: jax.Array, strides: tuple[int, ...], padding: str
) -> jax.Array:
    """Return the convolution as one product of all windows with the kernel.

    JAX joins axes to convolve under `vmap`, which explicit axes of a mesh do not allow:
    time and a sharded batch would be one axis. The price is a copy of the input for
    each element of the window.
    """
    n = len(strides)
    window, sizes = kernel.shape[:n], x.shape[-n - 1 : -1]
    pads = lax.padtype_to_pads(sizes, window, strides, padding)
    x = jnp.pad(x, ((0, 0),) * (x.ndim - n - 1) + (*pads, (0, 0)))

    def part(axis: int, start: int) -> slice:
        end = x.shape[axis - n - 1] - window[axis] + start + 1
        return slice(start, end, strides[axis])

    starts = itertools.product(*map(range, window))
    parts = [x[..., *itertools.starmap(part, enumerate(at)), :] for at in starts]
    return jnp.concatenate(parts, -1) @ kernel.reshape(-1, kernel.shape[-1])


def each(value: int | tuple[int, ...], spatial_shape: tuple[int, ...]) -> Any:
    """Return a tuple with one number for each spatial axis."""
    return value if isinstance(value, tuple) else (value,) * len(spatial_shape)


def shape_after(cell: Any) -> tuple[int, ...]:
    """Return the spatial shape of the state, which is that of the convolved input."""
    window = each(cell.kernel_shape, cell.spatial_shape)
    strides = each(cell.strides, cell.spatial_shape)
    lost = [0 if cell.padding == "SAME" else k - 1 for k in window]
    sizes = zip(cell.spatial_shape, lost, strides, strict=True)
    return tuple(-(-(n - k) // s) for n, k, s in sizes)


def check_fields(cell: Any) -> None:
    """Check the fields that define the shapes of the image and of the window."""
    name, shape = type(cell).__name__, cell.spatial_shape
    if not isinstance(shape, tuple) or not 1 <= len(shape) <= 3:
        raise TypeError(
            f"{name}: spatial_shape must be a tuple of 1 to 3 sizes, got {shape!r}; "
            "an image of 16 x 16 is (16, 16), a line of 16 is (16,)"
        )
    fields = {"spatial_shape": shape, "kernel_shape": cell.kernel_shape}
    for field, value in {**fields, "strides": cell.strides}.items():
        sizes = each(value, shape)
        for size in sizes:
            _checks.size(name, field, size)
        if len(sizes) != len(shape):
            raise ValueError(
                f"{name}: {field} must have one size for each of the {len(shape)} "
                f"axes of spatial_shape={shape}, got {value}"
            )
    if min(shape_after(cell)) < 1:
        raise ValueError(
            f"{name}: kernel_shape={cell.kernel_shape} does not fit into "
            f"spatial_shape={shape} without padding; pass padding='SAME'"
        )


def check_input(cell: Any, x: jax.Array, kernel: jax.Array) -> None:
    """Check that an input is an image that fits the cell and its kernel."""
    name = type(cell).__name__
    image = (*cell.spatial_shape, kernel.shape[-2])
    if not hasattr(x, "dtype") or x.shape[-len(image) :] != image:
        axes = ", ".join(map(str, image))
        raise ValueError(
            f"{name}: the input must be (*batch, {axes}), channels last, got "
            f"{_checks.outline(x)}"
        )
