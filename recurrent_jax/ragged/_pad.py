# SPDX-License-Identifier: Apache-2.0
"""Padding of sequences to one length."""

from collections.abc import Sequence
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from recurrent_jax import _checks
from recurrent_jax._checks.input_kinds import OneArray
from recurrent_jax._core.input_types import Lengths
from recurrent_jax._core.types import Count
from recurrent_jax.ragged import _check


class Padded(NamedTuple):
    """Padded sequences, with zeros after their ends."""

    xs: np.ndarray  # (time, batch, ...)
    lengths: np.ndarray  # (batch,)


def pad(sequences: Sequence[Any], *, time: int | None = None) -> Padded:
    """Return sequences of different lengths as one array, and their lengths.

    Args:
        sequences: arrays `(length, ...)` that differ only in length.
        time: steps of the result; those of the longest sequence if None.

    Returns:
        `Padded(xs, lengths)`: `(time, batch, ...)` and `(batch,)`, for `unroll`.

    Raises:
        ValueError: if there are no sequences, if they do not fit together, or if `time`
            is too short.

    Example:
        >>> import numpy as np
        >>> import recurrent_jax as rj
        >>> xs, lengths = rj.ragged.pad([np.array([1, 2, 3]), np.array([4])])
        >>> print(xs.T, lengths)
        [[1 2 3]
         [4 0 0]] [3 1]
    """
    arrays = _check.sequences("pad", sequences)
    lengths = np.array([len(a) for a in arrays])
    time = _check.fits("pad", lengths, time)
    shape = (time, len(arrays), *arrays[0].shape[1:])
    xs = np.zeros(shape, arrays[0].dtype)
    for n, a in enumerate(arrays):
        xs[: len(a), n] = a
    return Padded(xs, lengths)


Batch = Annotated[ArrayLike, OneArray(least=2, axes="(time, batch, ...)")]


@_checks.checked
def unpad(xs: Batch, lengths: Lengths) -> list[np.ndarray]:
    """Return the valid parts of padded sequences as a list. It undoes `pad`.

    Args:
        xs: padded sequences, `(time, batch, ...)`, of any dtype.
        lengths: the number of valid steps of each sequence, `(batch,)`, integers.

    Returns:
        One NumPy array `(length, ...)` for each sequence, in the dtype of `xs`.

    Raises:
        TypeError: if `xs` or `lengths` is traced, since shapes depend on lengths.
        ValueError: if there is not one length for each sequence, or if one is negative
            or above `time`.

    Example:
        >>> import numpy as np
        >>> import recurrent_jax as rj
        >>> rj.ragged.unpad(np.array([[1, 4], [2, 0], [3, 0]]), [3, 1])
        [array([1, 2, 3]), array([4])]
    """
    if isinstance(xs, jax.core.Tracer):
        raise TypeError(
            "unpad: xs must be known before tracing, since shapes depend on lengths; "
            "call it outside of jit"
        )
    xs = np.asarray(xs)
    counts = _checks.host_lengths("unpad", lengths, xs.shape[0])
    _check.one_each("unpad", counts, xs)
    return [xs[:n, b] for b, n in enumerate(counts)]


@_checks.checked
def mask(lengths: Lengths, time: Count) -> jax.Array:
    """Return which steps are valid, for `unroll` and for losses.

    Args:
        lengths: the number of valid steps of each sequence, `(*batch)`, integers.
        time: the number of steps of the padded sequences.

    Returns:
        A boolean array `(time, *batch)`, True for the first `length` steps.

    Raises:
        ValueError: if a length is negative or above `time`. Traced lengths are not
            looked into.

    Example:
        >>> import recurrent_jax as rj
        >>> print(rj.ragged.mask([3, 1], time=3).T)
        [[ True  True  True]
         [ True False False]]
    """
    counts = _checks.lengths_of("mask", lengths, time)
    return jnp.arange(time).reshape(time, *(1,) * counts.ndim) < counts[None]
