# SPDX-License-Identifier: Apache-2.0
"""Gradients that are made once, for all steps of a block."""

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
    r"""Step through time for the carry alone; make all other gradients once per block.

    $$
    \bar s_{t-1} = \Big(\frac{\partial s_t}{\partial s_{t-1}}\Big)^{\!\top} \bar s_t
    \qquad \text{step by step}, \qquad
    \bar U = \sum_t h_{t-1}^\top \bar u_t = H^\top \bar U_{1 \ldots T}
    \qquad \text{one product}
    $$

    Only the cotangent of the carry must go step by step. Those of z and u are set
    aside on the way, and all parameter and input gradients of a block follow from
    them as one product over its steps. No cell's derivative is written by hand. Every
    mode and order, and `vmap`. Integers and booleans have no gradient and are carried
    along; a cell that holds complex numbers is left to `Autodiff`.

    Args:
        block: steps in a block; None takes as many as stay in a processor's cache.

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
    """Say whether there are steps, and nothing in them is complex."""
    leaves = jax.tree.leaves((loop.params, loop.xs, carry))
    is_complex = any(jnp.issubdtype(a.dtype, jnp.complexfloating) for a in leaves)
    return loop.time > 0 and 0 not in loop.batch_shape and not is_complex
