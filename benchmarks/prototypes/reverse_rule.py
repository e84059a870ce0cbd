# SPDX-License-Identifier: Apache-2.0
"""A faster `Deferred`, without forward mode: docs/performance.md says what it showed.

The backward of a block by hand, where `recurrent_jax._deferred` leaves it to JAX.

Backward, a loop pulls the cotangent of the carry through `update` and `feedback` and
sets the cotangents of z and u aside. Those of parameters and inputs follow from them
at once, for all steps of the block. No cell's equations are known here: JAX takes the
derivative of `update`, and what is simpler than it could be is read off its jaxpr.
"""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from benchmarks.prototypes import facts as _facts
from recurrent_jax import Autodiff
from recurrent_jax._deferred import _feedback, _is_smooth, _update
from recurrent_jax._loop import (
    Arrays,
    Loop,
    Static,
    cached_steps,
    in_blocks,
    join,
    part,
)

# Dearer to compute again than to keep.
_COSTLY = "tanh logistic exp exp2 expm1 log log1p erf sin cos pow rsqrt".split()
# A cell of more gates than this is not cut: the guess of its gates may be wrong.
_MOST_GATES = 8
# Measured on CPU: up to this width, and from this many bytes of z, it is faster to
# make the gates again, a block at once, than to write them to memory.
_NARROW, _LARGE = 128, 2**25


class Plan(NamedTuple):
    """How a block is run, never what it computes; hashable."""

    static: Static
    project: _facts.Product | None  # None: anything else
    feedback: _facts.Product | None
    additive: bool  # z and u are read through their sum alone
    reads: bool  # update reads a parameter, as peepholes are read
    keep: bool  # the gates; or else the carries alone
    shifted: bool  # of the carries, nothing but what the outputs are is needed
    gates: int


def make_plan(loop: Loop, carry: Any) -> Plan:
    """Return how to run the blocks of a loop, from shapes and jaxprs."""
    cell = loop.cell
    feed = functools.partial(_feedback, cell)
    params, x, carry = jax.eval_shape(
        lambda: (loop.params, jax.tree.map(lambda a: a[0], loop.xs), carry)
    )
    z = jax.eval_shape(cell.project, params, x)
    u = jax.eval_shape(feed, params, carry)
    update = _facts.of_update(functools.partial(_update, cell), params, carry, z, u)
    rank = len(loop.batch_shape) + 1
    feedback = _facts.product(feed, params, carry, rank)
    width = max((a.shape[-1] for a in jax.tree.leaves(carry) if a.ndim), default=0)
    total = sum(a.size * a.dtype.itemsize for a in jax.tree.leaves(z)) * loop.time
    keep = not update.reads and (width > _NARROW or total <= _LARGE)
    emitted = feedback is not None and feedback.source in update.emitted
    return Plan(
        static=part(loop)[0],
        project=_facts.product(cell.project, params, x, rank),
        feedback=feedback,
        additive=update.additive,
        reads=update.reads,
        keep=keep,
        shifted=keep and emitted and loop.flags == (None, None),
        gates=_count_gates(z, width),
    )


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def run_block(plan: Plan, arrays: Arrays, carry: Any) -> tuple[Any, Any]:
    """Return final carry and outputs of a block, with a deferred backward."""
    return _run(plan._replace(keep=False), arrays, carry)[0]


def _run(plan: Plan, arrays: Arrays, carry: Any) -> tuple[Any, Any]:
    """Return final carry and outputs, and what the backward needs."""
    loop = join(plan.static, arrays)
    cell, params = loop.cell, loop.params

    def body(carry: Any, now: Any) -> tuple[Any, Any]:
        z, flags = now
        before = loop.enter(carry, flags)
        inputs = _mix(plan, z, _feedback(cell, params, before))
        if plan.keep:
            (after, y), pull = _linearise(plan, params, before, inputs)
        else:
            (after, y), pull = _update_mixed(plan, params, before, inputs), None
        after, y = loop.leave(before, after, y, flags)
        return after, (y, None if plan.shifted else before, pull)

    timed = _cut(plan, _over_rows(cell.project, loop, loop.xs)), loop.flags
    final, (ys, befores, pulls) = lax.scan(body, carry, timed, reverse=loop.reverse)
    if plan.shifted and plan.feedback is not None:
        befores = jax.tree.leaves(carry)[plan.feedback.source], ys
    return (final, ys), (arrays, befores, pulls)


