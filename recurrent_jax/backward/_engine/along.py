# SPDX-License-Identifier: Apache-2.0
"""Tangents of trees that hold integers: those of the floats, None for the others."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from recurrent_jax._core.arrays import is_float


def along(function: Callable[[Any], Any], primals: Any, tangents: Any) -> Any:
    """Return the tangent of `function(primals)`."""
    return floats(jax.jvp(function, (primals,), (filled(tangents, primals),))[1])


def filled(tangents: Any, primals: Any) -> Any:
    """Return tangents with what JAX takes for those of integers."""
    left = iter(jax.tree.leaves(tangents))

    def one(a: jax.Array) -> Any:
        return next(left) if is_float(a) else np.zeros(a.shape, jax.dtypes.float0)

    return jax.tree.map(one, primals)


def floats(tree: Any) -> Any:
    """Return a tree with None in the place of everything but floats."""
    return jax.tree.map(lambda a: a if is_float(a) else None, tree)


def put(some: list[Any], tree: Any) -> Any:
    """Return `tree` with other arrays in the place of its floats."""
    left = iter(some)
    return jax.tree.map(lambda a: next(left) if is_float(a) else a, tree)
