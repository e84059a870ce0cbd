# SPDX-License-Identifier: Apache-2.0
"""Checks of lengths and masks, where no cell tells how the input is read."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from recurrent_jax._checks.input_kinds import OneArray
from recurrent_jax._checks.values import array, integer
from recurrent_jax._checks.words import describe


def steps(
    where: str,
    argument: str,
    first: Any,
    lengths: Any,
    mask: Any,
    time_axis: Any,
    features: int,
) -> Any:
    """Return which steps of an array count, `(time, *batch)`, or None if all do.

    `features` is how many trailing axes are no batch.
    """
    axis = axis_of(where, argument, first, time_axis, features)
    lead = list(first.shape[: first.ndim - features])
    time = lead.pop(axis)
    if mask is not None:
        mask = array(where, "mask", mask)
        shape = first.shape[: first.ndim - features]
        if mask.dtype != bool or mask.shape != shape:
            raise ValueError(
                f"{where}: mask must be bool[{','.join(map(str, shape))}], laid out as "
                f"{argument} {describe(first)} is; got {describe(mask)}"
            )
        mask = jnp.moveaxis(mask, axis, 0)
    if lengths is None:
        return mask
    lengths = lengths_of(where, lengths, time, tuple(lead))
    within = jnp.arange(time).reshape(time, *(1,) * lengths.ndim) < lengths[None]
    return within if mask is None else within & mask


def axis_of(
    where: str, argument: str, first: Any, time_axis: Any, features: int
) -> int:
    """Return the axis of time, counted from the first one, after a check of it."""
    integer(where, "time_axis", time_axis)
    lead = first.ndim - features
    axis = int(time_axis) + (first.ndim if time_axis < 0 else 0)
    if not 0 <= axis < lead:
        raise ValueError(
            f"{where}: time_axis must be one of the first {lead} axes of "
            f"{argument} {describe(first)}; got {time_axis}"
        )
    return axis


def lengths_of(where: str, lengths: Any, time: Any, batch_shape: Any = None) -> Any:
    """Return lengths in JAX, after a check of dtype, shape and, where seen, values."""
    return jnp.asarray(_lengths(where, lengths, time, batch_shape)).astype(int)


def host_lengths(where: str, lengths: Any, time: Any = None) -> np.ndarray:
    """Return lengths in NumPy, `(n,)`, after the same check."""
    if isinstance(lengths, jax.core.Tracer):
        raise TypeError(
            f"{where}: lengths must be known before tracing, since shapes depend on "
            "them; call it outside of jit"
        )
    kind = OneArray("integer", hint="cast them: .astype(int)")
    if not isinstance(lengths, (list, tuple)) or len(lengths):
        kind.check(where, "lengths", lengths)
    lengths = np.asarray(lengths if np.size(lengths) else np.zeros(0, int))
    if lengths.ndim != 1:
        raise ValueError(
            f"{where}: lengths must be integers (n,), got {describe(lengths)}"
        )
    return np.asarray(_lengths(where, lengths, time)).astype(int)


def _lengths(where: str, lengths: Any, time: Any, batch_shape: Any = None) -> Any:
    if not isinstance(lengths, jax.Array):
        try:
            lengths = np.asarray(lengths)
        except ValueError as error:  # of lists of several sizes
            message = f"{where}: lengths must be integers: {error}"
            raise TypeError(message) from error
    if not jnp.issubdtype(lengths.dtype, jnp.integer):
        raise TypeError(
            f"{where}: lengths must be integers, got {describe(lengths)}; "
            "cast them: .astype(int)"
        )
    if batch_shape is not None and lengths.shape != batch_shape:
        raise ValueError(
            f"{where}: lengths must have the batch shape {batch_shape}, one for each "
            f"sequence; got {describe(lengths)}"
        )
    if lengths.size and not isinstance(lengths, jax.core.Tracer):
        # NumPy: under jit even the least of a constant would be traced.
        low, high = int(np.asarray(lengths).min()), int(np.asarray(lengths).max())
        if low < 0 or (time is not None and high > time):
            raise ValueError(
                f"{where}: lengths must lie between 0 and time={time}, got "
                f"{low if low < 0 else high}"
            )
    return lengths
