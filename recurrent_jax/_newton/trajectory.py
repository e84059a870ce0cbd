# SPDX-License-Identifier: Apache-2.0
"""The states of a sequence, and their derivative."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from recurrent_jax._core.arrays import is_float, select, trail
from recurrent_jax._core.vectors import to_carry, to_vector
from recurrent_jax._newton.solve import (
    Sequence,
    Settings,
    after_each,
    before_each,
    linearised,
    scan_states,
    solve,
)
from recurrent_jax.scans import Blocks


def step_by_step(how: Settings, seq: Sequence) -> jax.Array:
    """Return the state after each step from a loop over the steps."""
    lead = jax.tree.leaves(seq.carry)[0].shape[: how.batch_rank]
    start, fresh = to_vector(seq.carry, lead), to_vector(seq.fresh, lead)

    def body(before: jax.Array, now: Any) -> tuple[jax.Array, jax.Array]:
        z, flags = now
        if flags.reset is not None:
            before = select(flags.reset, fresh, before)
        carry = to_carry(before, seq.carry)
        after = to_vector(how.cell.recur(seq.params, carry, z)[0], lead)
        if flags.valid is not None:
            after = select(flags.valid, after, before)
        return after, after

    return lax.scan(body, start, (seq.zs, seq.flags))[1]


def _settled(how: Settings, seq: Sequence) -> jax.Array:
    """Return the states, as `otherwise` says where Newton's method did not converge."""
    if not how.most:
        return step_by_step(how, seq)
    states, report = solve(how, seq)
    done = report.converged
    if how.otherwise == "loop":
        return lax.cond(
            jnp.all(done),
            lambda states, seq: states,
            lambda states, seq: step_by_step(how, seq),
            states,
            seq,
        )
    if how.otherwise == "raise":
        worst = jnp.max(jnp.where(jnp.isnan(report.residuals), 0, report.residuals))
        seen = jax.ShapeDtypeStruct((), bool)
        ok = jax.pure_callback(
            functools.partial(_refuse, how.most),
            seen,
            jnp.all(done),
            worst,
            vmap_method="sequential",
        )
        done = done & ok
    return jnp.where(trail(done[None], states), states, jnp.nan)


def _refuse(most: int, done: Any, worst: Any) -> Any:
    if not done:
        raise FloatingPointError(
            f"Newton: not converged in {most} iterations, largest residual {worst:.3g};"
            " give more max_iterations, a larger tolerance, some damping or a smaller "
            'chunk, or pass otherwise="loop"'
        )
    return done


class Leaves(NamedTuple):
    """A sequence as lists: floats, which have tangents, and all others."""

    floats: Any
    others: Any


def apart(seq: Sequence) -> tuple[Leaves, Any]:
    """Return the arrays of a sequence, and what puts them together again."""
    leaves, tree = jax.tree.flatten(seq)
    which = tuple(map(is_float, leaves))
    pairs = list(zip(leaves, which, strict=True))
    return Leaves([a for a, yes in pairs if yes], [a for a, yes in pairs if not yes]), (
        tree,
        which,
    )


def together(arrays: Leaves, how: Any) -> Sequence:
    """Return the sequence that `apart` took apart."""
    tree, which = how
    floats, others = map(iter, arrays)
    leaves = [next(floats) if yes else next(others) for yes in which]
    return jax.tree.unflatten(tree, leaves)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def trajectory(how: Settings, form: Any, arrays: Leaves) -> jax.Array:
    r"""Return the state after each step, `(time, *batch, S)`.

    The derivative is that of the implicit function. At the solution, the tangents obey
    $\dot s_t = J_t \dot s_{t-1} + \dot g_t$, where g is a step at a fixed state.
    That is one linear scan, whose transpose is a scan in the other direction.
    """
    return _settled(how, together(arrays, form))


@trajectory.defjvp
def _derivative(how: Settings, form: Any, primals: Any, tangents: Any) -> Any:
    (arrays,), (d,) = primals, tangents
    states = trajectory(how, form, arrays)
    seq = together(arrays, form)
    lead = jax.tree.leaves(seq.carry)[0].shape[: how.batch_rank]
    befores = before_each(how, seq, states)

    def at_fixed_state(floats: Any) -> jax.Array:
        return after_each(how, together(arrays._replace(floats=floats), form), befores)

    def starts(floats: Any) -> tuple[jax.Array, jax.Array]:
        seq = together(arrays._replace(floats=floats), form)
        return to_vector(seq.carry, lead), to_vector(seq.fresh, lead)

    d_carry, d_fresh = jax.jvp(starts, (arrays.floats,), (d.floats,))[1]
    added = jax.jvp(at_fixed_state, (arrays.floats,), (d.floats,))[1]
    reset, valid = seq.flags.reset, seq.flags.valid
    if how.partition.exact:
        blocks = linearised(how, seq, befores)[1]
        if valid is not None:
            keep = Blocks(blocks, how.partition.split(states)).kept().decay
            blocks = select(valid, blocks, keep)
        return states, scan_states(how, blocks, added, d_carry, reset, d_fresh)

    def body(d_before: jax.Array, now: Any) -> tuple[jax.Array, jax.Array]:
        before, z, flags, added = now
        if flags.reset is not None:
            d_before = select(flags.reset, d_fresh, d_before)

        def move(before: jax.Array) -> jax.Array:
            carry = to_carry(before, seq.carry)
            after = to_vector(how.cell.recur(seq.params, carry, z)[0], lead)
            return after if flags.valid is None else select(flags.valid, after, before)

        d_after = jax.jvp(move, (before,), (d_before,))[1] + added
        return d_after, d_after

    timed = befores, seq.zs, seq.flags, added
    return states, lax.scan(body, d_carry, timed)[1]
