# SPDX-License-Identifier: Apache-2.0
"""Checks of single values: a size, a rate, the fields of a cell, an array."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from recurrent_jax._checks.words import outline


def fields(cell: Any) -> None:
    """Check the fields of a cell: hashable, sizes positive, functions callable."""
    name = type(cell).__name__
    for field in dataclasses.fields(cell):
        value = getattr(cell, field.name)
        try:
            hash(value)
        except TypeError:
            raise TypeError(
                f"{name}: field {field.name!r} holds a {type(value).__name__}, which "
                "does not hash, so jit could not tell one cell from another; fields "
                "are numbers, strings, functions and tuples of them. An array belongs "
                "into the parameters that init returns"
            ) from None
        if field.name == "hidden_size":
            size(name, field.name, value)
        by_gate = isinstance(value, tuple) and field.name.endswith("_init")
        if callable(field.default) and not all(
            map(callable, value if by_gate else (value,))
        ):
            raise TypeError(
                f"{name}: field {field.name!r} must be a function, got {value!r}; "
                "pass one such as jax.numpy.tanh"
            )


def built(where: str, argument: str, value: Any, how: str) -> None:
    """Check that a value is not the class that makes it; `how` it is called."""
    if isinstance(value, type):
        name = value.__name__
        raise TypeError(
            f"{where}: {argument} is the class {name}; build one first: "
            + how.format(name)
        )


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
    if not isinstance(value, int | np.integer) or isinstance(value, bool):
        got = outline(value) if hasattr(value, "dtype") else repr(value)
        raise TypeError(f"{where}: {argument} must be a Python integer, got {got}")


def size(where: str, argument: str, value: Any, least: int = 1) -> None:
    """Check one size: an integer of at least 1, or what is the least."""
    integer(where, argument, value)
    if value < least:
        raise ValueError(f"{where}: {argument} must be at least {least}, got {value}")


def choice(where: str, argument: str, value: Any, options: tuple[Any, ...]) -> None:
    """Check a field that takes one of a few values."""
    if value not in options:
        raise ValueError(
            f"{where}: {argument} must be one of {list(options)}, got {value!r}"
        )


def above(
    where: str, argument: str, value: Any, least: float, most: float | None = None
) -> None:
    """Check a number above `least`, and at most `most` if that is given."""
    if not isinstance(value, int | float | np.number) or isinstance(value, bool):
        raise TypeError(f"{where}: {argument} must be a number, got {value!r}")
    if not least < value <= (float("inf") if most is None else most):
        limit = "" if most is None else f" and at most {most}"
        raise ValueError(
            f"{where}: {argument} must be above {least}{limit}, got {value}"
        )


def bound(where: str, argument: str, value: Any) -> None:
    """Check the bound of a clip: None, or positive and finite."""
    if value is not None and not 0 < value < float("inf"):
        raise ValueError(
            f"{where}: {argument} must be positive and finite, got {value}; "
            "None switches it off"
        )


def rate(where: str, argument: str, value: Any) -> None:
    """Check the rate of a dropout: a number from 0 to below 1."""
    if not 0 <= value < 1:
        raise ValueError(
            f"{where}: {argument} must be at least 0 and below 1, got {value}; it is "
            "the share that is dropped, not the share that is kept"
        )


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


def array(where: str, argument: str, value: Any) -> jax.Array:
    """Return an array made of whatever JAX takes for one."""
    try:
        return jnp.asarray(value)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{where}: {argument} must be arrays. {error}") from error


def arrays(where: str, argument: str, tree: Any) -> Any:
    """Return a tree with arrays for leaves."""
    return jax.tree.map(lambda leaf: array(where, argument, leaf), tree)


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
