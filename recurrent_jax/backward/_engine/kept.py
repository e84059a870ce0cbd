# SPDX-License-Identifier: Apache-2.0
"""What is kept of the steps for their gradient: nothing twice, and nothing cheap."""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
from jax.tree_util import Partial

from recurrent_jax._loop.loop import Loop
from recurrent_jax.backward._engine.along import floats, put
from recurrent_jax.backward._engine.gates import update_mixed
from recurrent_jax.backward._engine.plan import Plan

# Dearer to compute again than to keep.
_COSTLY = "tanh logistic exp exp2 expm1 log log1p erf sin cos pow rsqrt".split()
# Where an array is found that need not be stacked.
_PARAMS, _CARRY, _OUTPUT = range(3)


def stacked(plan: Plan, before: Any) -> list[Any]:
    """Return the leaves of a carry that are kept as they are, None for the others."""
    leaves = jax.tree.leaves(before)
    return [leaf if n in plan.stacked else None for n, leaf in enumerate(leaves)]


def with_late(plan: Plan, loop: Loop, carry: Any, ys: Any, kept: list[Any]) -> Any:
    """Return kept leaves of all carries, with those that the outputs give, late."""

    def late(first: jax.Array) -> jax.Array:
        (y,) = jax.tree.leaves(ys)
        parts = [y[1:], first[None]] if loop.reverse else [first[None], y[:-1]]
        return jnp.concatenate(parts)

    firsts = jax.tree.leaves(carry)
    return [
        late(first) if n in plan.late else leaf
        for n, (first, leaf) in enumerate(zip(firsts, kept, strict=True))
    ]


def completed(loop: Loop, carry: Any, kept: list[Any]) -> Any:
    """Return all carries; zeros for the leaves of which nobody reads anything."""
    firsts, structure = jax.tree.flatten(carry)
    return structure.unflatten(
        [
            jnp.zeros((loop.time, *first.shape), first.dtype) if leaf is None else leaf
            for first, leaf in zip(firsts, kept, strict=True)
        ]
    )


def linearise(plan: Plan, params: Any, before: Any, inputs: Any) -> Any:
    """Return update's values, and its derivative as arrays that scan can stack.

    Of these arrays, those that are there anyway are left out. What is stacked gives the
    derivative back when it is called with the parameters, the kept leaves of the carry
    and the output; it maps lists of tangents, those of floats.
    """
    step = functools.partial(update_mixed, plan, params)
    light = jax.checkpoint(step, policy=_costly(plan), prevent_cse=False)

    def of_floats(some: list[jax.Array]) -> tuple[Any, Any]:
        out = light(*put(some, (before, inputs)))
        return jax.tree.leaves(floats(out)), out

    some = jax.tree.leaves(floats((before, inputs)))
    _, linear, (after, y) = jax.linearize(of_floats, some, has_aux=True)
    leaves, structure = jax.tree.flatten(linear)
    there = {
        **{id(leaf): (_PARAMS, n) for n, leaf in enumerate(jax.tree.leaves(params))},
        **{
            id(leaf): (_CARRY, n)
            for n, leaf in enumerate(jax.tree.leaves(before))
            if n in plan.stacked | plan.late
        },
    }
    if plan.late:
        there |= {id(leaf): (_OUTPUT, 0) for leaf in jax.tree.leaves(y)}
    places = tuple(there.get(id(leaf)) for leaf in leaves)
    rest = [leaf for leaf, place in zip(leaves, places, strict=True) if place is None]
    return (after, y), Partial(functools.partial(_whole, structure, places), rest)


def _whole(
    structure: Any,
    places: tuple[tuple[int, int] | None, ...],
    rest: Any,
    params: Any,
    before: Any,
    y: Any,
) -> Any:
    """Return the derivative of a step from what `linearise` left of it."""
    left = iter(rest)
    there = {
        _PARAMS: jax.tree.leaves(params),
        _CARRY: before,
        _OUTPUT: jax.tree.leaves(y),
    }
    return structure.unflatten(
        [next(left) if at is None else there[at[0]][at[1]] for at in places]
    )


def _costly(plan: Plan) -> Any:
    """Return a policy that keeps as many costly results as there are gates.

    What comes later, as tanh(c) does in an LSTM, follows from those and the carry. And
    what is made of parameters alone is not a result of each step.
    """
    left = plan.gates if plan.gates > 1 else math.inf  # one gate may be a bad guess
    batch_shape = plan.static.batch_shape

    def policy(primitive: Any, *avals: Any, **_: Any) -> bool:
        nonlocal left
        costly = primitive.name in _COSTLY
        costly = costly and avals[0].shape[: len(batch_shape)] == batch_shape
        left -= costly
        return costly and left >= 0

    return policy
