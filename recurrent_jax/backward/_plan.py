# SPDX-License-Identifier: Apache-2.0
"""How a block of time is run: chosen from shapes and jaxprs, once, while tracing."""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from recurrent_jax._cell import Cell, lift
from recurrent_jax._loop import Loop, Static, part
from recurrent_jax.backward import _facts

# A cell of more gates than this is not cut: the guess of its gates may be wrong.
_MOST_GATES = 8
# Measured on CPU: the C library takes more than 32 MiB for temporary arrays from the
# system at each call, page by page, at 2 us a page. So from this many bytes of z it is
# faster to make the gates again, unless their products add up this many terms.
_LARGE, _DEEP = 2**24, 600
# An input so many times narrower than the state is best multiplied together with it.
_NARROW = 4


class Plan(NamedTuple):
    """How a block is run, never what it computes; hashable."""

    static: Static
    project: _facts.Product | None  # None: anything else
    feedback: _facts.Product | None
    summed: tuple[bool, ...]  # for each gate: z and u are read through their sum alone
    reads: bool  # update reads a parameter, as peepholes are read
    joint: bool  # one product of input and state in the forward, not one each
    keep: bool  # the gates; or else make them again, all steps of a block at once
    late: frozenset[int]  # the leaves of the carry that are the outputs, one step late
    stacked: frozenset[int]  # those that are kept as they are
    gates: int
    rows: int  # of one step: the size of the batch
    structure_of_u: Any


def make_plan(loop: Loop, carry: Any) -> Plan:
    """Return how to run the blocks of a loop."""
    cell = loop.cell
    feed = functools.partial(feedback, cell)
    params, x, carry = jax.eval_shape(
        lambda: (loop.params, jax.tree.map(lambda a: a[0], loop.xs), carry)
    )
    z = jax.eval_shape(cell.project, params, x)
    u = jax.eval_shape(feed, params, carry)
    width = max((a.shape[-1] for a in jax.tree.leaves(carry) if a.ndim), default=0)
    gates = _count_gates(z, width)
    rest = functools.partial(update, cell)
    facts = _facts.of_update(rest, params, carry, z, u, gates)
    rank = len(loop.batch_shape) + 1
    product = _facts.product(feed, params, carry, rank)
    project = _facts.product(cell.project, params, x, rank)
    depths = [
        jax.tree.leaves(params)[one.kernel].shape[0] if one else width
        for one in (project, product)
    ]
    joint = (
        project is not None
        and product is not None
        and project.precision == product.precision
        and len(jax.tree.leaves(x)) == 1
        and all(facts.summed)
    )
    total = sum(a.size * a.dtype.itemsize for a in jax.tree.leaves(z)) * loop.time
    keep = total <= _LARGE or sum(depths) > _DEEP or jax.default_backend() != "cpu"
    leaves = frozenset(range(len(jax.tree.leaves(carry))))
    late = facts.emitted if loop.flags == (None, None) else frozenset()
    fed = leaves if product is None else frozenset({product.source})
    return Plan(
        static=part(loop)[0],
        project=project,
        feedback=product,
        summed=facts.summed,
        reads=facts.reads,
        joint=joint and _NARROW * depths[0] <= depths[1],
        keep=keep,
        late=late,
        stacked=(fed if keep and not facts.reads else leaves) - late,
        gates=gates,
        rows=math.prod(loop.batch_shape),
        structure_of_u=jax.tree.structure(u),
    )


def feedback(cell: Cell, params: Any, carry: Any) -> Any:
    """Return the recurrent product; nothing for a cell that does not split."""
    return cell.feedback(params, carry) if cell.splits else ()


def update(cell: Cell, params: Any, carry: Any, z: Any, u: Any) -> Any:
    """Return the rest of the step; the whole of it for a cell that does not split."""
    if cell.splits:
        return cell.update(params, carry, z, u)
    return cell.recur(params, carry, z)


