# SPDX-License-Identifier: Apache-2.0
"""Groups of state numbers that a step computes without reading other groups."""

import functools
import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np

from recurrent_jax._core.arrays import is_float
from recurrent_jax._core.groups import NONE, groups


class Partition(NamedTuple):
    """The numbers of a state, in groups of one size.

    Attributes:
        index: the places of each group's numbers in the state, `(groups, n)`.
        exact: whether no group reads another, so that the Jacobian of a step is
            block-diagonal.
    """

    index: tuple[tuple[int, ...], ...]
    exact: bool

    @property
    def size(self) -> int:
        """The numbers in a group."""
        return len(self.index[0])

    def split(self, vector: jax.Array) -> jax.Array:
        """Return `(*lead, S)` as `(*lead, groups, n)`."""
        index = np.asarray(self.index)
        if not np.array_equal(index.ravel(), np.arange(index.size)):
            vector = vector[..., index.ravel()]
        return vector.reshape(*vector.shape[:-1], *index.shape)

    def merge(self, parts: jax.Array) -> jax.Array:
        """Return `(*lead, groups, n)` as `(*lead, S)`."""
        index = np.asarray(self.index).ravel()
        vector = parts.reshape(*parts.shape[:-2], index.size)
        if np.array_equal(index, np.arange(index.size)):
            return vector
        return vector[..., np.argsort(index)]


def exact_partition(step: Callable[..., Any], carry: Any, *others: Any) -> Partition:
    """Return the smallest groups for which `step(carry, *others)` is block-diagonal.

    Args:
        step: a function that returns the carry after a step of one sequence.
        carry: the shapes and dtypes of the carry, without batch axes.
        others: what else the step reads.
    """
    leaves = jax.tree.leaves((carry, others))
    structs = tuple((a.shape, a.dtype) for a in leaves)
    return _exact(step, jax.tree.structure((carry, others)), structs)


@functools.lru_cache(maxsize=512)
def _exact(step: Callable[..., Any], tree: Any, structs: Any) -> Partition:
    leaves = [jax.ShapeDtypeStruct(*struct) for struct in structs]
    carry, others = jax.tree.unflatten(tree, leaves)
    fixed = jax.tree.map(lambda _: NONE, others)
    for ids in _candidates(carry):
        given = jax.tree.unflatten(jax.tree.structure(carry), ids)
        found = jax.tree.leaves(groups(step, (carry, *others), (given, *fixed)))
        pairs = zip(found, ids, strict=True)
        if all(((a == NONE) | (a == b)).all() for a, b in pairs):
            return Partition(_index(ids), exact=True)
    return whole(carry)


def whole(carry: Any) -> Partition:
    """Return all numbers of a state as one group."""
    return Partition((tuple(range(count(carry))),), exact=True)


def units(carry: Any) -> Partition:
    """Return the groups of numbers that have one place in all parts of a carry.

    These are h and c of each unit of an LSTM. If the parts differ in size, each number
    is a group. The groups are not claimed to be exact.
    """
    ids = next(_candidates(carry))
    return Partition(_index(ids), exact=False)


def singles(carry: Any) -> Partition:
    """Return each number of a state as a group of its own."""
    return Partition(tuple((n,) for n in range(count(carry))), exact=False)


def count(carry: Any) -> int:
    """Return how many floats a carry without batch axes has."""
    return sum(a.size for a in jax.tree.leaves(carry) if is_float(a))


def _candidates(carry: Any) -> Iterator[list[Any]]:
    """Return groups to try, as arrays like the leaves, from small to large groups."""
    shapes = [a.shape for a in jax.tree.leaves(carry)]
    sizes = {math.prod(shape) for shape in shapes}
    if len(sizes) == 1:
        yield [np.arange(math.prod(shape)).reshape(shape) for shape in shapes]
    else:
        ends = np.cumsum([0, *map(math.prod, shapes)])
        yield [
            np.arange(math.prod(shape)).reshape(shape) + end
            for shape, end in zip(shapes, ends[:-1], strict=True)
        ]
    if all(shapes) and len({shape[-1] for shape in shapes}) == 1:
        yield [np.indices(shape)[-1] for shape in shapes]
    if all(shapes) and len({shape[0] for shape in shapes}) == 1:
        for size in range(1, shapes[0][0]):  # heads: neighbours on the first axis
            if shapes[0][0] % size == 0:
                yield [np.indices(shape)[0] // size for shape in shapes]


def _index(ids: list[Any]) -> tuple[tuple[int, ...], ...]:
    """Return the places of each group's numbers."""
    flat = np.concatenate([a.ravel() for a in ids])
    order = np.argsort(flat, kind="stable").reshape(flat.max() + 1, -1)
    return tuple(tuple(map(int, row)) for row in order)


def row(tree: Any, lead: int) -> Any:
    """Return the shapes and dtypes of arrays without their leading axes."""

    def one(a: Any) -> Any:
        if a.ndim < lead:
            raise ValueError(f"needs {lead} leading axes, got shape {a.shape}")
        return jax.ShapeDtypeStruct(a.shape[lead:], a.dtype)

    return jax.tree.map(one, tree)
