# SPDX-License-Identifier: Apache-2.0
"""The protocol of online gradients: `init`, `step`, `gradient`."""

import abc
import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from recurrent_jax import _checks
from recurrent_jax._core.arrays import select, zeros
from recurrent_jax._core.cell import Cell
from recurrent_jax._core.input_types import Arrays, Mask, OneCell, Params
from recurrent_jax._core.types import Key
from recurrent_jax._core.vectors import to_carry, to_vector
from recurrent_jax.online import _check


class LastStep(NamedTuple):
    """What `gradient` needs of the last step."""

    params: Any
    carry: Any  # before the step
    x: Any
    memory: Any  # before the step
    valid: Any


class OnlineState(NamedTuple):
    """The state of a learner, of a size that does not depend on time.

    Attributes:
        carry: the carry of the cell, after the last step.
        memory: what the learner keeps of the past, `(*batch, ...)` in each part.
        last: the last step.
        fixed: what the learner computed once, or None.
        count: how many steps were made.
    """

    carry: Any
    memory: Any
    last: LastStep
    fixed: Any
    count: jax.Array


@dataclasses.dataclass(frozen=True)
class Learner(abc.ABC):
    """An online gradient of a cell. Subclasses define what is kept of the past.

    The last step is always differentiated exactly, also by the learners that
    approximate what came before it. Sequences of a batch are independent. Parameters
    may change between steps; then the gradient is approximate, as every online gradient
    is while it learns.

    Args:
        cell: any cell whose parameters are floats. Wrappers run in evaluation mode.

    Example: All learners are used alike:

        >>> import jax, jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> cell = rj.DiagonalGRU(3)
        >>> params = cell.init(jax.random.key(0), in_features=2)
        >>> x = jnp.ones((5, 2))
        >>> for learner in (rj.online.RTRL(cell), rj.online.SnAp1(cell)):
        ...     state = learner.init(params, x)
        ...     state, y = learner.step(params, state, x)
        ...     print(learner.gradient(state, y).kernel.shape)
        (2, 9)
        (2, 9)
    """

    cell: OneCell

    def __post_init__(self) -> None:
        _checks.fields(self)

    @_checks.protocol
    def init(
        self, params: Params, x: Arrays, *, carry: Any = None, key: Key | None = None
    ) -> OnlineState:
        """Return the state before the first step.

        Args:
            params: what `cell.init` returned.
            x: an input of one step, `(*batch, features)`. Only its shape is read.
            carry: the state to start from; a constant. If None, `cell.initial_carry`.
            key: a PRNG key, for learners that draw random numbers.

        Returns:
            An `OnlineState`. It can be the carry of `jax.lax.scan`.

        Raises:
            TypeError, ValueError: if types or shapes do not fit.
        """
        where = f"{type(self).__name__}.init"
        reading, params, x = _check.given(where, self.cell, params, x)
        fixed, count = self._fixed(params, x, key), jnp.zeros((), int)
        start, memory = self._begin(params, x, fixed, count)
        if carry is not None:
            carry = _checks.arrays(where, "carry", carry)
            _checks.carry(reading, params, "carry", carry)
            start, memory = carry, jax.tree.map(jnp.zeros_like, memory)
        last = LastStep(
            params, start, zeros(x), memory, jnp.ones(reading.batch_shape, bool)
        )
        return OnlineState(start, memory, last, fixed, count)

    @_checks.called
    def step(
        self,
        params: Params,
        state: OnlineState,
        x: Arrays,
        *,
        valid: Mask | None = None,
        reset: Mask | None = None,
    ) -> tuple[OnlineState, Any]:
        """Return the state after one step of the cell, and the output.

        Args:
            params: what `cell.init` returned, or an optimiser made of it.
            state: the state before the step.
            x: the input, `(*batch, features)`.
            valid: bool, `(*batch)`: False skips the step: the state is kept, and the
                output is zero.
            reset: bool, `(*batch)`: True restarts from `cell.initial_carry` first.

        Returns:
            The state after the step, and what `cell.step` returns as the output.

        Raises:
            TypeError, ValueError: if types or shapes do not fit.
        """
        where = f"{type(self).__name__}.step"
        _check.built(where, state, OnlineState)
        reading, params, x = _check.given(where, self.cell, params, x)
        self._fits(reading, params, x, state.fixed, state.carry, state.memory)
        valid, reset = (
            _check.flag(where, name, flag, reading.batch_shape)
            for name, flag in (("valid", valid), ("reset", reset))
        )
        carry, memory = state.carry, state.memory
        if reset is not None:
            reset = reset if valid is None else reset & valid
            begun = self._begin(params, x, state.fixed, state.count)
            carry, memory = select(reset, begun, (carry, memory))
        if valid is not None:
            x = select(valid, x, zeros(x))
        after, y = self.cell.step(params, carry, x)
        last = LastStep(params, carry, x, memory, valid)
        moved = self._advance(last, state.fixed, state.count)
        if valid is None:
            last = last._replace(valid=jnp.ones(reading.batch_shape, bool))
        else:
            after, moved = select(valid, (after, moved), (carry, memory))
            y = select(valid, y, zeros(y))
        return OnlineState(after, moved, last, state.fixed, state.count + 1), y

    @_checks.called
    def gradient(self, state: OnlineState, cotangent: Any) -> Any:
        """Return the cotangent of the parameters for that of the last output.

        Args:
            state: what the last `step` returned.
            cotangent: the derivative of a loss by the output, like the output.

        Returns:
            The sum of the gradients of the batch, like the parameters. The sum over all
            steps is the gradient of the sum of their losses.

        Raises:
            TypeError, ValueError: if the cotangent is not like the output.
        """
        where = f"{type(self).__name__}.gradient"
        _check.built(where, state, OnlineState)
        last = state.last
        reading, _, _ = _check.given(where, self.cell, last.params, last.x)
        self._fits(
            reading, last.params, last.x, state.fixed, last.carry, last.memory, "last."
        )
        _checks.alike(where, "state.carry", last.carry, state.carry)
        batch_shape = reading.batch_shape

        def output(params: Any, vector: jax.Array) -> Any:
            return self.cell.step(params, to_carry(vector, last.carry), last.x)[1]

        y, pull = jax.vjp(output, last.params, to_vector(last.carry, batch_shape))
        cotangent = _check.like(where, cotangent, y)
        cotangent = select(last.valid, cotangent, zeros(cotangent))
        direct, d_before = pull(cotangent)
        through = self._pull(last, d_before, state.fixed)
        return jax.tree.map(jnp.add, direct, through)

    def _fixed(self, params: Any, x: Any, key: Any) -> Any:
        """Return what is computed once, or None."""
        return None

    @abc.abstractmethod
    def _start(self, params: Any, x: Any, fixed: Any, count: jax.Array) -> Any:
        """Return the memory of one sequence at its start; `x` is that of a batch."""

    @abc.abstractmethod
    def _advance(self, last: LastStep, fixed: Any, count: jax.Array) -> Any:
        """Return the memory after a step, `(*batch, ...)`."""

    @abc.abstractmethod
    def _pull(self, last: LastStep, cotangent: jax.Array, fixed: Any) -> Any:
        """Return the gradient that comes through the state before the step."""

    def _fits(
        self,
        reading: _checks.Reading,
        params: Any,
        x: Any,
        fixed: Any,
        carry: Any,
        memory: Any,
        part: str = "",
    ) -> None:
        """Check that a state belongs to these parameters and inputs."""
        names = (f"state.{part}{name}" for name in ("carry", "memory"))
        begin = functools.partial(self._begin, count=jnp.zeros((), int))
        expected = jax.eval_shape(begin, params, x, fixed)
        for name, want, got in zip(names, expected, (carry, memory), strict=True):
            _checks.alike(reading.where, name, want, got)

    def _begin(
        self, params: Any, x: Any, fixed: Any, count: jax.Array
    ) -> tuple[Any, Any]:
        """Return the carry and the memory at the start of a sequence."""
        batch_shape = batch_of(self.cell, x)
        dtype = _checks.float_dtype(params, x)
        carry = self.cell.initial_carry(batch_shape, dtype, params)
        memory = jax.tree.map(
            lambda a: jnp.broadcast_to(a, (*batch_shape, *a.shape)),
            self._start(params, x, fixed, count),
        )
        return carry, memory


def batch_of(cell: Cell, x: Any) -> tuple[int, ...]:
    """Return the batch axes of an input of one step."""
    first = jax.tree.leaves(x)[0]
    return tuple(first.shape[: first.ndim - cell.feature_axes])
