# SPDX-License-Identifier: Apache-2.0
"""What laws do to trees of arrays."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def is_float(x: Any) -> bool:
    """Say whether an array holds floats of any size."""
    return jnp.issubdtype(x.dtype, jnp.floating)


def floats(tree: Any) -> list[Any]:
    """Return the arrays of floats."""
    return [a for a in jax.tree.leaves(tree) if is_float(a)]


def with_floats(tree: Any, floats: list[Any]) -> Any:
    """Return the tree with other floats; a counter in it stays as it is."""
    given = iter(floats)
    return jax.tree.map(lambda a: next(given) if is_float(a) else a, tree)


def cast(tree: Any, dtype: str) -> Any:
    """Return the tree with its floats in another precision, in NumPy."""

    def one(a: Any) -> Any:
        return np.asarray(a).astype(jnp.dtype(dtype)) if is_float(a) else a

    return jax.tree.map(one, tree)


def waves(like: Any) -> Any:
    """Return numbers in place of each array, no two alike."""
    leaves, tree = jax.tree.flatten(like)
    waves = [
        np.cos(np.arange(leaf.size) + n).reshape(leaf.shape).astype(leaf.dtype)
        for n, leaf in enumerate(leaves, start=1)
    ]
    return jax.tree.unflatten(tree, waves)


def weigh(tree: Any) -> jax.Array:
    """Return a linear function of all floats in a tree, every weight another."""
    products = jax.tree.map(
        lambda a, w: jnp.sum(a * w) if is_float(a) else 0.0, tree, waves(tree)
    )
    return sum(jax.tree.leaves(products), start=jnp.zeros(()))


def stack(trees: list[Any]) -> Any:
    """Return trees as one, along a new first axis."""
    return jax.tree.map(lambda *leaves: np.stack(leaves), *trees)


def at(tree: Any, t: Any) -> Any:
    """Return one step of a sequence, or one row of a carry."""
    return jax.tree.map(lambda a: a[t], tree)


def cut(tree: Any, start: int, stop: int | None) -> Any:
    """Return the steps from `start` to before `stop`."""
    return jax.tree.map(lambda a: a[start:stop], tree)


def sequence(tree: Any, b: Any) -> Any:
    """Return one sequence, or some, of a batch that is time first."""
    return jax.tree.map(lambda a: a[:, b], tree)


def row(result: tuple[Any, Any], b: Any) -> tuple[Any, Any]:
    """Return what `unroll` gave for one sequence, or some."""
    carry, ys = result
    return at(carry, b), sequence(ys, b)


def merged(result: tuple[Any, Any]) -> tuple[Any, Any]:
    """Return what `unroll` gave for two batch axes, with one in their place."""
    carry, ys = result
    return (
        jax.tree.map(lambda c: c.reshape(c.shape[0] * c.shape[1], *c.shape[2:]), carry),
        jax.tree.map(
            lambda y: y.reshape(len(y), y.shape[1] * y.shape[2], *y.shape[3:]), ys
        ),
    )


def spoil(tree: Any, where: np.ndarray, junk: float) -> Any:
    """Return the tree with `junk` in its float arrays at the steps in `where`."""

    def one(a: Any) -> Any:
        flags = where.reshape(where.shape + (1,) * (a.ndim - where.ndim))
        return np.where(flags, np.asarray(junk, a.dtype), a) if is_float(a) else a

    return jax.tree.map(one, tree)


def hidden(tree: Any, valid: np.ndarray) -> tuple[Any, Any]:
    """Return what a tree holds at skipped steps, and zeros to compare with."""
    got = spoil(floats(tree), valid, 0.0)
    return got, jax.tree.map(np.zeros_like, got)
