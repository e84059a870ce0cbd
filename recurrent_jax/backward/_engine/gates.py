# SPDX-License-Identifier: Apache-2.0
"""Split the inputs of `update` into gates, and join them again."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from recurrent_jax._core.arrays import expand_like
from recurrent_jax._core.cell import update
from recurrent_jax.backward._engine.plan import Plan


def mix(plan: Plan, z: Any, u: Any) -> tuple[Any, Any]:
    """Return z and u, cut into gates if any gate reads only their sum.

    For such a gate, the sum replaces z and None replaces u. If there is none, `z` is
    already a list of gates and `u` is returned unchanged.
    """
    if not any(plan.summed):
        return z, u
    pairs = list(zip(plan.summed, z, cut(plan, u), strict=True))
    return (
        [add(a, b) if summed else a for summed, a, b in pairs],
        [None if summed else b for summed, _, b in pairs],
    )


def update_mixed(plan: Plan, params: Any, carry: Any, inputs: Any) -> Any:
    """Call `update` with the values that `mix` returned."""
    gates, u = inputs
    z = glue(gates)
    if all(plan.summed):
        u = jax.tree.map(_nothing, z)
    elif any(plan.summed):
        pairs = zip(plan.summed, gates, u, strict=True)
        u = glue([jax.tree.map(_nothing, a) if s else b for s, a, b in pairs])
    return update(plan.static.cell, params, carry, z, u)


def _nothing(like: jax.Array) -> jax.Array:
    """Return zeros that XLA recognises as zeros inside a loop.

    JAX hoists plain zeros out of the loop, because they depend on nothing in it. XLA
    then adds them at every step, and concatenates the gates to do so.
    """
    *lead, width = like.shape
    none = lax.slice_in_dim(like, 0, 0, axis=len(lead))
    padding = [(0, 0, 0)] * len(lead) + [(0, width, 0)]
    return lax.pad(none, jnp.zeros((), like.dtype), padding)


def joint_product(
    plan: Plan, params: Any, xs: Any, carry: Any
) -> Callable[[Any, Any], Any]:
    """Return the map from input and carry to their `mix`, as one product.

    The product is $[h, x] [U; W] + b$. No projected input is stored for all steps, and
    only one product is computed per step.
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
        total = jnp.matmul(both, kernel, precision=product.precision)
        total = total + expand_like(bias, both)
        return cut(plan, structure.unflatten([total])), [None] * plan.gates

    return mixed


def cut(plan: Plan, tree: Any) -> list[Any]:
    """Return one tree for each gate. XLA then vectorises the loops over them."""
    if plan.gates == 1:
        return [tree]
    leaves, structure = jax.tree.flatten(tree)
    # The transpose of lax.split is one concatenation; that of slices is not.
    parts = [
        lax.split(a, (a.shape[-1] // plan.gates,) * plan.gates, axis=a.ndim - 1)
        for a in leaves
    ]
    return [structure.unflatten(part) for part in zip(*parts, strict=True)]


def glue(gates: list[Any]) -> Any:
    """Join the gates that `cut` separated."""
    if len(gates) == 1:
        return gates[0]
    return jax.tree.map(lambda *parts: jnp.concatenate(parts, -1), *gates)


def add(a: Any, b: Any) -> Any:
    """Return the sum of two trees."""
    return jax.tree.map(jnp.add, a, b)
