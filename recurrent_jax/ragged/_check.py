# SPDX-License-Identifier: Apache-2.0
"""Checks of sequences of any length."""

from typing import Any

import numpy as np

from recurrent_jax import _checks


def sequences(where: str, arrays: list[np.ndarray]) -> list[np.ndarray]:
    """Return sequences after a check that they differ in length alone."""
    if not arrays:
        raise ValueError(f"{where}: there must be at least one sequence")
    # An empty list has neither the dtype nor the features of the others.
    filled = [a for a in arrays if a.size] or arrays
    shape, dtype = filled[0].shape[1:], filled[0].dtype
    for n, a in enumerate(arrays):
        if a.ndim == 0 or (a.size and (a.shape[1:], a.dtype) != (shape, dtype)):
            raise ValueError(
                f"{where}: sequence {n} is {_checks.describe(a)}, the first with any "
                f"steps {_checks.describe(filled[0])}; they may differ in length alone"
            )
    return [a if a.size else np.zeros((len(a), *shape), dtype) for a in arrays]


def fits(where: str, lengths: np.ndarray, time: Any, name: str = "time") -> int:
    """Return a number of steps that holds the longest sequence."""
    longest = int(lengths.max(initial=0))
    if time is None:
        return longest
    _checks.integer(where, name, time)
    if time < longest:
        raise ValueError(
            f"{where}: {name}={time} is too short for a sequence of {longest} steps"
        )
    return int(time)


def leads(where: str, a: Any, lead: Any) -> None:
    """Check the first two axes of what is packed or unpacked."""
    if a.shape[:2] != tuple(lead):
        raise ValueError(
            f"{where}: an array must begin with the axes {tuple(lead)} that the plan "
            f"was made for, (time, batch); got {_checks.describe(a)}"
        )


def some(where: str, lengths: np.ndarray) -> None:
    """Check that there are lengths."""
    if not lengths.size:
        raise ValueError(f"{where}: there must be at least one length")


def rising(where: str, bounds: Any, lengths: np.ndarray) -> np.ndarray:
    """Return the bounds of buckets after a check that they rise and hold all."""
    edges = np.asarray(bounds)
    if edges.ndim != 1 or not edges.size or (np.diff(edges) <= 0).any():
        raise ValueError(f"{where}: bounds must be rising lengths, got {bounds}")
    if lengths.max(initial=0) > edges[-1]:
        raise ValueError(
            f"{where}: a sequence of {lengths.max()} steps is longer than the last "
            f"bound, {edges[-1]}"
        )
    return edges
