# SPDX-License-Identifier: Apache-2.0
"""The method that solves all steps of any cell at once."""

import dataclasses
from typing import Any, Literal

import jax
import jax.numpy as jnp

from recurrent_jax import _checks
from recurrent_jax._core.arrays import is_float, select, zeros
from recurrent_jax._core.partition import (
    Partition,
    count,
    exact_partition,
    row,
    singles,
    units,
    whole,
)
from recurrent_jax._core.types import Damping, Positive, Size
from recurrent_jax._core.vectors import to_carry
from recurrent_jax._loop.blocks import in_blocks
from recurrent_jax._loop.loop import Loop, run_steps
from recurrent_jax._loop.tuning import tuning
from recurrent_jax.backward import Autodiff
from recurrent_jax.methods._newton_rule import apart, trajectory
from recurrent_jax.methods._newton_solve import (
    NewtonReport,
    Sequence,
    Settings,
    before_each,
    solve,
)
from recurrent_jax.scans import Order, Tree, Walk

# The largest block whose exact Jacobian is computed if the user does not choose.
_MOST = 32


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
        leaves = jax.tree.leaves_with_path(loop.fresh)
        if not leaves:
            return "it has no state to solve for; rj.Sequential() runs every cell"
        for path, leaf in leaves:
            if not is_float(leaf):
                name = jax.tree_util.keystr(path)
                return (
                    f"its carry has {leaf.dtype} numbers in {name}, and Newton needs "
                    "real floats; rj.Sequential() runs every cell"
                )
        arrays = jax.tree.leaves((loop.params, loop.xs))
        if not (loop.cell.rowwise or all(map(is_float, arrays))):
            return (
                "it reads integers or bools and does not declare rowwise = True, so "
                "its rows may depend on each other; rj.Sequential() runs every cell"
            )
        return None

    def run(self, loop: Loop, carry: Any) -> tuple[Any, Any]:
        """Return the final carry and all outputs."""
        return in_blocks(self._run, loop, carry, self.chunk or max(1, loop.time))

    def befores(self, loop: Loop, carry: Any) -> Any:
        """Return the carry before each step, with time as the first axis."""

        def run(block: Loop, carry: Any) -> tuple[Any, Any]:
            if _is_empty(block):
                final, _, befores = run_steps(block, carry)
                return final, befores
            how, seq, states = self._states(block, carry)
            befores = jax.vmap(to_carry, (0, None))(
                before_each(how, seq, states), seq.carry
            )
            return to_carry(states[-1], carry), _turn(block, befores)

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
        if self.jacobian in ("units", "diagonal"):
            exact = _exact(loop, carry)
            chosen = (units if self.jacobian == "units" else singles)(carry)
            return exact if exact.size <= chosen.size else chosen
        if self.jacobian == "auto" and count(carry) > _MOST:
            exact = _exact(loop, carry)
            return exact if exact.size <= _MOST else units(carry)
        return _exact(loop, carry)

    def _posed(self, loop: Loop, carry: Any) -> tuple[Settings, Sequence]:
        walks = tuning((loop.params, loop.xs)).walks
        order: Order = Walk() if walks else Tree()
        how = Settings(
            loop.cell,
            len(loop.batch_shape),
            self.partition(loop),
            order,
            self.damping,
            self.tolerance,
            self.max_iterations,
            self.otherwise,
        )
        zs = loop.cell.project(loop.params, loop.xs)
        flags = loop.flags
        if flags.valid is not None and flags.reset is not None:
            flags = flags._replace(reset=flags.reset & flags.valid)
        zs, flags = _turn(loop, (zs, flags))
        return how, Sequence(loop.params, zs, flags, carry, loop.fresh)

    def _states(self, loop: Loop, carry: Any) -> tuple[Settings, Sequence, jax.Array]:
        how, seq = self._posed(loop, carry)
        arrays, form = apart(seq)
        return how, seq, trajectory(how, form, arrays)

    def _run(self, loop: Loop, carry: Any) -> tuple[Any, Any]:
        if _is_empty(loop):
            return run_steps(loop, carry)[:2]
        how, seq, states = self._states(loop, carry)

        def emit(before: jax.Array, z: Any) -> Any:
            return loop.cell.recur(seq.params, to_carry(before, seq.carry), z)[1]

        ys = jax.vmap(emit)(before_each(how, seq, states), seq.zs)
        if seq.flags.valid is not None:
            ys = select(seq.flags.valid, ys, zeros(ys))
        return to_carry(states[-1], carry), _turn(loop, ys)


@dataclasses.dataclass(frozen=True)
class _Recur:
    """A step as a function of the carry first, that compares by value."""

    cell: Any

    def __call__(self, carry: Any, params: Any, z: Any) -> Any:
        return self.cell.recur(params, carry, z)[0]


def _exact(loop: Loop, carry: Any) -> Partition:
    """Return the groups that do not read each other, or all numbers as one group."""
    zs = jax.eval_shape(loop.cell.project, loop.params, loop.xs)
    try:
        z = row(zs, 1 + len(loop.batch_shape))
        return exact_partition(_Recur(loop.cell), carry, loop.params, z)
    except Exception:  # parameters with batch axes, such as a memory, have no one row
        return whole(carry)


def _is_empty(loop: Loop) -> bool:
    return loop.time == 0 or 0 in loop.batch_shape


def _turn(loop: Loop, tree: Any) -> Any:
    if not loop.reverse:
        return tree
    return jax.tree.map(lambda a: jnp.flip(a, 0), tree)
