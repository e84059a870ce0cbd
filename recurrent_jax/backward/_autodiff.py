# SPDX-License-Identifier: Apache-2.0
"""Gradients that JAX computes by differentiating the loop."""

import dataclasses
from typing import Any

from recurrent_jax._loop.loop import Backward, Loop


@dataclasses.dataclass(frozen=True)
class Autodiff:
    """Let JAX differentiate the loop: the reference for all exact strategies.

    It supports forward mode, reverse mode, derivatives of every order, and every
    method. With `Sequential`, the backward pass accumulates each parameter gradient
    step by step, and the forward pass saves the residuals of every step.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> cell = rj.Elman(3)
        >>> params = cell.init(jax.random.key(0), in_features=2)
        >>> _, ys = rj.unroll(cell, params, jnp.ones((7, 2)), backward=rj.Autodiff())
        >>> ys.shape
        (7, 3)
    """

    steps = False  # works with every method

    def run(self, loop: Loop, carry: Any) -> tuple[Any, Any]:
        """Return the final carry and all outputs."""
        return loop.method.run(loop, carry)


def inner(strategy: Backward, loop: Loop) -> Backward:
    """Return the strategy for a part of a loop that `strategy` cuts: the method's own.

    Unless that would cut the part in the same way, without end.
    """
    own = loop.method.backward
    return Autodiff() if isinstance(own, type(strategy)) else own
