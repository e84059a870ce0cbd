# SPDX-License-Identifier: Apache-2.0
"""The loop over blocks of time, and its derivative from the saved residuals.

The derivative is written in forward mode, as a linear map of tangents. JAX transposes
it, so both modes and derivatives of every order work. `tangent.py` computes the tangent
of one block.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_derivatives import SymbolicZero

from recurrent_jax._core.arrays import is_float, symbolic
from recurrent_jax._core.cell import feedback
from recurrent_jax._core.mesh import shard_alike, vary_alike
from recurrent_jax._loop.blocks import (
    TimeBlocks,
    beside,
    cut_inputs,
    cut_time,
    over_blocks,
)
from recurrent_jax._loop.loop import Arrays, Loop, join
from recurrent_jax.backward._engine.along import filled
from recurrent_jax.backward._engine.at_once import all_projected
from recurrent_jax.backward._engine.gates import cut, joint_product, mix, update_mixed
from recurrent_jax.backward._engine.kept import linearise, stacked
from recurrent_jax.backward._engine.plan import Plan
from recurrent_jax.backward._engine.tangent import tangent_of_block


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def run_blocks(
    plan: Plan, size: int, arrays: Arrays, carry: Any, turned: Any
) -> tuple[Any, Any]:
    """Return the final carry and the outputs. `turned` is the `transposed_kernel`."""
    plan = plan._replace(keep=False, stacked=frozenset())
    final, ys, _ = _forward(plan, size, arrays, carry)
    return final, ys.join()


def _derivative(plan: Plan, size: int, primals: Any, tangents: Any) -> Any:
    """Return the values, and their tangents from the residuals of every block.

    The tangent of a block is recomputed when JAX transposes it. Between the forward and
    the backward pass, only the residuals that `_forward` saved stay in memory.
    """
    arrays, carry, turned = primals
    d, d_carry, _ = tangents  # the values do not depend on the transposed kernel
    final, ys, kept = _forward(plan, size, arrays, carry)
    fixed = arrays.params, arrays.fresh, turned
    d_params, d_fresh, d_carry = instantiated(
        (d.params, d.fresh, d_carry), (arrays.params, arrays.fresh, carry)
    )
    d_xs = None
    if any(map(_has_tangent, jax.tree.leaves(d.xs))):
        d_xs = instantiated(d.xs, arrays.xs)

    time, axis = join(plan.static, arrays).time, plan.static.time_axis
    inputs, cut_out = cut_inputs(arrays.xs, time, size, axis)
    d_inputs, d_cut_out = cut_inputs(d_xs, time, size, axis)

    @functools.partial(jax.checkpoint, prevent_cse=False)
    def remade(fixed: Any, d: Any, d_carry: Any, now: Any) -> tuple[Any, Any]:
        params, fresh, turned = fixed
        xs, flags, ys, (start, kept) = now
        loop = join(plan.static, Arrays(params, cut_out(xs), flags, fresh))
        return tangent_of_block(plan, loop, turned, start, ys, kept, d, d_carry)

    def block(d_carry: Any, now: Any) -> tuple[Any, Any]:
        *rest, d_xs = now
        d = d_params, d_fresh, d_cut_out(d_xs)
        return remade(fixed, d, d_carry, tuple(rest))

    flags = cut_time(arrays.flags, time, size)
    timed = beside(inputs, flags, ys, kept, d_inputs)
    d_final, d_ys = over_blocks(block, d_carry, timed, plan.static.reverse)
    out = final, ys.join()
    return out, symbolic(filled((d_final, d_ys.join()), out), out)


run_blocks.defjvp(_derivative, symbolic_zeros=True)


def _forward(
    plan: Plan, size: int, arrays: Arrays, carry: Any
) -> tuple[Any, TimeBlocks, TimeBlocks]:
    """Return the final carry, the outputs, and each block's start and residuals."""
    cell, params = plan.static.cell, arrays.params
    mixed = joint_product(plan, params, arrays.xs, carry) if plan.joint else None

    def step(loop: Loop, carry: Any, now: Any) -> tuple[Any, Any]:
        x_or_z, flags = now
        before = loop.enter(carry, flags)
        if mixed is not None:
            inputs = mixed(x_or_z, before)
        else:
            inputs = mix(plan, x_or_z, feedback(cell, params, before))
        if plan.keep and not plan.reads:
            (after, y), gates = linearise(plan, params, before, inputs)
        else:
            after, y = update_mixed(plan, params, before, inputs)
            gates = inputs if plan.keep else None
        after, y = loop.leave(before, after, y, flags)
        return after, (y, (stacked(plan, before), gates))

    def block(start: Any, timed: Any) -> tuple[Any, Any]:
        xs, flags = timed
        xs = cut_out(xs)
        loop = join(plan.static, arrays._replace(xs=xs, flags=flags))
        if mixed is None:
            xs = cut(plan, all_projected(plan, loop))
        run = functools.partial(step, loop)
        final, (ys, kept) = lax.scan(run, start, (xs, flags), reverse=loop.reverse)
        return final, (ys, (start, kept))

    time = join(plan.static, arrays).time
    inputs, cut_out = cut_inputs(arrays.xs, time, size, plan.static.time_axis)
    blocks = beside(inputs, cut_time(arrays.flags, time, size))
    final, (full, rest) = over_blocks(block, carry, blocks, plan.static.reverse)
    (ys, rest_ys), (kept, rest_kept) = zip(
        full or (None, None), rest or (None, None), strict=True
    )
    return final, TimeBlocks(ys, rest_ys), TimeBlocks(kept, rest_kept)


def _has_tangent(d: Any) -> bool:
    return not isinstance(d, SymbolicZero) and is_float(d)


def instantiated(tangents: Any, primals: Any) -> Any:
    """Return tangents of all floats, with arrays of zeros for symbolic zeros."""

    def one(d: Any, primal: Any) -> Any:
        if _has_tangent(d) or not is_float(primal):
            return d if is_float(primal) else None
        zeros = vary_alike(jnp.zeros_like(primal), primal)
        return shard_alike(zeros, primal, slice(primal.ndim))

    def is_zero(d: Any) -> bool:
        return isinstance(d, SymbolicZero)

    return jax.tree.map(one, tangents, primals, is_leaf=is_zero)
