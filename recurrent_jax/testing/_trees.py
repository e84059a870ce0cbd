# SPDX-License-Identifier: Apache-2.0
"""Helpers of the laws for pytrees of arrays."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def is_float(x: Any) -> bool:
    """Return whether an array has a floating-point dtype."""
    return jnp.issubdtype(x.dtype, jnp.floating)


def floats(tree: Any) -> list[Any]:
    """Return the floating-point arrays of a pytree."""
    return [a for a in jax.tree.leaves(tree) if is_float(a)]


def with_floats(tree: Any, floats: list[Any]) -> Any:
    """Return the pytree with other floats. Integers, such as a counter, are kept."""
    given = iter(floats)
    return jax.tree.map(lambda a: next(given) if is_float(a) else a, tree)


def cast(tree: Any, dtype: str) -> Any:
    """Return the pytree with its floats in another precision, as NumPy arrays."""

    def one(a: Any) -> Any:
        return np.asarray(a).astype(jnp.dtype(dtype)) if is_float(a) else a

    return jax.tree.map(one, tree)


def waves(like: Any) -> Any:
    """Return arrays of the same shapes, in which the numbers differ."""
    leaves, tree = jax.tree.flatten(like)
    waves = [
        np.cos(np.arange(leaf.size) + n).reshape(leaf.shape).astype(leaf.dtype)
        for n, leaf in enumerate(leaves, start=1)
    ]
    return jax.tree.unflatten(tree, waves)


def weigh(tree: Any) -> jax.Array:
    """Return a weighted sum of all floats in a pytree, with different weights."""
    products = jax.tree.map(
        lambda a, w: jnp.sum(a * w) if is_float(a) else 0.0, tree, waves(tree)
    )
    return sum(jax.tree.leaves(products), start=jnp.zeros(()))


def stack(trees: list[Any]) -> Any:
    """Return pytrees stacked along a new first axis."""
    return jax.tree.map(lambda *leaves: np.stack(leaves), *trees)


def at(tree: Any, t: Any) -> Any:
    """Return one step of a sequence, or one row of a carry."""
    return jax.tree.map(lambda a: a[t], tree)


def cut(tree: Any, start: int, stop: int | None) -> Any:
    """Return the steps from `start` to before `stop`."""
    return jax.tree.map(lambda a: a[start:stop], tree)


def sequence(tree: Any, b: Any) -> Any:
    """Return one or more sequences of a time-major batch."""
    return jax.tree.map(lambda a: a[:, b], tree)


def row(result: tuple[Any, Any], b: Any) -> tuple[Any, Any]:
    """Return the part of a result of `unroll` for one or more sequences."""
    carry, ys = result
    return at(carry, b), sequence(ys, b)


def merged(result: tuple[Any, Any]) -> tuple[Any, Any]:
    """Return a result of `unroll` with its two batch axes merged into one."""
    carry, ys = result
    return (
        jax.tree.map(lambda c: c.reshape(c.shape[0] * c.shape[1], *c.shape[2:]), carry),
        jax.tree.map(
            lambda y: y.reshape(len(y), y.shape[1] * y.shape[2], *y.shape[3:]), ys
        ),
    )


def spoil(tree: Any, where: np.ndarray, junk: float) -> Any:
    """Return the pytree with `junk` in its float arrays at the steps in `where`."""

    def one(a: Any) -> Any:
        flags = where.reshape(where.shape + (1,) * (a.ndim - where.ndim))
        return np.where(flags, np.asarray(junk, a.dtype), a) if is_float(a) else a

    return jax.tree.map(one, tree)


def hidden(tree: Any, valid: np.ndarray) -> tuple[Any, Any]:
    """Return the values of a pytree at skipped steps, and zeros to compare with."""
    got = spoil(floats(tree), valid, 0.0)
    return got, jax.tree.map(np.zeros_like, got)