def _pull_block(plan: Plan, kept: Any, cotangents: Any) -> tuple[Loop, Any]:
    """Return the cotangents of a block's arrays and of its carry."""
    arrays, befores, pulls = kept
    loop = join(plan.static, arrays)
    d_carry, dys = cotangents
    inputs = None
    if plan.shifted:
        timed = None, None, pulls, loop.flags, dys
        first, ys = befores
        befores = _shifted(loop, first, ys, d_carry)
    else:
        if not plan.keep:
            inputs, pulls = _again(plan, loop, befores)
        timed = befores, inputs, pulls, loop.flags, dys
    body = functools.partial(_pull_step, plan, loop, _pull_feedback(plan, loop.params))
    d_fresh = jax.tree.map(jnp.zeros_like, loop.fresh)
    (d_carry, d_fresh), aside = lax.scan(
        body, (d_carry, d_fresh), timed, reverse=not loop.reverse
    )
    rows = _rows(loop, (loop.xs, befores, inputs, aside))
    d_params, d_xs = _pull_aside(plan, loop.params, *rows)
    d_xs = jax.tree.map(lambda d, x: d.reshape(x.shape), d_xs, loop.xs)
    cotangents = arrays._replace(params=d_params, xs=d_xs, flags=None, fresh=d_fresh)
    return cotangents, d_carry


run_block.defvjp(_run, _pull_block)


def _pull_step(
    plan: Plan, loop: Loop, pull_feedback: Any, state: Any, now: Any
) -> tuple[Any, Any]:
    """Pull the carry's cotangent back through one step; set the others aside."""
    d_carry, d_fresh = state
    before, inputs, pull, flags, dy = now

    def leave(before: Any, after: Any, y: Any) -> Any:
        return loop.leave(before, after, y, flags)

    def enter(fresh: Any, carry: Any) -> Any:
        return loop._replace(fresh=fresh).enter(carry, flags)

    # Both are linear, so shapes do for the values that they are transposed at.
    leaving = jax.linear_transpose(leave, d_carry, d_carry, dy)
    skipped, d_after, dy = leaving((d_carry, dy))
    if pull is None:
        update = functools.partial(_update_mixed, plan, loop.params)
        pull = jax.vjp(update, before, inputs)[1]
    direct, (dz, du) = pull((d_after, dy))
    dz = _glue(dz)
    d_before = _add(skipped, direct)
    d_before = pull_feedback(before, dz if plan.additive else du, d_before)
    fresh, d_carry = jax.linear_transpose(enter, d_fresh, d_carry)(d_before)
    out = (d_after, dy) if plan.reads else None
    return (d_carry, _add(d_fresh, fresh)), (dz, du, out)


def _pull_feedback(plan: Plan, params: Any) -> Callable[[Any, Any, Any], Any]:
    """Return what adds, to a carry's cotangent, that which comes through u."""
    product = plan.feedback
    if product is None:
        feed = functools.partial(_feedback, plan.static.cell, params)
        return lambda before, du, d: _add(d, jax.vjp(feed, before)[1](du)[0])
    kernel = jax.tree.leaves(params)[product.kernel]
    # XLA on CPU is slow at a product with a transposed matrix in a loop; for a single
    # row it is not, and the transpose itself would be most of the work.
    single = math.prod(plan.static.batch_shape) == 1
    kernel = kernel if single else kernel.T

    def pull(_: Any, du: Any, d_before: Any) -> Any:
        (du,) = jax.tree.leaves(du)
        axes = (((du.ndim - 1,), (1 if single else 0,)), ((), ()))
        parts, structure = jax.tree.flatten(d_before)
        parts[product.source] += lax.dot_general(
            du, kernel, axes, precision=product.precision
        )
        return structure.unflatten(parts)

    return pull


def _pull_aside(
    plan: Plan, params: Any, xs: Any, befores: Any, inputs: Any, aside: Any
) -> tuple[Any, Any]:
    """Return the cotangents of parameters and inputs, from all steps as rows."""
    cell = plan.static.cell
    dz, du, d_out = aside
    project = cell.project, plan.project, xs
    feedback = functools.partial(_feedback, cell), plan.feedback, befores
    if plan.additive:
        d_params = _pull_params(params, [project, feedback], dz)
    else:
        d_params = _pull_params(params, [project], dz)
        d_params = _add(d_params, _pull_params(params, [feedback], du))
    if plan.reads:
        _, pull = jax.vjp(lambda p: _update_mixed(plan, p, befores, inputs), params)
        d_params = _add(d_params, pull(d_out)[0])
    return d_params, jax.vjp(functools.partial(cell.project, params), xs)[1](dz)[0]


def _pull_params(params: Any, maps: Any, cotangent: Any) -> Any:
    """Return the cotangent of params from maps that share one of their own.

    Products are made as one, and biases as a column of ones in it: a single pass, and
    never a product with a vector, which XLA on CPU may fuse into a slow loop.
    """
    total, structure = jax.tree.flatten(jax.tree.map(jnp.zeros_like, params))
    for function, product, argument in maps:
        if product is None:
            pull = jax.vjp(functools.partial(_swap, function, argument), params)[1]
            total = _add(total, jax.tree.leaves(pull(cotangent)[0]))
    products = [
        (product, jax.tree.leaves(argument)[product.source])
        for _, product, argument in maps
        if product is not None
    ]
    if not products:
        return structure.unflatten(total)
    (cotangent,) = jax.tree.leaves(cotangent)
    left = [source for _, source in products] + [jnp.ones_like(cotangent[:, :1])]
    weights = jnp.matmul(
        jnp.concatenate(left, -1).T, cotangent, precision=products[0][0].precision
    )
    row = 0
    for product, source in products:
        total[product.kernel] += weights[row : row + source.shape[-1]]
        row += source.shape[-1]
        if product.bias is not None:
            total[product.bias] += weights[-1]
    return structure.unflatten(total)


