# SPDX-License-Identifier: Apache-2.0
"""The comparison of two results, and the error for a difference."""

from typing import Any

import jax
import numpy as np

from recurrent_jax import _checks
from recurrent_jax.testing._trees import is_float

_TOLERANCE = {"float64": 1e-10, "float32": 1e-5, "float16": 1e-2, "bfloat16": 1e-1}


class LawViolation(AssertionError):
    """A cell breaks a law. The message says which law, and how."""


def alike(how: str, one: Any, but: str, other: Any) -> None:
    """Check that two pytrees have the same structure, shapes and dtypes.

    The message of a violation is `how`, the first, `but`, the second.
    """
    if jax.tree.structure(one) != jax.tree.structure(other):
        raise LawViolation(
            f"{how} {jax.tree.structure(one)} {but} {jax.tree.structure(other)}"
        )
    pairs = zip(jax.tree.leaves_with_path(one), jax.tree.leaves(other), strict=True)
    for (path, a), b in pairs:
        if (a.shape, a.dtype) != (b.shape, b.dtype):
            where = jax.tree_util.keystr(path) or "the whole"
            raise LawViolation(
                f"{how} {_checks.describe(a)} {but} {_checks.describe(b)}: {where}"
            )


def same(how: str, got: Any, want: Any, tolerance: float | None = None) -> None:
    """Check that two pytrees are equal. NaN is equal to nothing."""
    alike(f"{how}:", got, "is not", want)
    pairs = zip(jax.tree.leaves_with_path(got), jax.tree.leaves(want), strict=True)
    for (path, a), b in pairs:
        where = jax.tree_util.keystr(path)
        if not is_float(a):
            if not np.array_equal(a, b):
                raise LawViolation(f"{how}: {where} is {a}, not {b}")
            continue
        allowed = tolerance or _TOLERANCE[str(a.dtype)]
        a, b = np.asarray(a, "float64"), np.asarray(b, "float64")
        worst = np.max(np.abs(a - b), initial=0.0)
        scale = max(1.0, np.max(np.abs(b), initial=0.0))
        if not worst <= allowed * scale:
            raise LawViolation(f"{how}: {where} differs by {worst:.2g}")


def finite(how: str, tree: Any) -> None:
    """Check that all floats of a pytree are finite."""
    for path, leaf in jax.tree.leaves_with_path(tree):
        if is_float(leaf) and not np.all(np.isfinite(np.asarray(leaf, "float64"))):
            raise LawViolation(
                f"{how} that is not finite: {jax.tree_util.keystr(path)}"
            )
