# SPDX-License-Identifier: Apache-2.0
"""Checks of ragged sequences."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from recurrent_jax import _checks
from recurrent_jax._checks.input_kinds import OneArray


def sequences(where: str, sequences: Any) -> list[np.ndarray]:
    """Return sequences as arrays, after a check that they differ in length alone."""
    is_array = isinstance(sequences, np.ndarray | jax.Array) and sequences.ndim
    is_list = isinstance(sequences, Sequence) and not isinstance(sequences, str | bytes)
    if not is_array and not is_list:
        raise TypeError(
            f"{where}: sequences must be a list of arrays, got {sequences!r}"
        )
    arrays = []
    for n, each in enumerate(sequences):
        OneArray(least=1, axes="(length, ...)").check(where, f"sequences[{n}]", each)
        arrays.append(np.asarray(each))
    if not arrays:
        raise ValueError(f"{where}: sequences must hold at least one")
    # An empty list has no dtype and no features.
    filled = [a for a in arrays if a.size] or arrays
    shape, dtype = filled[0].shape[1:], filled[0].dtype
    for n, a in enumerate(arrays):
        if a.size and (a.shape[1:], a.dtype) != (shape, dtype):
            raise ValueError(
                f"{where}: sequences[{n}] is {_checks.describe(a)}, the first with any "
                f"steps {_checks.describe(filled[0])}; they may differ in length alone"
            )
    return [a if a.size else np.zeros((len(a), *shape), dtype) for a in arrays]


def fits(where: str, lengths: np.ndarray, time: Any, name: str = "time") -> int:
    """Return a number of steps that is enough for the longest sequence."""
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
    """Check the first two axes of an array to pack or unpack."""
    if a.shape[:2] != tuple(lead):
        raise ValueError(
            f"{where}: an array must begin with the axes {tuple(lead)} that the plan "
            f"was made for, (time, batch); got {_checks.describe(a)}"
        )


def some(where: str, lengths: np.ndarray) -> None:
    """Check that there is at least one length."""
    if not lengths.size:
        raise ValueError(f"{where}: lengths must hold at least one")


def rising(where: str, bounds: Any, lengths: np.ndarray) -> np.ndarray:
    """Return bounds after a check that they rise and that no sequence exceeds them."""
    OneArray("integer", least=1, axes="(n,)").check(where, "bounds", bounds)
    edges = np.asarray(bounds)
    if edges.ndim != 1 or not edges.size or (np.diff(edges) <= 0).any():
        raise ValueError(f"{where}: bounds must be rising lengths, got {bounds}")
    if lengths.max(initial=0) > edges[-1]:
        raise ValueError(
            f"{where}: a sequence of {lengths.max()} steps is longer than the last "
            f"bound, {edges[-1]}"
        )
    return edges


def one_each(where: str, lengths: np.ndarray, xs: Any) -> None:
    """Check that there is one length for each sequence."""
    if lengths.shape != xs.shape[1:2]:
        raise ValueError(
            f"{where}: lengths must be ({xs.shape[1]},), one for each sequence of xs "
            f"{_checks.describe(xs)}; got {_checks.describe(lengths)}"
        )
