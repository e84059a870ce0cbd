# SPDX-License-Identifier: Apache-2.0
"""How messages name a value."""

from typing import Any

import jax


def describe(x: Any) -> str:
    """Return dtype and shape, such as `float32[5,2]`."""
    return f"{x.dtype}[{','.join(map(str, x.shape))}]"


def outline(tree: Any) -> str:
    """Return what a value is, in one line: an array, a tuple of named parts, a type."""
    if tree is None or hasattr(tree, "dtype"):
        return "None" if tree is None else describe(tree)
    name = type(tree).__name__
    if hasattr(tree, "_fields"):
        parts = zip(tree._fields, tree, strict=True)
        each = (k if hasattr(v, "dtype") else f"{k}={outline(v)}" for k, v in parts)
        return f"{name}({', '.join(each)})"
    return f"{name} of {len(tree)}" if hasattr(tree, "__len__") else name


def shapes(tree: Any) -> str:
    """Return a tree in one line, with dtype and shape in the place of each array."""
    return str(jax.tree.map(outline, tree)).replace("'", "")
