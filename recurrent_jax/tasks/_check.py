# SPDX-License-Identifier: Apache-2.0
"""Checks of what tasks are given."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from recurrent_jax import _checks


def reads_encoder(decoder: Any, features: int) -> None:
    """Check that an attention looks at what an encoder gives."""
    if decoder.memory_features != features:
        raise ValueError(
            f"init_encoder_decoder: the encoder gives {features} features, but "
            f"{decoder!r} looks at {decoder.memory_features}; pass "
            f"memory_features={features}"
        )


def timed(where: str, targets: Any) -> jax.Array:
    """Return targets as an array with an axis of time."""
    targets = _checks.array(where, "targets", targets)
    if targets.ndim == 0:
        raise ValueError(f"{where}: targets must have an axis of time, got a number")
    return targets


def first(where: str, first: Any, targets: Any) -> jax.Array:
    """Return what stands before the first target, one number for all or one step."""
    if np.ndim(first) == 0:
        return jnp.full(targets.shape[1:], first, targets.dtype)
    first = _checks.array(where, "first", first)
    if (first.shape, first.dtype) != (targets.shape[1:], targets.dtype):
        want = jax.ShapeDtypeStruct(targets.shape[1:], targets.dtype)
        raise ValueError(
            f"{where}: first must be a number or one step of the targets, "
            f"{_checks.describe(want)}; got {_checks.describe(first)}"
        )
    return first


def rate(where: str, rate: Any) -> None:
    """Check a probability, where it is known."""
    if not isinstance(rate, jax.core.Tracer) and not 0 <= float(rate) <= 1:
        raise ValueError(f"{where}: rate must be between 0 and 1, got {rate}")
