# SPDX-License-Identifier: Apache-2.0
"""Windows of a series that do not leak, and batches that can be resumed."""

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from recurrent_jax import _checks
from recurrent_jax._core.input_types import Place
from recurrent_jax._core.types import Count, Key, Size


@_checks.checked
def windows(
    steps: Size,
    size: Size,
    *,
    parts: Sequence[float] = (0.7, 0.15, 0.15),
    stride: Size = 1,
    gap: Count = 0,
) -> tuple[jax.Array, ...]:
    """Return the windows of each part of a series, in time order, as indices.

    The series is first split into parts and then cut into windows, so that no step is
    in windows of two parts. In the opposite order, overlapping windows would leak the
    test into training.

    Args:
        steps: of the series.
        size: steps of a window, including those to forecast.
        parts: fractions of the series, in order: training, validation, test.
        stride: steps between the starts of two windows.
        gap: steps left out before each later part, for correlated series.

    Returns:
        For each part an integer array, `(windows, size)`: `series[indices]` are the
        windows themselves. It may be indexed under `jit`, by `batch_indices`, too.

    Raises:
        ValueError: if a part is too short for one window, or `parts` do not add to 1.

    Example:
        >>> from recurrent_jax.training import windows
        >>> train, test = windows(10, 3, parts=(0.6, 0.4))
        >>> print(train[0], train[-1], test[0], test[-1])
        [0 1 2] [3 4 5] [6 7 8] [7 8 9]
    """
    if not _add_to_one(parts):
        raise ValueError(
            f"windows: parts must be positive numbers that add to 1, got {parts!r}"
        )
    ends = [round(end * steps) for end in np.cumsum(parts)]
    starts = [0, *(end + gap for end in ends[:-1])]
    return tuple(
        _within(number, start, end, size, stride)
        for number, (start, end) in enumerate(zip(starts, ends, strict=True))
    )


@_checks.checked
def batch_indices(key: Key, step: Place, *, examples: Size, size: Size) -> jax.Array:
    """Return the indices of the examples for a step, counted over all epochs.

    This is a pure function of key and step, so a resumed run reads the same examples.
    Each epoch has its own order. It leaves out the examples that do not fill a batch,
    which differ between epochs. Each call draws the order of the whole epoch, which
    costs as much as sorting `examples` numbers.

    Args:
        key: the same key during all of training.
        step: an integer; it may be traced.
        examples: number of examples.
        size: of a batch.

    Returns:
        Indices without repetition, `(size,)`.

    Raises:
        ValueError: if the batch is larger than the data.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from recurrent_jax.training import batch_indices
        >>> key = jax.random.key(0)
        >>> epoch = [batch_indices(key, n, examples=6, size=2) for n in range(3)]
        >>> print(jnp.sort(jnp.concatenate(epoch)))
        [0 1 2 3 4 5]
    """
    if size > examples:
        raise ValueError(
            f"batch_indices: size={size} is more than examples={examples}; take "
            "smaller batches"
        )
    count = examples // size
    epoch, place = jnp.divmod(jnp.asarray(step), count)
    order = jax.random.permutation(jax.random.fold_in(key, epoch), examples)
    return lax.dynamic_slice_in_dim(order, place * size, size)


def _add_to_one(parts: Any) -> bool:
    if not isinstance(parts, (Sequence, np.ndarray)) or isinstance(parts, str):
        return False
    numbers = parts.tolist() if isinstance(parts, np.ndarray) else list(parts)
    if not isinstance(numbers, list) or not numbers:
        return False
    if not all(isinstance(p, int | float | np.floating) for p in numbers):
        return False
    return math.isclose(sum(numbers), 1.0) and min(numbers) > 0


def _within(number: int, start: int, end: int, size: int, stride: int) -> jax.Array:
    if end - start < size:
        raise ValueError(
            f"windows: part {number} has {max(end - start, 0)} steps, too few for a "
            f"window of {size}; take shorter windows or a larger share"
        )
    firsts = np.arange(start, end - size + 1, stride)
    return jnp.asarray(firsts[:, None] + np.arange(size))
