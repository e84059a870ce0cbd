# SPDX-License-Identifier: Apache-2.0
"""The tangent of a block of time: a part for all steps at once, and a loop.

JAX transposes this code for the backward pass. The transpose of a product over all
steps is again one product over all steps: the gradient of a kernel. The transpose of
the loop for the tangent of the carry is a loop for its cotangent. The operations are
therefore chosen for the cost of their transposes. The code knows no equations of a
cell: JAX linearises `update`, and `facts` finds simplifications in its jaxpr.
"""

import functools
from typing import Any

import jax
from jax import lax

from recurrent_jax._core.arrays import select
from recurrent_jax._core.cell import feedback
from recurrent_jax._loop.loop import Loop
from recurrent_jax.backward._engine.along import along, filled, floats
from recurrent_jax.backward._engine.at_once import (
    all_fed_back,
    all_projected,
    tangent_at_once,
)
from recurrent_jax.backward._engine.gates import add, cut, mix
from recurrent_jax.backward._engine.kept import completed, linearise, with_late
from recurrent_jax.backward._engine.plan import Plan


def transposed_kernel(plan: Plan, params: Any) -> Any:
    """Return the transposed recurrent kernel for the derivative of a block, or None.

    The transpose of the product in `_linear_feedback` contracts the axis of u. XLA on
    CPU is slow if this is the last axis of the kernel. The kernel is therefore
    transposed once, for all blocks. For a single row the transposition would be most of
    the work, so the result is None.
    """
    if plan.feedback is None or plan.rows == 1:
        return None
    return jax.tree.leaves(params)[plan.feedback.kernel].T


def tangent_of_block(
    plan: Plan,
    loop: Loop,
    turned: Any,
    start: Any,
    ys: Any,
    kept: tuple[list[Any], Any],
    d: tuple[Any, Any, Any],
    d_start: Any,
) -> tuple[Any, Any]:
    """Return the tangents of the final carry and the outputs of a block."""
    d_params, d_fresh, d_xs = d
    some, gates = kept
    some = with_late(plan, loop, start, ys, some)
    befores = completed(loop, start, some)
    inputs, linear = None, gates
    if plan.reads or not plan.keep:
        inputs = gates if plan.keep else _again(plan, loop, befores)
        of_step = functools.partial(linearise, plan, loop.params)
        linear = jax.vmap(lambda *step: of_step(*step)[1])(befores, inputs)
    at_once = tangent_at_once(plan, loop, d_params, d_xs, befores, inputs)
    d_feedback = _linear_feedback(plan, loop.params, turned, start)
    structure = jax.tree.structure(start)
    of_results = jax.tree.structure((d_start, floats(ys)))

    def body(d_carry: Any, now: Any) -> tuple[Any, Any]:
        some, y, linear, (d_inputs, direct), flags = now
        whole = all(leaf is not None for leaf in some)
        before = structure.unflatten(some) if whole else None
        d_before = d_carry
        if flags.reset is not None:
            d_before = select(flags.reset, d_fresh, d_carry)
        d_u = d_feedback(before, d_before)
        derivative = linear(loop.params, some, y)
        d_inputs = _add_feedback(plan, d_inputs, d_u)
        d_results = derivative(jax.tree.leaves((d_before, d_inputs)))
        d_after, d_y = of_results.unflatten(d_results)
        if direct is not None:
            d_after, d_y = add((d_after, d_y), direct)
        return loop.leave(d_before, d_after, d_y, flags)

    timed = (some, ys, linear, at_once, loop.flags)
    return lax.scan(body, d_start, timed, reverse=loop.reverse)


def _again(plan: Plan, loop: Loop, befores: Any) -> Any:
    """Recompute the inputs of `update`, for all steps at once."""
    zs, us = all_projected(plan, loop), all_fed_back(plan, loop, befores)
    return mix(plan, cut(plan, zs), us)


def _linear_feedback(plan: Plan, params: Any, turned: Any, start: Any) -> Any:
    """Return the map from the carry and its tangent to the tangent of u."""
    product = plan.feedback
    feed = functools.partial(feedback, plan.static.cell, params)
    if product is None:
        return lambda before, d_before: along(feed, before, d_before)
    side, kernel = 1, turned
    if turned is None:
        side, kernel = 0, jax.tree.leaves(params)[product.kernel]

    def feed_tangent(_: Any, d_before: Any) -> Any:
        source = jax.tree.leaves(filled(d_before, start))[product.source]
        axes = (((source.ndim - 1,), (side,)), ((), ()))
        d_u = lax.dot_general(source, kernel, axes, precision=product.precision)
        return plan.structure_of_u.unflatten([d_u])

    return feed_tangent


def _add_feedback(plan: Plan, d_inputs: Any, d_u: Any) -> Any:
    """Add the tangent of u through the carry to the tangent of the result of `mix`."""
    d_z, through_params = d_inputs
    if all(plan.summed):
        # Cut after the sum: its transpose is one concatenation per step, for z and u.
        return cut(plan, add(d_z, d_u)), through_params
    d_z, d_u = mix(plan, cut(plan, d_z), d_u)
    return d_z, add(d_u, through_params)
