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
    """Which steps are valid and which are reset first, `(time, *batch)`, or None."""

    valid: jax.Array | None
    reset: jax.Array | None


class Loop(NamedTuple):
    """The loop that `unroll` passes to a strategy and to a method.

    All arrays over time have time as the first axis.

    Attributes:
        cell: any cell. `cell.recur(params, carry, z)` is its step.
        params: the parameters of the cell, after `cell.prepare`.
        xs: the inputs, `(time, *batch, features)`. `cell.project(params, xs)` returns
            z.
        flags: which steps are valid and which are reset first, for `enter` and `leave`.
        fresh: the carry that a reset restarts from, `(*batch, ...)`.
        reverse: whether to run from the last step to the first.
        batch_shape: the sizes of the axes between time and features.
        time_axis: the time axis of the arrays that the user passed, if it is known.
        method: how the cell is run over time.
    """

    cell: Cell[Any, Any, Any]
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
        """Return the carry that a step reads, after a reset if there is one."""
        return carry if flags.reset is None else select(flags.reset, self.fresh, carry)

    def leave(self, before: Any, after: Any, y: Any, flags: Flags) -> tuple[Any, Any]:
        """Return carry and output: the old carry and zeros if the step is skipped."""
        if flags.valid is None:
            return after, y
        return select(flags.valid, after, before), select(flags.valid, y, zeros(y))


class Backward(Protocol):
    """How gradients are computed: a hashable value that runs a loop.

    A strategy that works with every method has the attribute `steps = False`. Without
    it, `unroll` chooses a method that runs one step after the other.
    """

    def run(self, loop: Loop, carry: Any) -> tuple[Any, Any]:
        """Return the final carry and all outputs, `(time, *batch, ...)`."""
        ...


class Method(Protocol):
    """How a cell is run over time: a hashable value.

    The results must equal those of running one step after the other.

    Attributes:
        backward: the default strategy of this method.
        steps: whether the method runs one step after the other. If True, a strategy may
            run the steps itself, as `Deferred` does.
    """

    @property
    def backward(self) -> Backward:
        """Return the default strategy of this method."""
        ...

    @property
    def steps(self) -> bool:
        """Return whether the method runs one step after the other."""
        ...

    def refuses(self, loop: Loop) -> str | None:
        """Return None, or why this loop cannot be run and which method can run it."""
        ...

    def run(self, loop: Loop, carry: Any) -> tuple[Any, Any]:
        """Return the final carry and all outputs, such that JAX can differentiate."""
        ...

    def befores(self, loop: Loop, carry: Any) -> Any:
        """Return the carry before each step, `(time, *batch, ...)`."""
        ...


class Static(NamedTuple):
    """The static part of a loop. It is hashable."""

    cell: Cell[Any, Any, Any]
    reverse: bool
    batch_shape: tuple[int, ...]
    time_axis: int
    method: Method


class Arrays(NamedTuple):
    """The part of a loop that consists of arrays."""

    params: Any
    xs: Any
    flags: Flags
    fresh: Any


def run_steps(
    loop: Loop, carry: Any, leaving: Callable[[Any], Any] = lambda carry: carry
) -> tuple[Any, Any, Any]:
    """Run one step after the other.

    Args:
        loop: the loop to run.
        carry: the initial carry.
        leaving: a function that is applied to the carry after each step.

    Returns:
        The final carry, the outputs `(time, *batch, ...)`, and the carry before each
        step, with time as the first axis of each part.

    Example:
        >>> import dataclasses
        >>> import jax, jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> @dataclasses.dataclass(frozen=True)
        ... class Plain:
        ...     def run(self, loop, carry):
        ...         rj.backward.need_steps(self, loop)
        ...         final, ys, befores = rj.backward.run_steps(loop, carry)
        ...         return final, ys
        >>> cell = rj.Elman(3)
        >>> params = cell.init(jax.random.key(0), in_features=2)
        >>> _, ys = rj.unroll(cell, params, jnp.ones((7, 2)), backward=Plain())
        >>> ys.shape
        (7, 3)
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
    """Raise an error if the strategy runs the steps itself but the method does not.

    Call it first in a strategy that uses `run_steps`.

    Example:
        >>> import jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> class AllAtOnce:
        ...     steps = False
        ...     backward = rj.ClippedBackward(max_norm=1.0)
        ...     refuses = run = befores = lambda self, *args: None
        ...     def __repr__(self):
        ...         return "AllAtOnce()"
        >>> cell = rj.Elman(3)
        >>> params = cell.init(jax.random.key(0), in_features=2)
        >>> rj.unroll(cell, params, jnp.ones((7, 2)), method=AllAtOnce())
        Traceback (most recent call last):
        TypeError: unroll: ClippedBackward(max_norm=1.0, max_value=None) takes the ...
    """
    if not getattr(loop.method, "steps", False):
        raise TypeError(
            f"unroll: {strategy!r} takes the steps itself, one after the other, so it "
            f"needs method=rj.Sequential(), got {loop.method!r}; rj.Autodiff(), "
            "rj.Checkpointed() and rj.Truncated(...) work with every method"
        )


def part(loop: Loop) -> tuple[Static, Arrays]:
    """Split a loop into its static part and its arrays."""
    cell, *arrays, reverse, batch_shape, time_axis, method = loop
    return Static(cell, reverse, batch_shape, time_axis, method), Arrays(*arrays)


def join(static: Static, arrays: Arrays) -> Loop:
    """Return the loop that `part` split."""
    return Loop(static.cell, *arrays, *static[1:])


def valid_steps(time: int, lengths: Any, mask: Any) -> Any:
    """Return which steps are valid, `(time, *batch)`, or None if all are."""
    if lengths is None:
        return mask
    lengths = jnp.asarray(lengths).astype(int)
    step = lax.expand_dims(jnp.arange(time), range(1, 1 + lengths.ndim))
    within = step < lengths[None]
    return within if mask is None else within & mask
