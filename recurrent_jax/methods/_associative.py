# SPDX-License-Identifier: Apache-2.0
"""The method that combines all steps of a linear cell in a tree."""

import dataclasses
from typing import Any

from recurrent_jax._loop.loop import Loop, run_steps
from recurrent_jax.backward import Autodiff
from recurrent_jax.methods._linear import at_once, element_of, reason
from recurrent_jax.scans import Diagonal, Tree


@dataclasses.dataclass(frozen=True)
class Associative:
    r"""Run all steps of a linear cell at once, by `jax.lax.associative_scan`.

    $$ (a_2, b_2) \circ (a_1, b_1) = (a_2 a_1,\; a_2 b_1 + b_2) $$

    The depth is $\log_2 T$. The memory is that of the states of all steps. Skipped
    steps and resets are selected and not multiplied, so no NaN from before a reset
    survives. A processor with few cores is faster with `Chunked`.

    Raises:
        TypeError: from `unroll`, if the cell is not linear, or if its step is not a
            diagonal map of the state.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> cell = rj.LRU(3)
        >>> params = cell.init(jax.random.key(0), in_features=2)
        >>> xs = jnp.ones((7, 2))
        >>> _, ys = rj.unroll(cell, params, xs, method=rj.Associative())
        >>> ys.shape
        (7, 3)

    References:
        Blelloch, 1990. Prefix sums and their applications.
        Martin and Cundy, 2018. Parallelizing linear recurrent neural nets over sequence
        length. https://arxiv.org/abs/1709.04057
    """

    # Class attributes. An annotation would turn them into dataclass fields.
    backward = Autodiff()
    steps = False

    def refuses(self, loop: Loop) -> str | None:
        """Return None, or why the steps cannot be combined."""
        if (why := reason(loop)) is not None:
            return why
        element = element_of(loop)
        if isinstance(element, Diagonal) or hasattr(element, "diagonal"):
            return None
        return (
            f"two steps of {type(element).__name__} do not combine into one of the "
            "same size; rj.Chunked() runs this cell by products of matrices"
        )

    def run(self, loop: Loop, carry: Any) -> tuple[Any, Any]:
        """Return the final carry and all outputs."""
        return at_once(loop, carry, Tree(), chunk=None)

    def befores(self, loop: Loop, carry: Any) -> Any:
        """Return the carry before each step, with time as the first axis."""
        return run_steps(loop, carry)[2]
