# SPDX-License-Identifier: Apache-2.0
"""How messages name a value."""

from typing import Any

import jax
import numpy as np


def describe(x: Any) -> str:
    """Return dtype and shape, such as `float32[5,2]`."""
    return f"{x.dtype}[{','.join(map(str, x.shape))}]"


def outline(tree: Any) -> str:
    """Return what a value is, in one line: an array, a tuple of named parts, a type."""
    is_array = isinstance(getattr(tree, "shape", None), tuple)
    if tree is None or (is_array and hasattr(tree, "dtype")):
        return "None" if tree is None else describe(tree)
    name = type(tree).__name__
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        parts = zip(tree._fields, tree, strict=True)
        each = (k if hasattr(v, "dtype") else f"{k}={outline(v)}" for k, v in parts)
        return f"{name}({', '.join(each)})"
    return f"{name} of {len(tree)}" if hasattr(tree, "__len__") else name


def shapes(tree: Any) -> str:
    """Return a tree in one line, with dtype and shape in the place of each array."""
    return str(jax.tree.map(outline, tree)).replace("'", "")


def given(value: Any) -> tuple[str, str]:
    """Return how a message names a value that was refused, and the fix it suggests."""
    if isinstance(value, type):
        return f"the class {value.__name__}", ""
    if isinstance(value, jax.Array):
        is_number = value.ndim == 0 and not jax.dtypes.issubdtype(
            value.dtype, jax.dtypes.prng_key
        )
        fix = "under jit make it static: static_argnames" if is_number else ""
        return describe(value), fix
    if isinstance(value, np.ndarray):
        return describe(value), ""
    shown = repr(value)
    return shown if len(shown) <= 80 else f"{shown[:77]}...", ""


def is_class(where: str, argument: str, value: type, how: str) -> str:
    """Return the message for a class in place of its object; `how` it is called."""
    name = value.__name__
    return f"{where}: {argument} is the class {name}; build one first: " + how.format(
        name
    )
