# SPDX-License-Identifier: Apache-2.0
"""Back-propagation in little memory: the backward pass recomputes most values."""

import dataclasses
import math
from typing import Any

import jax

from recurrent_jax import _checks
from recurrent_jax._core.types import Size
from recurrent_jax._loop.blocks import even, in_blocks
from recurrent_jax._loop.derived import derived
from recurrent_jax._loop.loop import Backward, Loop, join, part
from recurrent_jax.backward._autodiff import inner

_MOST_LEVELS = 4


@dataclasses.dataclass(frozen=True)
class Checkpointed:
    r"""Save one carry per block and recompute the rest: memory of $\sqrt T$.

    Inside a block, the strategy of the method computes the gradients. For `Sequential`
    this is `Deferred`. With `levels` above 1, each block is cut into smaller blocks: L
    levels save about $(L + 1) T^{1 / (L + 1)}$ carries and cost L extra forward passes.
    With `budget`, the strategy chooses `every` and `levels` itself. It takes the fewest
    levels that fit.

    Args:
        every: the number of steps in an outermost block. None takes $T^{L / (L + 1)}$,
            which for one level is $\sqrt T$. It takes more steps, up to all of them, as
            long as they need less memory than the parameters.
        levels: the number of levels of nested blocks.
        budget: the bytes that the saved carries and one innermost block may take, not
            counting inputs, outputs and their gradients. It replaces `every` and
            `levels`.

    Raises:
        TypeError, ValueError: if an argument is not a positive integer, if `budget` is
            given with another argument, or if no choice fits into `budget`.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> cell, strategy = rj.GRU(3), rj.Checkpointed(every=4)
        >>> params = cell.init(jax.random.key(0), in_features=2)
        >>> def loss(params):
        ...     _, ys = rj.unroll(cell, params, jnp.ones((7, 2)), backward=strategy)
        ...     return ys.sum()
        >>> jax.grad(loss)(params).recurrent_kernel.shape
        (3, 9)

    References:
        Chen et al., 2016. Training deep nets with sublinear memory cost.
        https://arxiv.org/abs/1604.06174
        Gruslys et al., 2016. Memory-efficient backpropagation through time.
        https://arxiv.org/abs/1606.03401
    """

    every: Size | None = None
    levels: Size = 1
    budget: Size | None = None

    steps = False  # works with every method

    def __post_init__(self) -> None:
        _checks.fields(self)
        if self.budget is not None and (self.every, self.levels) != (None, 1):
            raise ValueError(
                f"Checkpointed: budget={self.budget} chooses every and levels; "
                "give either budget, or every and levels"
            )

    def run(self, loop: Loop, carry: Any) -> tuple[Any, Any]:
        """Return the final carry and all outputs."""
        whole = inner(self, loop).run
        if loop.time == 0 or (self._is_free and _least(loop) >= loop.time):
            return whole(loop, carry)
        return derived(whole, self.blocks, loop, carry)

    def blocks(self, loop: Loop, carry: Any) -> tuple[Any, Any]:
        """Return the final carry and all outputs, computed block by block."""
        size, inner = self._cut(loop, carry)

        def run(block: Loop, carry: Any) -> tuple[Any, Any]:
            static, arrays = part(block)

            def inside(arrays: Any, carry: Any) -> tuple[Any, Any]:
                return inner.run(join(static, arrays), carry)

            return jax.checkpoint(inside, prevent_cse=False)(arrays, carry)

        return in_blocks(run, loop, carry, size)

    @property
    def _is_free(self) -> bool:
        """Whether the strategy chooses the block size itself."""
        return self.every is None and self.budget is None

    def _cut(self, loop: Loop, carry: Any) -> tuple[int, Any]:
        """Return the size of a block, and the strategy to use inside it."""
        if self.budget is not None:
            return _fit(self, self.budget, loop, carry)
        share = self.levels / (self.levels + 1)
        size = self.every
        if size is None:
            size = even(loop.time, max(math.ceil(loop.time**share), _least(loop)))
        if self.levels == 1:
            return size, inner(self, loop)
        return size, Checkpointed(levels=self.levels - 1)


def _least(loop: Loop) -> int:
    """Return how many steps take about as much memory as the parameters.

    Each block adds its parameter gradients to the running sum. With smaller blocks this
    addition takes much time and saves almost no memory.
    """
    zs = jax.eval_shape(loop.cell.project, loop.params, loop.xs)
    each = _bytes(zs)
    if not isinstance(each, int):  # a symbol, for `jax.export`: it may be large
        return 1
    return math.ceil(_bytes(loop.params) * loop.time / max(1, each))


def _fit(
    strategy: Checkpointed, budget: int, loop: Loop, carry: Any
) -> tuple[int, Any]:
    r"""Return the largest blocks of the fewest levels that fit into `budget` bytes.

    Let a carry take C bytes and the residuals of a step K bytes. Then L levels of q
    blocks each take $L q C + n K$ bytes, where $q^L n = T$. The minimum is at
    $q C = n K$.
    """
    # A cell without state still saves the residuals of one block.
    inside = inner(strategy, loop)
    C, K = max(1, _bytes(carry)), _step_bytes(inside, loop, carry)
    for levels in range(1, _MOST_LEVELS + 1):
        n = (loop.time * (C / K) ** levels) ** (1 / (levels + 1))
        q = n * K / C
        least = math.ceil(levels * q * C + n * K)
        if least <= budget or levels * q >= loop.time:
            break
    if least > budget:
        raise ValueError(
            f"Checkpointed: budget={budget} bytes is too little for {loop.time} steps "
            f"of {C} bytes in a carry and about {K} in a step that is kept; "
            f"the least is about {least}"
        )
    size = min(loop.time, max(1, math.ceil(loop.time / q)))
    if levels == 1:
        return size, inside
    return size, Checkpointed(budget=budget - math.ceil(loop.time / size) * C)


def _step_bytes(inside: Backward, loop: Loop, carry: Any) -> int:
    """Return about how many bytes the residuals of one more step take."""

    def kept(time: int) -> int:
        static, arrays = part(loop)
        arrays = jax.tree.map(jax.typeof, arrays)
        xs, flags = jax.tree.map(
            lambda a: a.update(shape=(time, *a.shape[1:])), (arrays.xs, arrays.flags)
        )

        def pull(arrays: Any, carry: Any) -> Any:
            def run(arrays: Any, carry: Any) -> Any:
                return inside.run(join(static, arrays), carry)

            return jax.vjp(run, arrays, carry)[1]

        return _bytes(jax.eval_shape(pull, arrays._replace(xs=xs, flags=flags), carry))

    zs = jax.eval_shape(loop.cell.project, loop.params, loop.xs)
    # z itself, and its cotangent, which is stored until the end of the block.
    beside = 2 * _bytes(zs) // loop.time
    return max(1, (kept(2 * loop.time) - kept(loop.time)) // loop.time + beside)


def _bytes(tree: Any) -> int:
    return sum(a.size * a.dtype.itemsize for a in jax.tree.leaves(tree))
