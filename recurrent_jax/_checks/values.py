# SPDX-License-Identifier: Apache-2.0
"""Checks of single values: a size, a rate, an array."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from recurrent_jax._checks.kinds import Choice, Integer, Number
from recurrent_jax._checks.words import describe, is_class, outline


def built(where: str, argument: str, value: Any, how: str) -> None:
    """Check that a value is not the class that makes it; `how` it is called."""
    if isinstance(value, type):
        raise TypeError(is_class(where, argument, value, how))


def instance(where: str, cell: Any, order: str = "") -> None:
    """Check that a cell is a cell, and not its class."""
    built(where, "cell", cell, "{}(hidden_size=...)")
    if not hasattr(cell, "recur"):
        raise TypeError(
            f"{where}: cell must be a recurrent_jax.Cell, got {type(cell).__name__}"
            + (f"; the order is {order}" if order else "")
        )


def integer(where: str, argument: str, value: Any) -> None:
    """Check that a number is an integer, known before tracing."""
    Integer().check(where, argument, value)


def size(where: str, argument: str, value: Any, least: int = 1) -> None:
    """Check one size: an integer of at least 1, or what is the least."""
    Integer(least=least).check(where, argument, value)


def choice(where: str, argument: str, value: Any, options: tuple[Any, ...]) -> None:
    """Check a field that takes one of a few values."""
    Choice(options).check(where, argument, value)


def above(
    where: str, argument: str, value: Any, least: float, most: float | None = None
) -> None:
    """Check a number above `least`, and at most `most` if that is given."""
    Number(above=least, most=most).check(where, argument, value)


def bound(where: str, argument: str, value: Any) -> None:
    """Check the bound of a clip: None, or positive and finite."""
    if value is not None:
        hint = "None switches it off"
        Number(above=0, hint=hint).check(where, argument, value)


def rate(where: str, argument: str, value: Any) -> None:
    """Check the rate of a dropout: a number from 0 to below 1."""
    hint = "it is the share that is dropped, not the share that is kept"
    Number(least=0, below=1, hint=hint).check(where, argument, value)


def square(where: str, shape: tuple[int, ...]) -> None:
    """Check that a matrix is square."""
    if len(shape) != 2 or shape[0] != shape[1]:
        raise ValueError(
            f"{where}: needs a square matrix, got the shape {shape}; it is for "
            "recurrent kernels, gate by gate"
        )


def blocks(where: str, count: int, units: int) -> None:
    """Check that blocks divide the units."""
    size(where, "blocks", count)
    if units % count:
        raise ValueError(f"{where}: {count} blocks do not divide {units} units")


def alive(where: str, argument: str, value: Any) -> None:
    """Check that an array was not deleted, as one that was donated is."""
    is_array = isinstance(value, jax.Array) and not isinstance(value, jax.core.Tracer)
    if is_array and value.is_deleted():
        raise ValueError(
            f"{where}: {argument} holds an array that was deleted, {describe(value)}, "
            "as one that was donated is; pass what the call returned"
        )


def array(where: str, argument: str, value: Any) -> jax.Array:
    """Return an array made of whatever JAX takes for one."""
    alive(where, argument, value)
    # A key has no weak type.
    if isinstance(value, jax.Array) and not getattr(value, "weak_type", False):
        return value
    try:
        return jnp.asarray(value)
    except (TypeError, ValueError, OverflowError, RuntimeError) as error:
        reason = str(error).rstrip(".")
        reason = reason if len(reason) < 300 else f"{reason[:200]} ..."
        raise TypeError(
            f"{where}: {argument} must be arrays. {reason}{_numbers(argument, value)}"
        ) from error


def _numbers(argument: str, value: Any) -> str:
    """Return the likely fix for a table of which not all columns are numbers."""
    kinds: Any = getattr(value, "dtypes", getattr(value, "dtype", None))
    if not any(str(kind)[:4] in ("obje", "date", "stri") for kind in np.ravel(kinds)):
        return ""
    return (
        f". Columns of times and of words are no numbers: {argument} may have the "
        "columns of numbers alone, such as frame[names].to_numpy('float32')"
    )


def arrays(where: str, argument: str, tree: Any) -> Any:
    """Return a tree with arrays for leaves."""
    return jax.tree.map(lambda leaf: array(where, argument, leaf), tree)


def alike(where: str, argument: str, expected: Any, given: Any) -> None:
    """Check that a tree is built as another one, of arrays of the same types."""

    def kinds(tree: Any) -> Any:
        leaves, structure = jax.tree.flatten(tree)
        return structure, [(jnp.shape(a), jnp.result_type(a)) for a in leaves]

    try:
        same = kinds(expected) == kinds(given)
    except TypeError:  # a leaf is no array
        same = False
    if not same:
        raise TypeError(
            f"{where}: {argument} must be {outline(expected)}, got {outline(given)}"
        )


def one_array(where: str, xs: Any, why: str) -> None:
    """Check that an input is a single array."""
    if not hasattr(xs, "dtype"):
        raise TypeError(
            f"{where}: the input must be one array, got {outline(xs)}; {why}"
        )


def float_dtype(params: Any, x: Any) -> Any:
    """Return the dtype that a cell computes in: that of its first float array."""
    for leaf in jax.tree.leaves((params, x)):
        if jnp.issubdtype(leaf.dtype, jnp.floating):
            return leaf.dtype
    return jnp.zeros(()).dtype