def update_mixed(plan: Plan, params: Any, carry: Any, inputs: Any) -> Any:
    """Return the rest of the step from what `mix` returned."""
    gates, u = inputs
    z = glue(gates)
    if all(plan.summed):
        u = jax.tree.map(_nothing, z)
    elif any(plan.summed):
        pairs = zip(plan.summed, gates, u, strict=True)
        u = glue([jax.tree.map(_nothing, a) if s else b for s, a, b in pairs])
    return update(plan.static.cell, params, carry, z, u)


def _nothing(like: jax.Array) -> jax.Array:
    """Return zeros that XLA can see to be zeros inside a loop.

    JAX would lift plain zeros out of it, since they depend on nothing in it; and then
    XLA would add them at every step, to gates put side by side again for that.
    """
    *lead, width = like.shape
    none = lax.slice_in_dim(like, 0, 0, axis=len(lead))
    padding = [(0, 0, 0)] * len(lead) + [(0, width, 0)]
    return lax.pad(none, jnp.zeros((), like.dtype), padding)


def mix(plan: Plan, z: Any, u: Any) -> tuple[Any, Any]:
    """Return z, cut into gates, and u; where their sum is all that is read, that."""
    if not any(plan.summed):
        return z, u
    pairs = list(zip(plan.summed, z, cut(plan, u), strict=True))
    return (
        [add(a, b) if summed else a for summed, a, b in pairs],
        [None if summed else b for summed, _, b in pairs],
    )


def joint_product(
    plan: Plan, params: Any, xs: Any, carry: Any
) -> Callable[[Any, Any], Any]:
    """Return the map from input and carry to their `mix`, as one product.

    $[h, x] [U; W] + b$: nothing is written for all steps, and one product is added up.
    """
    cell, project, product = plan.static.cell, plan.project, plan.feedback
    assert project is not None and product is not None
    leaves = jax.tree.leaves(params)
    kernel = jnp.concatenate([leaves[product.kernel], leaves[project.kernel]])
    no_x = jax.tree.map(lambda a: jnp.zeros(a.shape[-1:], a.dtype), xs)
    no_h = jax.tree.map(lambda a: jnp.zeros(a.shape[-1:], a.dtype), carry)
    z = cell.project(params, no_x)
    (bias,) = jax.tree.leaves(add(z, cell.feedback(params, no_h)))
    structure = jax.tree.structure(z)

    def mixed(x: Any, before: Any) -> Any:
        h = jax.tree.leaves(before)[product.source]
        both = jnp.concatenate([h, jax.tree.leaves(x)[project.source]], -1)
        total = jnp.matmul(both, kernel, precision=product.precision) + lift(bias, both)
        return cut(plan, structure.unflatten([total])), [None] * plan.gates

    return mixed


def cut(plan: Plan, tree: Any) -> list[Any]:
    """Return one tree for each gate: so XLA keeps the loops over them vectorised."""
    if plan.gates == 1:
        return [tree]
    leaves, structure = jax.tree.flatten(tree)
    # lax.split and not slices: its transpose is one concatenation.
    parts = [
        lax.split(a, (a.shape[-1] // plan.gates,) * plan.gates, axis=a.ndim - 1)
        for a in leaves
    ]
    return [structure.unflatten(part) for part in zip(*parts, strict=True)]


def glue(gates: list[Any]) -> Any:
    """Return what `cut` cut."""
    if len(gates) == 1:
        return gates[0]
    return jax.tree.map(lambda *parts: jnp.concatenate(parts, -1), *gates)


def add(a: Any, b: Any) -> Any:
    """Return the sum of two trees."""
    return jax.tree.map(jnp.add, a, b)


def _count_gates(z: Any, width: int) -> int:
    """Return into how many parts to cut z; a guess, and only speed depends on it."""
    sizes = {a.shape[-1] if a.ndim else 0 for a in jax.tree.leaves(z)}
    if len(sizes) != 1 or not width:
        return 1
    count, rest = divmod(sizes.pop(), width)
    return count if not rest and 1 <= count <= _MOST_GATES else 1
