# SPDX-License-Identifier: Apache-2.0
"""Gradients that are computed once for all steps of a block."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from recurrent_jax import _checks
from recurrent_jax._core.types import Size
from recurrent_jax._loop.blocks import cached_steps
from recurrent_jax._loop.loop import Loop, need_steps, part
from recurrent_jax.backward._autodiff import Autodiff
from recurrent_jax.backward._engine.plan import make_plan
from recurrent_jax.backward._engine.rule import run_blocks
from recurrent_jax.backward._engine.tangent import transposed_kernel


@dataclasses.dataclass(frozen=True)
class Deferred:
    r"""Loop over time for the carry only; compute other gradients once per block.

    $$
    \begin{aligned}
    \bar s_{t-1} &= \Big(\frac{\partial s_t}{\partial s_{t-1}}\Big)^{\!\top} \bar s_t
    && \text{step by step} \\
    \bar U &= \sum_t h_{t-1}^\top \bar u_t = H^\top \bar U_{1 \ldots T}
    && \text{one product}
    \end{aligned}
    $$

    Only the cotangent of the carry needs a loop over the steps. The loop stores the
    cotangents of z and u. All parameter and input gradients of a block then follow from
    them as one product over its steps. No derivative of a cell is written by hand. The
    strategy supports forward mode, reverse mode, derivatives of every order, and
    `vmap`. Integers and booleans have no gradient and pass through. Cells with complex
    numbers fall back to `Autodiff`.

    Args:
        block: the number of steps in a block. None takes as many as fit into a
            processor's cache.

    Raises:
        TypeError, ValueError: if `block` is not a positive integer.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> cell = rj.LSTM(3)
        >>> params = cell.init(jax.random.key(0), in_features=2)
        >>> def loss(params):
        ...     xs = jnp.ones((7, 2))
        ...     return rj.unroll(cell, params, xs, backward=rj.Deferred())[1].sum()
        >>> jax.grad(loss)(params).recurrent_kernel.shape
        (3, 12)
    """

    block: Size | None = None

    def __post_init__(self) -> None:
        _checks.fields(self)

    def run(self, loop: Loop, carry: Any) -> tuple[Any, Any]:
        """Return the final carry and all outputs."""
        need_steps(self, loop)
        if not can_defer(loop, carry):
            return Autodiff().run(loop, carry)
        plan = make_plan(loop, carry)
        size = self.block or cached_steps(loop)
        turned = transposed_kernel(plan, loop.params)
        return run_blocks(plan, size, part(loop)[1], carry, turned)


def can_defer(loop: Loop, carry: Any) -> bool:
    """Return whether the loop has steps and sequences, and no complex numbers."""
    leaves = jax.tree.leaves((loop.params, loop.xs, carry))
    is_complex = any(jnp.issubdtype(a.dtype, jnp.complexfloating) for a in leaves)
    return loop.time > 0 and 0 not in loop.batch_shape and not is_complex