def _swap(function: Any, argument: Any, params: Any) -> Any:
    return function(params, argument)


def _shifted(loop: Loop, first: Any, ys: Any, carry: Any) -> Any:
    """Return carries whose every leaf is the outputs, one step late."""
    (ys,) = jax.tree.leaves(ys)
    late = [ys[1:], first[None]] if loop.reverse else [first[None], ys[:-1]]
    return jax.tree.map(lambda _: jnp.concatenate(late), carry)


def _again(plan: Plan, loop: Loop, befores: Any) -> tuple[Any, Any]:
    """Return what `update` was given, for all steps at once, and how to pull it."""
    zs = _over_rows(loop.cell.project, loop, loop.xs)
    us = _over_rows(functools.partial(_feedback, loop.cell), loop, befores)
    inputs = _mix(plan, _cut(plan, zs), us)
    if plan.reads:
        return inputs, None  # each step's pull would hold its own copy of params
    pull = functools.partial(_linearise, plan, loop.params)
    return inputs, jax.vmap(lambda *step: pull(*step)[1])(befores, inputs)


def _linearise(plan: Plan, params: Any, carry: Any, inputs: Any) -> Any:
    """Return update's values, and its pull-back: a pytree that scan can stack."""
    update = functools.partial(_update_mixed, plan, params)
    light = jax.checkpoint(update, policy=_is_costly, prevent_cse=False)
    return jax.vjp(light, carry, inputs)


def _is_costly(primitive: Any, *_: Any, **__: Any) -> bool:
    return primitive.name in _COSTLY


def _update_mixed(plan: Plan, params: Any, carry: Any, inputs: Any) -> Any:
    """Return the rest of the step from what `_mix` returned."""
    z, u = _glue(inputs[0]), inputs[1]
    if plan.additive:
        u = jax.tree.map(jnp.zeros_like, z)
    return _update(plan.static.cell, params, carry, z, u)


def _mix(plan: Plan, z: Any, u: Any) -> tuple[Any, Any]:
    """Return z, cut into gates, and u; or their sum and None if that is all one."""
    return (_add(z, _cut(plan, u)), None) if plan.additive else (z, u)


def _cut(plan: Plan, tree: Any) -> list[Any]:
    """Return one tree for each gate: so XLA keeps the loops over them vectorised."""

    def gate(n: int, a: jax.Array) -> jax.Array:
        size = a.shape[-1] // plan.gates
        return lax.slice_in_dim(a, n * size, (n + 1) * size, axis=-1)

    if plan.gates == 1:
        return [tree]
    return [jax.tree.map(functools.partial(gate, n), tree) for n in range(plan.gates)]


def _glue(gates: list[Any]) -> Any:
    """Return what `_cut` cut."""
    if len(gates) == 1:
        return gates[0]
    return jax.tree.map(lambda *parts: jnp.concatenate(parts, -1), *gates)


def _count_gates(z: Any, width: int) -> int:
    """Return into how many parts to cut z; a guess, and only speed depends on it."""
    sizes = {a.shape[-1] if a.ndim else 0 for a in jax.tree.leaves(z)}
    if len(sizes) != 1 or not width:
        return 1
    count, rest = divmod(sizes.pop(), width)
    return count if not rest and 1 <= count <= _MOST_GATES else 1


def _rows(loop: Loop, tree: Any) -> Any:
    """Return arrays with time and batch as one axis: XLA likes products flat."""
    rank = 1 + len(loop.batch_shape)

    def flat(a: jax.Array) -> jax.Array:
        return a.reshape(math.prod(a.shape[:rank]), *a.shape[rank:])

    return jax.tree.map(flat, tree)


def _over_rows(function: Any, loop: Loop, argument: Any) -> Any:
    """Return `function(params, argument)` for all steps at once."""
    lead = (loop.time, *loop.batch_shape)
    out = function(loop.params, _rows(loop, argument))
    return jax.tree.map(lambda a: a.reshape(*lead, *a.shape[1:]), out)


def _add(a: Any, b: Any) -> Any:
    return jax.tree.map(jnp.add, a, b)


@dataclasses.dataclass(frozen=True)
class ReverseRule:
    """The strategy: `rj.unroll(..., backward=ReverseRule())`."""

    block: int | None = None

    def run(self, loop: Loop, carry: Any) -> tuple[Any, Any]:
        """Return the final carry and all outputs."""
        empty = loop.time == 0 or 0 in loop.batch_shape
        if empty or not _is_smooth(loop, carry):
            return Autodiff().run(loop, carry)
        plan = make_plan(loop, carry)

        def run(loop: Loop, carry: Any) -> tuple[Any, Any]:
            return run_block(plan, part(loop)[1], carry)

        return in_blocks(run, loop, carry, self.block or cached_steps(loop))
