# SPDX-License-Identifier: Apache-2.0
"""Steps of any kind, one after the other, with the carry before each."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from recurrent_jax._core.arrays import select
from recurrent_jax._loop.loop import Flags
from recurrent_jax.scans._diagonal import Diagonal, Order, diagonal_states


def walk(
    order: Order, step: Any, carry: Any, reset: jax.Array | None, fresh: Any
) -> tuple[Any, Any]:
    """Return the carry before each step, and the final one.

    A reset restarts from `fresh`. Diagonal steps are computed as `order` says.
    """
    if isinstance(step, Diagonal):
        states = diagonal_states(order, step, carry, Flags(None, reset), fresh)
        return befores(carry, states), jax.tree.map(lambda a: a[-1], states)

    def body(carry: Any, now: Any) -> tuple[Any, Any]:
        step, reset = now
        before = carry if reset is None else select(reset, fresh, carry)
        return step.apply(before), carry

    final, starts = lax.scan(body, carry, (step, reset))
    return starts, final


def befores(carry: Any, states: Any) -> Any:
    """Return the carry before each step, from those after each."""
    return jax.tree.map(lambda a, b: jnp.concatenate([a[None], b[:-1]]), carry, states)
