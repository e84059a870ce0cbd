# SPDX-License-Identifier: Apache-2.0
"""The loop that strategies run, with skipped steps, resets and blocks of time."""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
from jax import lax

from recurrent_jax._core.arrays import select, zeros
from recurrent_jax._core.cell import Cell


class Flags(NamedTuple):
    """Which steps count and which start afresh, `(time, *batch)`, or None."""

    valid: jax.Array | None
    reset: jax.Array | None


class Loop(NamedTuple):
    """What `unroll` hands to a strategy and to a method, time first.

    Attributes:
        cell: any cell; `cell.recur(params, carry, z)` is its step.
        params: its parameters, after `cell.prepare`.
        xs: the inputs, `(time, *batch, features)`; `cell.project(params, xs)` gives z.
        flags: which steps count and which start afresh, for `enter` and `leave`.
        fresh: the carry that a reset starts from, `(*batch, ...)`.
        reverse: whether to run from the last step to the first.
        batch_shape: the axes between time and features.
        time_axis: where the user had time, if that is known.
        method: how time is run.
    """

    cell: Cell
    params: Any
    xs: Any
    flags: Flags
    fresh: Any
    reverse: bool
    batch_shape: tuple[int, ...]
    time_axis: int
    method: "Method"

    @property
    def time(self) -> int:
        """The number of steps."""
        return int(jax.tree.leaves(self.xs)[0].shape[0])

    def enter(self, carry: Any, flags: Flags) -> Any:
        """Return the carry that a step works on."""
        return carry if flags.reset is None else select(flags.reset, self.fresh, carry)

    def leave(self, before: Any, after: Any, y: Any, flags: Flags) -> tuple[Any, Any]:
        """Return carry and output: as they were, and zero, if the step is skipped."""
        if flags.valid is None:
            return after, y
        return select(flags.valid, after, before), select(flags.valid, y, zeros(y))


class Backward(Protocol):
    """How gradients are made: a hashable value that runs a loop."""

    def run(self, loop: Loop, carry: Any) -> tuple[Any, Any]:
        """Return the final carry and all outputs, `(time, *batch, ...)`."""
        ...


class Method(Protocol):
    """How time is run: a hashable value, whose results are those of step after step.

    Attributes:
        backward: the strategy where none is asked for.
        steps: whether it takes one step after the other. Then a strategy may take the
            steps in its place, as `Deferred` does.
    """

    @property
    def backward(self) -> Backward:
        """Return the strategy where none is asked for."""
        ...

    @property
    def steps(self) -> bool:
        """Return whether it takes one step after the other."""
        ...

    def refuses(self, loop: Loop) -> str | None:
        """Return why it cannot run this cell, and what can; None if it can."""
        ...

    def run(self, loop: Loop, carry: Any) -> tuple[Any, Any]:
        """Return the final carry and all outputs, for JAX to differentiate."""
        ...

    def befores(self, loop: Loop, carry: Any) -> Any:
        """Return the carries that the steps worked on, `(time, *batch, ...)`."""
        ...


class Static(NamedTuple):
    """What of a loop is not arrays, and hashes."""

    cell: Cell
    reverse: bool
    batch_shape: tuple[int, ...]
    time_axis: int
    method: Method


class Arrays(NamedTuple):
    """What of a loop is arrays."""

    params: Any
    xs: Any
    flags: Flags
    fresh: Any


def run_steps(
    loop: Loop, carry: Any, leaving: Callable[[Any], Any] = lambda carry: carry
) -> tuple[Any, Any, Any]:
    """Run step after step; return final carry, outputs, and what steps worked on.

    Args:
        loop: what to run.
        carry: the state to start from.
        leaving: what becomes of the carry after each step.

    Returns:
        The final carry, the outputs `(time, *batch, ...)`, and the carries that the
        steps worked on, each part with time first.
    """

    def body(carry: Any, now: Any) -> tuple[Any, Any]:
        z, flags = now
        before = loop.enter(carry, flags)
        after, y = loop.cell.recur(loop.params, before, z)
        after, y = loop.leave(before, after, y, flags)
        return leaving(after), (y, before)

    zs = loop.cell.project(loop.params, loop.xs)
    inputs = (zs, loop.flags)
    final, (ys, befores) = lax.scan(body, carry, inputs, reverse=loop.reverse)
    return final, ys, befores


def need_steps(strategy: Any, loop: Loop) -> None:
    """Raise an error where a strategy that takes the steps itself gets a method."""
    if not getattr(loop.method, "steps", False):
        raise TypeError(
            f"unroll: {strategy!r} takes the steps itself, one after the other, so it "
            f"needs method=rj.Sequential(), got {loop.method!r}; rj.Autodiff(), "
            "rj.Checkpointed() and rj.Truncated(...) work with every method"
        )


def part(loop: Loop) -> tuple[Static, Arrays]:
    """Return what of a loop is static and what is arrays."""
    cell, *arrays, reverse, batch_shape, time_axis, method = loop
    return Static(cell, reverse, batch_shape, time_axis, method), Arrays(*arrays)


def join(static: Static, arrays: Arrays) -> Loop:
    """Return the loop of both parts."""
    return Loop(static.cell, *arrays, *static[1:])


def valid_steps(time: int, lengths: Any, mask: Any) -> Any:
    """Return which steps count, `(time, *batch)`, or None if all do."""
    if lengths is None:
        return mask
    lengths = jnp.asarray(lengths).astype(int)
    step = lax.expand_dims(jnp.arange(time), range(1, 1 + lengths.ndim))
    within = step < lengths[None]
    return within if mask is None else within & mask
