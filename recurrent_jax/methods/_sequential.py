# SPDX-License-Identifier: Apache-2.0
"""The method that runs one step after the other."""

import dataclasses
from typing import TYPE_CHECKING, Any

from recurrent_jax._loop.blocks import cached_steps, in_blocks
from recurrent_jax._loop.loop import Loop, run_steps
from recurrent_jax.backward import Deferred


class _NoLayers:
    """Answers who takes `Sequential` for layers, one after the other.

    A base class, so that the signature of `Sequential` is that of its fields.
    """

    if not TYPE_CHECKING:  # which knows that there are no arguments

        def __new__(cls, *args: Any, **kwargs: Any) -> Any:
            if cls is Sequential and (args or kwargs):
                raise TypeError(
                    "Sequential: it takes no arguments; it is a method of unroll, "
                    "which runs the steps of one cell. Layers, one after the other, "
                    "are Deep((cell, ...))"
                )
            return super().__new__(cls)


@dataclasses.dataclass(frozen=True)
class Sequential(_NoLayers):
    """Run one step after the other. This method can run every cell.

    The input is projected in blocks of time that fit into a processor's cache.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> cell = rj.Elman(3)
        >>> params = cell.init(jax.random.key(0), in_features=2)
        >>> xs = jnp.ones((7, 2))
        >>> _, ys = rj.unroll(cell, params, xs, method=rj.Sequential())
        >>> ys.shape
        (7, 3)
    """

    # Class attributes. An annotation would turn them into dataclass fields.
    backward = Deferred()
    steps = True

    def refuses(self, loop: Loop) -> None:
        """Refuse no cell."""

    def run(self, loop: Loop, carry: Any) -> tuple[Any, Any]:
        """Return the final carry and all outputs."""

        def run(block: Loop, carry: Any) -> tuple[Any, Any]:
            return run_steps(block, carry)[:2]

        return in_blocks(run, loop, carry, cached_steps(loop))

    def befores(self, loop: Loop, carry: Any) -> Any:
        """Return the carry before each step, with time as the first axis."""
        return run_steps(loop, carry)[2]
