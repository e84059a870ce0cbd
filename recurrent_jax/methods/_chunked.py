# SPDX-License-Identifier: Apache-2.0
"""The method that runs a linear cell chunk by chunk."""

import dataclasses
from typing import Any

import jax

from recurrent_jax import _checks
from recurrent_jax._core.types import Size
from recurrent_jax._loop.blocks import cached_steps, in_blocks
from recurrent_jax._loop.derived import derived
from recurrent_jax._loop.loop import Loop, join, part, run_steps
from recurrent_jax.backward import Autodiff
from recurrent_jax.methods._linear import at_once, element_of, order_of, reason
from recurrent_jax.methods._sequential import Sequential
from recurrent_jax.scans import Diagonal, Walk


@dataclasses.dataclass(frozen=True)
class Chunked:
    """Run a linear cell one chunk of time after the other, each chunk at once.

    What does not read the state, such as the products of the input and of the output,
    is computed for all steps of a chunk. On a CPU, a loop over the steps then computes
    a diagonal state, and elsewhere a tree as in `Associative` does. A state that is a
    matrix is computed by products of matrices, without the states between.

    With `size`, the backward pass keeps the states between chunks and recomputes the
    rest. Without it, the same holds for blocks of time that fit into a processor's
    cache. Also without it, a CPU takes the steps of a matrix in a loop where no
    derivative is asked for, since that was faster there.

    Args:
        size: the number of steps in a chunk. None takes as many as fit into a
            processor's cache. For a matrix it takes 16, or 8 if each channel has a
            decay of its own.

    Raises:
        TypeError, ValueError: if `size` is not a positive integer, and from `unroll` if
            the cell is not linear.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> cell = rj.LRU(3)
        >>> params = cell.init(jax.random.key(0), in_features=2)
        >>> xs = jnp.ones((7, 2))
        >>> _, ys = rj.unroll(cell, params, xs, method=rj.Chunked(size=4))
        >>> ys.shape
        (7, 3)

    References:
        Dao and Gu, 2024. Transformers are SSMs. https://arxiv.org/abs/2405.21060
        Yang et al., 2024. Parallelizing linear transformers with the delta rule over
        sequence length. https://arxiv.org/abs/2406.06484
    """

    size: Size | None = None

    # Class attributes. An annotation would turn them into dataclass fields.
    backward = Autodiff()
    steps = False

    def __post_init__(self) -> None:
        _checks.fields(self)

    def refuses(self, loop: Loop) -> str | None:
        """Return None, or why the steps cannot be computed at once."""
        return reason(loop)

    def run(self, loop: Loop, carry: Any) -> tuple[Any, Any]:
        """Return the final carry and all outputs."""
        walks, element = order_of(loop) == Walk(), element_of(loop)
        is_matrix = not isinstance(element, Diagonal)
        if self.size is None and walks and is_matrix and _is_wide(carry):
            return derived(Sequential().run, self.chunks, loop, carry)
        return self.chunks(loop, carry)

    def chunks(self, loop: Loop, carry: Any) -> tuple[Any, Any]:
        """Return the final carry and all outputs, computed in chunks."""
        element = element_of(loop)
        chunk = None
        if not isinstance(element, Diagonal):
            chunk = self.size or element.chunk_size
        size = self.size or _block(loop, element, chunk or 1)
        order = order_of(loop)

        def run(block: Loop, carry: Any) -> tuple[Any, Any]:
            if size >= loop.time:
                return at_once(block, carry, order, chunk)
            static, arrays = part(block)

            def inside(arrays: Any, carry: Any) -> tuple[Any, Any]:
                return at_once(join(static, arrays), carry, order, chunk)

            return jax.checkpoint(inside, prevent_cse=False)(arrays, carry)

        return in_blocks(run, loop, carry, size)

    def befores(self, loop: Loop, carry: Any) -> Any:
        """Return the carry before each step, with time as the first axis."""
        return run_steps(loop, carry)[2]


def _is_wide(carry: Any) -> bool:
    """Return whether chunks round no less often than a loop, as they do in 16 bits."""
    return all(a.dtype.itemsize >= 4 for a in jax.tree.leaves(carry))


def _block(loop: Loop, element: Any, chunk: int) -> int:
    """Return a number of steps that fit into the cache, a multiple of a chunk."""
    states = element.added if isinstance(element, Diagonal) else ()
    return max(1, cached_steps(loop, states) // chunk) * chunk
