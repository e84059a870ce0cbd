# SPDX-License-Identifier: Apache-2.0
"""The method that solves all steps of any cell at once."""

import dataclasses
from typing import Any, Literal

import jax

from recurrent_jax import _checks
from recurrent_jax._core.partition import Partition, count, row, singles, units
from recurrent_jax._core.types import Damping, Positive, Size
from recurrent_jax._core.vectors import to_carry
from recurrent_jax._loop.blocks import in_blocks
from recurrent_jax._loop.loop import Loop, run_steps
from recurrent_jax._newton.posed import (
    MOST,
    exact_groups,
    is_empty,
    not_posed,
    outputs_of,
    posed,
    states_of,
    turn,
)
from recurrent_jax._newton.solve import (
    NewtonReport,
    Sequence,
    Settings,
    before_each,
    solve,
)
from recurrent_jax.backward import Autodiff


@dataclasses.dataclass(frozen=True)
class Newton:
    r"""Solve all steps of a cell at once, by Newton's method over the whole sequence.

    $$
    s^{k+1}_t = f(s^k_{t-1}, x_t) + J_t \, (s^{k+1}_{t-1} - s^k_{t-1}), \qquad
    J_t = (1 - \delta) \, \frac{\partial f}{\partial s}(s^k_{t-1}, x_t)
    $$

    Each iteration linearises all steps at the states that it has and solves the linear
    recurrence by one scan, in a tree where the device has many cores. The first k steps
    are exact after k iterations, for any J. Few iterations are enough if the cell
    forgets its state. A chaotic cell needs about as many as there are steps:
    `rj.diagnostics.newton_outlook` tells them apart. The number of iterations and the
    residuals come from `rj.diagnostics.newton_report`.

    A state that has converged is a state of the loop within the tolerance. The result
    never depends on a sequence that has not, as `otherwise` says. The gradient is that
    of the implicit function, by one linear scan back through time.

    The Jacobian is read from the cell. If its state falls into groups that do not read
    each other, such as the units of an `IndRNN` or the heads of an `SLSTM`, J is
    computed in blocks, exactly. Otherwise one block is the whole state.

    Args:
        jacobian: the part of the Jacobian that is used. "exact" uses all of it. "units"
            uses one block for each unit, with the numbers of the unit in all parts of
            the carry, and "diagonal" the diagonal alone. Both need more iterations of
            less memory. Their gradient is exact, by a scan that takes the steps one by
            one. "auto" is "exact" for blocks of at most 32 numbers, else "units".
        damping: $\delta$, from 0 to 1. It stabilises a cell whose iterations overshoot,
            and costs iterations. With 1, each iteration is one step of the cell.
        tolerance: the largest residual at which a sequence has converged, relative to
            one plus the size of a state. None takes $\epsilon^{3/4}$ of the dtype. One
            more iteration is made after that.
        max_iterations: the largest number of iterations.
        chunk: the number of steps that are solved at once, one chunk after the other.
            Memory grows with it. None solves all steps at once.
        otherwise: what to do if a sequence has not converged, or has a NaN. "loop" runs
            the loop over the steps and returns its result. "nan" returns NaN for the
            states of that sequence. "raise" raises an error when the result is
            computed, also under `jit`. Under `vmap`, "loop" always runs the loop too.

    Raises:
        TypeError, ValueError: if a field has the wrong type or is out of range, and
            from `unroll` if a part of the carry is not real floats.
        JaxRuntimeError: with "raise", when the result is computed.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> cell = rj.GRU(3)
        >>> params = cell.init(jax.random.key(0), in_features=2)
        >>> xs = jnp.ones((7, 2))
        >>> _, ys = rj.unroll(cell, params, xs, method=rj.Newton())
        >>> _, want = rj.unroll(cell, params, xs)
        >>> bool(jnp.allclose(ys, want, atol=1e-5))
        True

    References:
        Lim, Zhu, Selfridge and Kasim, 2024. Parallelizing non-linear sequential models
        over the sequence length. https://arxiv.org/abs/2309.12252
        Gonzalez, Warrington, Smith and Linderman, 2024. Towards scalable and stable
        parallelization of nonlinear RNNs. https://arxiv.org/abs/2407.19115
        Danieli et al., 2025. ParaRNN: unlocking parallel training of nonlinear RNNs for
        large language models. https://arxiv.org/abs/2510.21450
    """

    jacobian: Literal["auto", "exact", "units", "diagonal"] = "auto"
    damping: Damping = 0.0
    tolerance: Positive | None = None
    max_iterations: Size = 64
    chunk: Size | None = None
    otherwise: Literal["loop", "nan", "raise"] = "loop"

    # Class attributes. An annotation would turn them into dataclass fields.
    backward = Autodiff()
    steps = False

    def __post_init__(self) -> None:
        _checks.fields(self)

    def refuses(self, loop: Loop) -> str | None:
        """Return None, or why the steps cannot be solved at once."""
        return not_posed(loop, "Newton", "rj.Sequential()")

    def run(self, loop: Loop, carry: Any) -> tuple[Any, Any]:
        """Return the final carry and all outputs."""
        return in_blocks(self._run, loop, carry, self.chunk or max(1, loop.time))

    def befores(self, loop: Loop, carry: Any) -> Any:
        """Return the carry before each step, with time as the first axis."""

        def run(block: Loop, carry: Any) -> tuple[Any, Any]:
            if is_empty(block):
                final, _, befores = run_steps(block, carry)
                return final, befores
            how, seq = self._posed(block, carry)
            states = states_of(how, seq)
            befores = jax.vmap(to_carry, (0, None))(
                before_each(how, seq, states), seq.carry
            )
            return to_carry(states[-1], carry), turn(block, befores)

        return in_blocks(run, loop, carry, self.chunk or max(1, loop.time))[1]

    def report(self, loop: Loop, carry: Any) -> NewtonReport:
        """Return what is done for each chunk, with chunks as the first axis."""

        def run(block: Loop, carry: Any) -> tuple[Any, Any]:
            how, seq = self._posed(block, carry)
            states, report = solve(how, seq)
            return to_carry(states[-1], carry), jax.tree.map(lambda a: a[None], report)

        return in_blocks(run, loop, carry, self.chunk or max(1, loop.time))[1]

    def partition(self, loop: Loop) -> Partition:
        """Return the groups of numbers of a state that are blocks of the Jacobian."""
        carry = row(loop.fresh, len(loop.batch_shape))
        exact = exact_groups(loop)
        if self.jacobian in ("units", "diagonal"):
            chosen = (units if self.jacobian == "units" else singles)(carry)
            return exact if exact.size <= chosen.size else chosen
        if self.jacobian == "auto" and count(carry) > MOST:
            return exact if exact.size <= MOST else units(carry)
        return exact

    def _posed(self, loop: Loop, carry: Any) -> tuple[Settings, Sequence]:
        return posed(
            loop,
            carry,
            self.partition(loop),
            damping=self.damping,
            tolerance=self.tolerance,
            most=self.max_iterations,
            otherwise=self.otherwise,
        )

    def _run(self, loop: Loop, carry: Any) -> tuple[Any, Any]:
        if is_empty(loop):
            return run_steps(loop, carry)[:2]
        how, seq = self._posed(loop, carry)
        return outputs_of(loop, how, seq, states_of(how, seq))
