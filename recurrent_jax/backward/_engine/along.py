# SPDX-License-Identifier: Apache-2.0
"""Tangents of trees that contain integers.

A float has an array as its tangent. Every other leaf has None.
"""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from recurrent_jax._core.arrays import is_float


def along(function: Callable[[Any], Any], primals: Any, tangents: Any) -> Any:
    """Return the tangent of `function(primals)`."""
    return floats(jax.jvp(function, (primals,), (filled(tangents, primals),))[1])


def filled(tangents: Any, primals: Any) -> Any:
    """Return tangents with `float0` zeros for integers, as `jax.jvp` expects."""
    left = iter(jax.tree.leaves(tangents))

    def one(a: jax.Array) -> Any:
        return next(left) if is_float(a) else np.zeros(a.shape, jax.dtypes.float0)

    return jax.tree.map(one, primals)


def floats(tree: Any) -> Any:
    """Return a tree in which None replaces every leaf that is not a float."""
    return jax.tree.map(lambda a: a if is_float(a) else None, tree)


def put(some: list[Any], tree: Any) -> Any:
    """Return `tree` with its floats replaced by the arrays in `some`."""
    left = iter(some)
    return jax.tree.map(lambda a: next(left) if is_float(a) else a, tree)
