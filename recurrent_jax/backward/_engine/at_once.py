# SPDX-License-Identifier: Apache-2.0
"""Tangents through parameters and inputs, for all steps of a block at once."""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from recurrent_jax._core.cell import feedback
from recurrent_jax._loop.loop import Loop
from recurrent_jax.backward._engine.along import along, filled
from recurrent_jax.backward._engine.facts import Product
from recurrent_jax.backward._engine.gates import add, cut, glue, mix, update_mixed
from recurrent_jax.backward._engine.plan import Plan


def tangent_at_once(
    plan: Plan, loop: Loop, d_params: Any, d_xs: Any, befores: Any, inputs: Any
) -> tuple[Any, Any]:
    """Return the tangents of the inputs of `update`, and those of its results.

    The tangents of the results are those through the parameters that `update` reads
    itself, or None if it reads none. `d_xs` is None if the inputs have no tangent.
    """
    cell, params = loop.cell, loop.params
    xs, befores, inputs = _rows(plan, loop, (loop.xs, befores, inputs))
    z = _Map(cell.project, plan.project, xs)
    u = _Map(_feedback_of_all(plan), plan.feedback, befores)
    if all(plan.summed):
        d_z = _through_params([z, u], params, d_params)
        d_u = [None] * plan.gates
    else:
        d_z = _through_params([z], params, d_params)
        d_u = _through_params([u], params, d_params)
        if any(plan.summed):
            d_z, d_u = mix(plan, cut(plan, d_z), d_u)
            d_z = glue(d_z)
    if d_xs is not None:
        project = functools.partial(cell.project, params)
        d_z = add(d_z, along(project, xs, _rows(plan, loop, d_xs)))
    direct = None
    if plan.reads:
        rest = _over_steps(plan, functools.partial(update_mixed, plan))
        direct = along(lambda p: rest(p, befores, inputs), params, d_params)
    d_z, d_u, direct = _unrows(plan, loop, (d_z, d_u, direct))
    return (d_z, d_u), direct


class _Map(NamedTuple):
    """A function of parameters and an argument.

    `product` describes it if it is a matrix product. Otherwise it is None.
    """

    function: Callable[[Any, Any], Any]
    product: Product | None
    argument: Any


def _through_params(maps: list[_Map], params: Any, d_params: Any) -> Any:
    """Return the sum of the tangents of maps along their parameters.

    All matrix products are computed as one product. The biases join it through a column
    of ones. This needs a single pass over the data. It also avoids a product with a
    vector, which XLA on CPU may fuse into a slow loop.
    """
    parts = [
        along(lambda p, one=one: one.function(p, one.argument), params, d_params)
        for one in maps
        if one.product is None
    ]
    if products := [(one.product, one) for one in maps if one.product is not None]:
        parts.append(_as_one(products, params, d_params))
    return functools.reduce(add, parts)


def _as_one(products: list[tuple[Product, _Map]], params: Any, d_params: Any) -> Any:
    leaves = jax.tree.leaves(filled(d_params, params))
    left = [jax.tree.leaves(one.argument)[product.source] for product, one in products]
    right = [leaves[product.kernel] for product, _ in products]
    biases = [_of_bias(*pair, params, leaves) for pair in products if pair[0].biased]
    if biases:
        left.append(jnp.ones_like(left[0][..., :1]))
        right.append(sum(biases[1:], start=biases[0]))
    first, one = products[0]
    total = jnp.matmul(
        jnp.concatenate(left, -1),
        jnp.concatenate(right, 0),
        precision=first.precision,
    )
    shapes = jax.eval_shape(one.function, params, one.argument)
    return jax.tree.unflatten(jax.tree.structure(shapes), [total])


def _of_bias(product: Product, one: _Map, params: Any, d_leaves: list[Any]) -> Any:
    """Return the tangent of the bias that a map adds to its product, as one row."""
    leaves, structure = jax.tree.flatten(params)

    def added(*others: Any) -> Any:
        where = product.kernel
        both = [*others[:where], leaves[where], *others[where:]]
        row = jax.tree.map(
            lambda a: jnp.zeros((1,) * (a.ndim - 1) + a.shape[-1:], a.dtype),
            one.argument,
        )
        return one.function(structure.unflatten(both), row)

    def others(every: list[Any]) -> tuple[Any, ...]:
        return (*every[: product.kernel], *every[product.kernel + 1 :])

    (tangent,) = jax.tree.leaves(jax.jvp(added, others(leaves), others(d_leaves))[1])
    return tangent.reshape(1, -1)


def all_projected(plan: Plan, loop: Loop) -> Any:
    """Return z of all steps."""
    z = loop.cell.project(loop.params, _rows(plan, loop, loop.xs))
    return _unrows(plan, loop, z)


def all_fed_back(plan: Plan, loop: Loop, befores: Any) -> Any:
    """Return u of all steps."""
    u = _feedback_of_all(plan)(loop.params, _rows(plan, loop, befores))
    return _unrows(plan, loop, u)


def _feedback_of_all(plan: Plan) -> Callable[[Any, Any], Any]:
    return _over_steps(plan, functools.partial(feedback, plan.static.cell))


def _over_steps(plan: Plan, step: Any) -> Any:
    """Return a function that applies `step(params, ...)` to all steps at once."""
    if plan.flat:
        return step
    return lambda params, *more: jax.vmap(functools.partial(step, params))(*more)


def _rows(plan: Plan, loop: Loop, tree: Any) -> Any:
    """Return arrays with time and batch merged into one axis.

    XLA on CPU computes products of two matrices fastest.
    """
    if not plan.flat:
        return tree
    rank = 1 + len(loop.batch_shape)

    def flat(a: jax.Array) -> jax.Array:
        return a.reshape(math.prod(a.shape[:rank]), *a.shape[rank:])

    return jax.tree.map(flat, tree)


def _unrows(plan: Plan, loop: Loop, tree: Any) -> Any:
    """Return arrays with time and batch as separate axes again."""
    if not plan.flat:
        return tree
    lead = (loop.time, *loop.batch_shape)
    return jax.tree.map(lambda a: a.reshape(*lead, *a.shape[1:]), tree)
