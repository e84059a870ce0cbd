# SPDX-License-Identifier: Apache-2.0
"""Gradients of a nonlinear cell in parallel over time."""

import dataclasses
from typing import Any

from recurrent_jax import _checks
from recurrent_jax._core.partition import Partition
from recurrent_jax._core.types import Size
from recurrent_jax._loop.blocks import in_blocks
from recurrent_jax._loop.loop import Loop, need_steps, run_steps
from recurrent_jax._newton.posed import (
    MOST,
    exact_groups,
    is_empty,
    not_posed,
    outputs_of,
    posed,
    states_of,
)


@dataclasses.dataclass(frozen=True)
class ParallelBackward:
    r"""Loop forward, and compute all gradients at once by a scan back through time.

    $$
    \bar s_{t-1} = J_t^\top \bar s_t + \bar r_{t-1}, \qquad
    J_t = \frac{\partial s_t}{\partial s_{t-1}}
    $$

    The cotangents of the state obey a linear recurrence, whatever the cell is. Here
    $\bar r_{t-1}$ is what reaches a state from the output of the next step. When the
    forward pass has computed the states, all J are known, so time can run in parallel:
    in a tree where the device has many cores. Gradients of parameters and inputs follow
    as one product over all steps.

    J must fall into small blocks. The units of an `IndRNN`, a `DiagonalGRU` or a
    `DiagonalLSTM` read only their own state, and so do the heads of an `SLSTM`. Which
    numbers read each other is found from the code of a cell. The gradient is exact, in
    all modes and orders.

    Args:
        block: the number of steps that are differentiated at once. None takes all of
            them. Memory grows with it: a block of J for each step.

    Raises:
        TypeError, ValueError: if `block` is not a positive integer, and from `unroll`
            if more than 32 numbers of a state read each other, or if a part of the
            carry is not real floats.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> cell = rj.IndRNN(3)
        >>> params = cell.init(jax.random.key(0), in_features=2)
        >>> def loss(params):
        ...     xs, backward = jnp.ones((7, 2)), rj.ParallelBackward()
        ...     return rj.unroll(cell, params, xs, backward=backward)[1].sum()
        >>> jax.grad(loss)(params).kernel.shape
        (2, 3)

    References:
        Danieli et al., 2025. ParaRNN: unlocking parallel training of nonlinear RNNs for
        large language models. https://arxiv.org/abs/2510.21450
    """

    block: Size | None = None

    def __post_init__(self) -> None:
        _checks.fields(self)

    def run(self, loop: Loop, carry: Any) -> tuple[Any, Any]:
        """Return the final carry and all outputs."""
        need_steps(self, loop)
        if is_empty(loop):
            return run_steps(loop, carry)[:2]
        partition = self._partition(loop)

        def run(block: Loop, carry: Any) -> tuple[Any, Any]:
            how, seq = posed(block, carry, partition)
            return outputs_of(block, how, seq, states_of(how, seq))

        return in_blocks(run, loop, carry, self.block or loop.time)

    def _partition(self, loop: Loop) -> Partition:
        reason = not_posed(loop, "ParallelBackward", "rj.Deferred()")
        if reason is None:
            partition = exact_groups(loop)
            if partition.size <= MOST:
                return partition
            reason = (
                f"{partition.size} numbers of its state read each other, and at most "
                f"{MOST} may; rj.Deferred() runs every cell"
            )
        raise TypeError(f"unroll: {self!r} cannot run {loop.cell!r}: {reason}")
