# SPDX-License-Identifier: Apache-2.0
"""Leave the derivative to JAX."""

import dataclasses
from typing import Any

from recurrent_jax._loop.loop import Loop


@dataclasses.dataclass(frozen=True)
class Autodiff:
    """Leave the derivative to JAX: the reference for all exact strategies.

    Every mode and order, and every method. Step after step, each parameter gradient is
    added up step by step, and what the derivative needs of each step is kept.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> cell = rj.Elman(3)
        >>> params = cell.init(jax.random.key(0), in_features=2)
        >>> _, ys = rj.unroll(cell, params, jnp.ones((7, 2)), backward=rj.Autodiff())
        >>> ys.shape
        (7, 3)
    """

    def run(self, loop: Loop, carry: Any) -> tuple[Any, Any]:
        """Return the final carry and all outputs."""
        return loop.method.run(loop, carry)
