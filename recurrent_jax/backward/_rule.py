# SPDX-License-Identifier: Apache-2.0
"""The derivative of a block of time, cut in what needs no order and what does.

It is written forward, as a linear map of tangents, for JAX to transpose: a product over
all steps here is a product over all steps there, the gradient of a kernel; a loop for
the tangent of the carry is a loop for its cotangent. So every mode and order exist, and
the ops below are chosen for what their transposes cost. No cell's equations are known:
JAX linearises `update`, and what is simpler than it could be is read off its jaxpr.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.ad_checkpoint import checkpoint_name

from recurrent_jax._loop import Arrays, Loop, join, select
from recurrent_jax.backward._at_once import instantiated, over_rows, tangent_at_once
from recurrent_jax.backward._plan import (
    Plan,
    add,
    cut,
    feedback,
    mix,
    update_mixed,
)

# Under this name a checkpoint policy finds what the backward needs of the forward.
_KEPT = "recurrent_jax.kept"
# Dearer to compute again than to keep.
_COSTLY = "tanh logistic exp exp2 expm1 log log1p erf sin cos pow rsqrt".split()


def transposed_kernel(plan: Plan, params: Any) -> Any:
    """Return the recurrent kernel as the derivative of a block wants it, or None.

    Transposed, the product in `_linear_feedback` contracts the axis of u. XLA on CPU
    is slow at that if it is the last one of the kernel. So this is made once, for all
    blocks; not for a single row, where it would be most of the work.
    """
    if plan.feedback is None or plan.rows == 1:
        return None
    return jax.tree.leaves(params)[plan.feedback.kernel].T


def run_block(plan: Plan, arrays: Arrays, carry: Any, turned: Any) -> tuple[Any, Any]:
    """Return final carry and outputs of a block; keep for its gradient what is dear.

    `turned` is the `transposed_kernel`.
    """
    policy = jax.checkpoint_policies.save_only_these_names(_KEPT)
    run = functools.partial(_block, plan)
    return jax.checkpoint(run, policy=policy, prevent_cse=False)(arrays, carry, turned)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _block(plan: Plan, arrays: Arrays, carry: Any, turned: Any) -> tuple[Any, Any]:
    return _forward(plan._replace(keep=False), arrays, carry)[0]


def _forward(plan: Plan, arrays: Arrays, carry: Any) -> tuple[Any, Any]:
    """Return final carry and outputs; carries and linearised steps for the gradient."""
    loop = join(plan.static, arrays)
    cell, params = loop.cell, loop.params

    def body(carry: Any, now: Any) -> tuple[Any, Any]:
        z, flags = now
        before = loop.enter(carry, flags)
        inputs = mix(plan, z, feedback(cell, params, before))
        if plan.keep:
            (after, y), linear = _linearise(plan, params, before, inputs)
        else:
            (after, y), linear = update_mixed(plan, params, before, inputs), None
        after, y = loop.leave(before, after, y, flags)
        return after, (y, None if plan.shifted else before, linear)

    timed = cut(plan, over_rows(cell.project, loop, loop.xs)), loop.flags
    final, (ys, befores, linear) = lax.scan(body, carry, timed, reverse=loop.reverse)
    return (final, ys), (befores, linear)


def _derivative(plan: Plan, primals: Any, tangents: Any) -> Any:
    """Return the block and its tangent."""
    arrays, carry, turned = primals
    loop = join(plan.static, arrays)
    (final, ys), kept = _forward(plan, arrays, carry)
    ys, (befores, linear) = checkpoint_name((ys, kept), _KEPT)
    inputs = None
    if plan.shifted:
        befores = _shifted(plan, loop, carry, ys)
    elif not plan.keep:
        inputs, linear = _again(plan, loop, befores)
    d, d_carry, _ = tangents  # the values do not depend on the turned kernel
    d_params, d_fresh, d_carry = instantiated(
        (d.params, d.fresh, d_carry), (loop.params, loop.fresh, carry)
    )
    at_once = tangent_at_once(plan, loop, d_params, d.xs, befores, inputs)
    d_feedback = _linear_feedback(plan, loop.params, turned)

    def body(d_carry: Any, now: Any) -> tuple[Any, Any]:
        before, inputs, linear, (d_inputs, direct), flags = now
        d_before = d_carry
        if flags.reset is not None:
            d_before = select(flags.reset, d_fresh, d_carry)
        d_u = d_feedback(before, d_before)
        if linear is None:
            step = functools.partial(update_mixed, plan, loop.params)
            _, linear = jax.linearize(step, before, inputs)
        d_after, d_y = linear(d_before, _add_feedback(plan, d_inputs, d_u))
        if direct is not None:
            d_after, d_y = add((d_after, d_y), direct)
        return loop.leave(d_before, d_after, d_y, flags)

    timed = (None if plan.shifted else befores, inputs, linear, at_once, loop.flags)
    d_final, d_ys = lax.scan(body, d_carry, timed, reverse=loop.reverse)
    return (final, ys), (d_final, d_ys)


_block.defjvp(_derivative, symbolic_zeros=True)


def _linear_feedback(plan: Plan, params: Any, turned: Any) -> Any:
    """Return the map from carry and its tangent to the tangent of u."""
    product = plan.feedback
    feed = functools.partial(feedback, plan.static.cell, params)
    if product is None:
        return lambda before, d_before: jax.jvp(feed, (before,), (d_before,))[1]
    side, kernel = 1, turned
    if turned is None:
        side, kernel = 0, jax.tree.leaves(params)[product.kernel]

    def feed_tangent(_: Any, d_before: Any) -> Any:
        source = jax.tree.leaves(d_before)[product.source]
        axes = (((source.ndim - 1,), (side,)), ((), ()))
        d_u = lax.dot_general(source, kernel, axes, precision=product.precision)
        return plan.structure_of_u.unflatten([d_u])

    return feed_tangent


def _add_feedback(plan: Plan, d_inputs: Any, d_u: Any) -> Any:
    """Return the tangent of what `mix` returned, with what comes through the carry."""
    d_z, through_params = d_inputs
    if all(plan.summed):
        # Cut only now: its transpose, one concatenation a step, serves z and u.
        return cut(plan, add(d_z, d_u)), through_params
    d_z, d_u = mix(plan, cut(plan, d_z), d_u)
    return d_z, add(d_u, through_params)


def _shifted(plan: Plan, loop: Loop, carry: Any, ys: Any) -> Any:
    """Return carries whose every leaf is the outputs, one step late."""
    assert plan.feedback is not None
    first = jax.tree.leaves(carry)[plan.feedback.source]
    (ys,) = jax.tree.leaves(ys)
    late = [ys[1:], first[None]] if loop.reverse else [first[None], ys[:-1]]
    return jax.tree.map(lambda _: jnp.concatenate(late), carry)


def _again(plan: Plan, loop: Loop, befores: Any) -> tuple[Any, Any]:
    """Return what `update` was given, for all steps at once, and it linearised."""
    zs = over_rows(loop.cell.project, loop, loop.xs)
    us = over_rows(functools.partial(feedback, loop.cell), loop, befores)
    inputs = mix(plan, cut(plan, zs), us)
    if plan.reads:
        return inputs, None  # each step, linearised, would hold its own params
    linearise = functools.partial(_linearise, plan, loop.params)
    return inputs, jax.vmap(lambda *step: linearise(*step)[1])(befores, inputs)


def _linearise(plan: Plan, params: Any, carry: Any, inputs: Any) -> Any:
    """Return update's values, and its derivative: a pytree that scan can stack."""
    step = functools.partial(update_mixed, plan, params)
    light = jax.checkpoint(step, policy=_is_costly, prevent_cse=False)
    return jax.linearize(light, carry, inputs)


def _is_costly(primitive: Any, *_: Any, **__: Any) -> bool:
    return primitive.name in _COSTLY
