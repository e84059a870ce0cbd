# SPDX-License-Identifier: Apache-2.0
"""A block of time whose gradients are made once, as a forward-mode rule."""

import functools
from typing import Any, Protocol

import jax
import jax.numpy as jnp
from jax import lax
from jax.ad_checkpoint import checkpoint_name

from recurrent_jax._cell import Cell
from recurrent_jax._loop import Arrays, Loop, Static, forward, join, part, select

# The name under which a checkpoint policy finds the carries of a block.
_CARRIES = "recurrent_jax.carries"
KEEP_CARRIES = jax.checkpoint_policies.save_only_these_names(_CARRIES)
KEEP_NOTHING = jax.checkpoint_policies.nothing_saveable


class _Runs(Protocol):
    def run(self, loop: Loop, carry: Any) -> tuple[Any, Any]: ...


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _deferred(static: Static, arrays: Arrays, carry: Any) -> tuple[Any, Any]:
    """Return final carry and outputs of a block; its derivative is below."""
    return forward(join(static, arrays), carry)[:2]


@_deferred.defjvp
def _deferred_jvp(static: Static, primals: Any, tangents: Any) -> Any:
    """Return the block and its derivative, cut in what needs no order and what does.

    This is forward mode. JAX transposes it for reverse mode, and so a product over all
    steps here is a product over all steps there: the gradient of a kernel.
    """
    loop, carry = join(static, primals[0]), primals[1]
    d, dcarry = tangents
    cell, params = loop.cell, loop.params
    final, ys, befores = forward(loop, carry)
    befores = checkpoint_name(befores, _CARRIES)  # all that the backward keeps

    # All steps at once: what comes through parameters and inputs.
    zs, dzs = jax.jvp(cell.project, (params, loop.xs), (d.params, d.xs))
    us, dus = _through_params(loop, _feedback, d.params, befores)
    direct = None
    if _reads_params(cell, params, befores, zs, us):
        _, direct = _through_params(loop, _update, d.params, befores, zs, us)

    # Step by step: what comes through the carry.
    def body(dcarry: Any, now: Any) -> tuple[Any, Any]:
        before, z, u, dz, du, direct, flags = now
        dbefore = dcarry
        if flags.reset is not None:
            dbefore = select(flags.reset, d.fresh, dcarry)
        through = functools.partial(_feedback, cell, params)
        _, through_carry = jax.jvp(through, (before,), (dbefore,))
        du = jax.tree.map(jnp.add, du, through_carry)
        # Computed again where it is transposed, so that no gate is kept.
        update = jax.checkpoint(
            functools.partial(_update, cell, params), prevent_cse=False
        )
        _, (dafter, dy) = jax.jvp(update, (before, z, u), (dbefore, dz, du))
        if direct is not None:
            dafter, dy = jax.tree.map(jnp.add, (dafter, dy), direct)
        return loop.leave(dbefore, dafter, dy, flags)

    inputs = (befores, zs, us, dzs, dus, direct, loop.flags)
    dfinal, dys = lax.scan(body, dcarry, inputs, reverse=loop.reverse)
    return (final, ys), (dfinal, dys)


def _feedback(cell: Cell, params: Any, carry: Any) -> Any:
    """Return the recurrent product; nothing for a cell that does not split."""
    return cell.feedback(params, carry) if cell.splits else ()


def _update(cell: Cell, params: Any, carry: Any, z: Any, u: Any) -> Any:
    """Return the rest of the step; the whole of it for a cell that does not split."""
    if cell.splits:
        return cell.update(params, carry, z, u)
    return cell.recur(params, carry, z)


def _through_params(loop: Loop, part: Any, dparams: Any, *rest: Any) -> Any:
    """Return a part of all steps at once and its derivative along the parameters."""
    return jax.jvp(lambda p: part(loop.cell, p, *rest), (loop.params,), (dparams,))


def _reads_params(cell: Cell, params: Any, *rest: Any) -> bool:
    """Say whether `update` reads a parameter, as peepholes are read."""
    jaxpr = jax.make_jaxpr(functools.partial(_update, cell))(params, *rest).jaxpr
    mine = jaxpr.invars[: len(jax.tree.leaves(params))]
    read = [v for eqn in jaxpr.eqns for v in eqn.invars] + list(jaxpr.outvars)
    return any(v is p for v in read for p in mine)


def checkpointed(
    policy: Any, loop: Loop, carry: Any, inner: _Runs | None = None
) -> tuple[Any, Any]:
    """Run a block of which the backward keeps what the policy says."""
    static, arrays = part(loop)

    def run(arrays: Arrays, carry: Any) -> tuple[Any, Any]:
        loop = join(static, arrays)
        if inner is not None:
            return inner.run(loop, carry)
        if not _is_smooth(loop, carry):
            return forward(loop, carry)[:2]
        return _deferred(static, arrays, carry)

    return jax.checkpoint(run, policy=policy, prevent_cse=False)(arrays, carry)


def _is_smooth(loop: Loop, carry: Any) -> bool:
    """Say whether all that a step takes and gives is floating point.

    A counter in a carry, say, has no tangent to step; autodiff knows what to do.
    """

    def ends(carry: Any) -> Any:
        return loop.cell.project(loop.params, loop.xs), forward(loop, carry)[:2]

    shapes = jax.eval_shape(ends, carry)
    return all(jnp.issubdtype(a.dtype, jnp.floating) for a in jax.tree.leaves(shapes))
