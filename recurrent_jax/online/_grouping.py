# SPDX-License-Identifier: Apache-2.0
"""Which group of the state each parameter acts on, read from a step of the cell."""

import dataclasses
import functools
from typing import Any

import jax
import numpy as np

from recurrent_jax._core.arrays import is_float
from recurrent_jax._core.groups import MANY, NONE, groups
from recurrent_jax._core.partition import Partition, exact_partition, units
from recurrent_jax._core.vectors import to_carry, to_vector
from recurrent_jax.online._influence import Grouped, Move
from recurrent_jax.online._learner import batch_of


def owners_of(
    move: Move, partition: Partition, params: Any, carry: Any, x: Any
) -> Any | None:
    """Return the group that each parameter acts on, or None if one acts on several."""
    S = sum(map(len, partition.index))
    ids = np.empty(S, np.int32)
    for number, group in enumerate(partition.index):
        ids[list(group)] = number

    def pull(cotangent: Any, params: Any, carry: Any, x: Any) -> Any:
        before = to_vector(carry)

        def step(p: Any) -> Any:
            return move(p, before, before, carry, x), move.start(p, carry)

        return jax.vjp(step, params)[1]((cotangent, cotangent))[0]

    dtype = jax.tree.leaves(params)[0].dtype
    given = jax.ShapeDtypeStruct((S,), dtype), params, carry, x
    followed = (ids, *jax.tree.map(lambda _: NONE, given[1:]))
    owners = groups(pull, given, followed)
    if any((leaf == MANY).any() for leaf in jax.tree.leaves(owners)):
        return None
    return jax.tree.map(lambda a: np.maximum(a, 0), owners)


def grouped(move: Move, params: Any, x: Any, approximate: bool) -> Grouped | None:
    """Return the influence by groups, or None if only the dense one is right.

    Args:
        move: the step.
        params: the parameters.
        x: an input of a batch.
        approximate: whether groups that read each other will do, so that what they read
            of each other is dropped.
    """
    rank = len(batch_of(move.cell, x))

    def shapes(tree: Any, lead: int = 0) -> Any:
        return jax.tree.map(
            lambda a: jax.ShapeDtypeStruct(a.shape[lead:], a.dtype), tree
        )

    params, x = shapes(params), shapes(x, rank)
    leaves, tree = jax.tree.flatten((params, x))
    structs = tuple((a.shape, a.dtype) for a in leaves)
    return _grouped(move, tree, structs, approximate)


@functools.lru_cache(maxsize=128)
def _grouped(move: Move, tree: Any, structs: Any, approximate: bool) -> Any:
    params, x = jax.tree.unflatten(tree, [jax.ShapeDtypeStruct(*s) for s in structs])
    dtype = jax.tree.leaves(params)[0].dtype if jax.tree.leaves(params) else float
    carry = jax.eval_shape(lambda p: move.cell.initial_carry((), dtype, p), params)
    if not all(map(is_float, jax.tree.leaves(carry))):
        return None
    found = exact_partition(_Step(move), carry, carry, params, x)
    if not approximate and found.size == sum(map(len, found.index)) > 1:
        return None
    if approximate and found.size > units(carry).size:
        found = units(carry)
    owners = owners_of(move, found, params, carry, x)
    return None if owners is None else Grouped(move, found, owners)


@dataclasses.dataclass(frozen=True)
class _Step:
    """A move as a function of the carry alone that is followed."""

    move: Move

    def __call__(self, carry: Any, fed: Any, params: Any, x: Any) -> Any:
        after = self.move(params, to_vector(carry), to_vector(fed), fed, x)
        return to_carry(after, fed)
