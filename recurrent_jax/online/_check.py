# SPDX-License-Identifier: Apache-2.0
"""Checks of what a learner is given."""

from typing import Any

import jax

from recurrent_jax import _checks
from recurrent_jax._core.arrays import is_float
from recurrent_jax._core.cell import Cell


def given(
    where: str, cell: Cell, params: Any, x: Any
) -> tuple[_checks.Reading, Any, Any]:
    """Return how the input is read, and parameters and input as arrays."""
    params = _checks.arrays(where, "params", params)
    for path, leaf in jax.tree.leaves_with_path(params):
        if not is_float(leaf):
            raise TypeError(
                f"{where}: params{jax.tree_util.keystr(path)} must be floating-point, "
                f"got {_checks.describe(leaf)}; it has no gradient"
            )
    x = _checks.arrays(where, "x", x)
    reading = _checks.read(where, "x", cell, x, None)
    _checks.features(reading, params, x)
    return reading, params, x


def built(where: str, state: Any, kind: type) -> None:
    """Check that a state is one, and not the input that comes after it."""
    if not isinstance(state, kind):
        raise TypeError(
            f"{where}: state must be an {kind.__name__}, as init returns it, got "
            f"{type(state).__name__}; the order is (params, state, x)"
        )


def flag(where: str, name: str, flags: Any, batch_shape: tuple[int, ...]) -> Any:
    """Return flags as an array, one for each sequence, or None."""
    if flags is None:
        return None
    flags = _checks.array(where, name, flags)
    if flags.dtype != bool or flags.shape != batch_shape:
        raise (TypeError if flags.dtype != bool else ValueError)(
            f"{where}: {name} must be bool of the batch shape {batch_shape}, one for "
            f"each sequence, got {_checks.describe(flags)}"
        )
    return flags


def like(where: str, cotangent: Any, y: Any) -> Any:
    """Return a cotangent as arrays like the output."""
    cotangent = _checks.arrays(where, "cotangent", cotangent)
    if jax.tree.structure(cotangent) != jax.tree.structure(y):
        raise TypeError(
            f"{where}: cotangent must be like the output, {_checks.outline(y)}, got "
            f"{_checks.outline(cotangent)}"
        )
    pairs = zip(jax.tree.leaves(cotangent), jax.tree.leaves(y), strict=True)
    for got, want in pairs:
        if (got.shape, got.dtype) != (want.shape, want.dtype):
            raise (ValueError if got.shape != want.shape else TypeError)(
                f"{where}: cotangent must be like the output, "
                f"{_checks.describe(want)}, got {_checks.describe(got)}"
            )
    return cotangent
