# SPDX-License-Identifier: Apache-2.0
"""Residuals saved for the backward pass.

Values that are cheap to recompute, or already stored elsewhere, are not saved.
"""

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

# Primitives that cost more to recompute than to save.
_COSTLY = "tanh logistic exp exp2 expm1 log log1p erf sin cos pow rsqrt".split()
# The places where an array may already be stored, so that it need not be saved.
_PARAMS, _CARRY, _OUTPUT = range(3)


def stacked(plan: Plan, before: Any) -> list[Any]:
    """Return the leaves of a carry that are saved, and None for the others."""
    leaves = jax.tree.leaves(before)
    return [leaf if n in plan.stacked else None for n, leaf in enumerate(leaves)]


def with_late(plan: Plan, loop: Loop, carry: Any, ys: Any, kept: list[Any]) -> Any:
    """Return the saved leaves of the carries before all steps.

    Leaves that equal the output are read from the outputs of one step earlier.
    """

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
    """Return the carries before all steps, with zeros for leaves that are not read."""
    firsts, structure = jax.tree.flatten(carry)
    return structure.unflatten(
        [
            jnp.zeros((loop.time, *first.shape), first.dtype) if leaf is None else leaf
            for first, leaf in zip(firsts, kept, strict=True)
        ]
    )


def linearise(plan: Plan, params: Any, before: Any, inputs: Any) -> Any:
    """Return the values of `update`, and its derivative as arrays that scan can stack.

    Arrays that are already stored elsewhere are left out of the derivative. To restore
    it, call it with the parameters, the saved leaves of the carry, and the output. The
    restored derivative maps a list of tangents of floats to another such list.
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
    return (after, y), Partial(_Whole(structure, places), rest)


class _Whole:
    """Restores the derivative of a step from the residuals that `linearise` saved."""

    def __init__(
        self, structure: Any, places: tuple[tuple[int, int] | None, ...]
    ) -> None:
        self.structure, self.places = structure, places

    def __call__(self, rest: Any, params: Any, before: Any, y: Any) -> Any:
        left = iter(rest)
        there = {
            _PARAMS: jax.tree.leaves(params),
            _CARRY: before,
            _OUTPUT: jax.tree.leaves(y),
        }
        return self.structure.unflatten(
            [next(left) if at is None else there[at[0]][at[1]] for at in self.places]
        )

    def __eq__(self, other: object) -> bool:
        # Without jit, `scan` linearises every step anew, and stacks what is equal.
        is_python: bool = jax.config.jax_disable_jit  # type: ignore[attr-defined]
        if is_python and isinstance(other, _Whole):
            return self.places == other.places
        return self is other

    def __hash__(self) -> int:
        return hash(self.places)


def _costly(plan: Plan) -> Any:
    """Return a `jax.checkpoint` policy that saves one costly result for each gate.

    Later results, such as tanh(c) in an LSTM, follow from these and the carry. A result
    that depends on the parameters only does not differ between steps, so it is not
    saved.
    """
    # A count of one gate may be a wrong guess, so it sets no limit.
    left = plan.gates if plan.gates > 1 else math.inf
    batch_shape = plan.static.batch_shape

    def policy(primitive: Any, *avals: Any, **_: Any) -> bool:
        nonlocal left
        costly = primitive.name in _COSTLY
        costly = costly and avals[0].shape[: len(batch_shape)] == batch_shape
        left -= costly
        return costly and left >= 0

    return policy
