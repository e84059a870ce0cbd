# SPDX-License-Identifier: Apache-2.0
"""The protocol of online gradients: `init`, `step`, `gradient`."""

import abc
import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from recurrent_jax import _checks
from recurrent_jax._core.arrays import is_float, select, zeros
from recurrent_jax._core.cell import Cell
from recurrent_jax._core.input_types import Arrays, Mask, OneCell, Params
from recurrent_jax._core.types import Key
from recurrent_jax._core.vectors import to_carry, to_vector


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
        params, x = _given(where, self.cell, params, x)
        reading = _checks.read(where, "x", self.cell, x, None)
        _checks.features(reading, params, x)
        fixed, count = self._fixed(params, x, key), jnp.zeros((), int)
        start, memory = self._begin(params, x, fixed, count)
        if carry is not None:
            carry = _checks.arrays(where, "carry", carry)
            _checks.carry(reading, params, "carry", carry)
            start, memory = carry, jax.tree.map(jnp.zeros_like, memory)
        last = LastStep(params, start, zeros(x), memory, _yes(reading.batch_shape))
        return OnlineState(start, memory, last, fixed, count)

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
        if not isinstance(state, OnlineState):
            raise TypeError(
                f"{where}: state must be an OnlineState, as init returns it, got "
                f"{type(state).__name__}; the order is (params, state, x)"
            )
        params, x = _given(where, self.cell, params, x)
        reading = _checks.read(where, "x", self.cell, x, None)
        valid, reset = (
            _flag(where, name, flag, reading.batch_shape)
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
            last = last._replace(valid=_yes(reading.batch_shape))
        else:
            after, moved = select(valid, (after, moved), (carry, memory))
            y = select(valid, y, zeros(y))
        return OnlineState(after, moved, last, state.fixed, state.count + 1), y

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
        last = state.last
        batch_shape = last.valid.shape

        def output(params: Any, vector: jax.Array) -> Any:
            return self.cell.step(params, to_carry(vector, last.carry), last.x)[1]

        y, pull = jax.vjp(output, last.params, to_vector(last.carry, batch_shape))
        where = f"{type(self).__name__}.gradient"
        cotangent = _like(where, cotangent, y)
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


def _given(where: str, cell: Cell, params: Any, x: Any) -> tuple[Any, Any]:
    params = _checks.arrays(where, "params", params)
    for path, leaf in jax.tree.leaves_with_path(params):
        if not is_float(leaf):
            raise TypeError(
                f"{where}: params{jax.tree_util.keystr(path)} must be floating-point, "
                f"got {_checks.describe(leaf)}; it has no gradient"
            )
    return params, _checks.arrays(where, "x", x)


def _yes(batch_shape: tuple[int, ...]) -> jax.Array:
    return jnp.ones(batch_shape, bool)


def _flag(where: str, name: str, flag: Any, batch_shape: tuple[int, ...]) -> Any:
    if flag is None:
        return None
    flag = _checks.array(where, name, flag)
    if flag.dtype != bool or flag.shape != batch_shape:
        raise (TypeError if flag.dtype != bool else ValueError)(
            f"{where}: {name} must be bool of the batch shape {batch_shape}, one for "
            f"each sequence, got {_checks.describe(flag)}"
        )
    return flag


def _like(where: str, cotangent: Any, y: Any) -> Any:
    cotangent = _checks.arrays(where, "cotangent", cotangent)
    if jax.tree.structure(cotangent) != jax.tree.structure(y):
        raise TypeError(
            f"{where}: cotangent must be like the output, {_checks.outline(y)}, got "
            f"{_checks.outline(cotangent)}"
        )
    pairs = zip(jax.tree.leaves(cotangent), jax.tree.leaves(y), strict=True)
    for got, want in pairs:
        if (got.shape, got.dtype) != (want.shape, want.dtype):
            raise (ValueError if got.shape != want.shape else TypeError)(
                f"{where}: cotangent must be like the output, "
                f"{_checks.describe(want)}, got {_checks.describe(got)}"
            )
    return cotangent
