# SPDX-License-Identifier: Apache-2.0
"""Back-propagation in little memory: what is not kept is computed again."""

import dataclasses
import math
from typing import Any

import jax

from recurrent_jax import _checks
from recurrent_jax._core.types import Size
from recurrent_jax._loop.blocks import even, in_blocks
from recurrent_jax._loop.loop import Loop, join, part

_MOST_LEVELS = 4


@dataclasses.dataclass(frozen=True)
class Checkpointed:
    r"""Keep one carry per block and compute the rest again: memory of $\sqrt T$.

    Inside a block, gradients are made as the method has it, which is `Deferred` for
    `Sequential`. With `levels`, blocks are cut into blocks
    again: L levels keep about $(L + 1) T^{1 / (L + 1)}$ carries, at the price of L
    forward runs more. With `budget`, both are chosen: the fewest levels that fit.

    Args:
        every: steps in an outermost block; None takes $T^{L / (L + 1)}$, which for
            one level is $\sqrt T$, or more steps, up to all, as long as they take less
            memory than the parameters.
        levels: how often blocks are cut.
        budget: bytes that carries and one innermost block may take, besides inputs,
            outputs and their gradients; in place of `every` and `levels`.

    Raises:
        TypeError, ValueError: if an argument is not a positive integer, if `budget` is
            given with another, or if nothing fits into it.

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

    def __post_init__(self) -> None:
        _checks.fields(self)
        if self.budget is not None and (self.every, self.levels) != (None, 1):
            raise ValueError(
                f"Checkpointed: budget={self.budget} chooses every and levels; "
                "give either budget, or every and levels"
            )

    def run(self, loop: Loop, carry: Any) -> tuple[Any, Any]:
        """Return the final carry and all outputs."""
        if loop.time == 0 or (self._is_free and _least(loop) >= loop.time):
            return loop.method.backward.run(loop, carry)
        size, inner = self._cut(loop, carry)

        def run(block: Loop, carry: Any) -> tuple[Any, Any]:
            static, arrays = part(block)

            def inside(arrays: Any, carry: Any) -> tuple[Any, Any]:
                return inner.run(join(static, arrays), carry)

            return jax.checkpoint(inside, prevent_cse=False)(arrays, carry)

        return in_blocks(run, loop, carry, size)

    @property
    def _is_free(self) -> bool:
        """Whether the size of a block was left to us."""
        return self.every is None and self.budget is None

    def _cut(self, loop: Loop, carry: Any) -> tuple[int, Any]:
        """Return the size of a block, and the strategy inside of it."""
        if self.budget is not None:
            return _fit(self.budget, loop, carry)
        share = self.levels / (self.levels + 1)
        size = self.every
        if size is None:
            size = even(loop.time, max(math.ceil(loop.time**share), _least(loop)))
        if self.levels == 1:
            return size, loop.method.backward
        return size, Checkpointed(levels=self.levels - 1)


def _least(loop: Loop) -> int:
    """Return how many steps take about as much memory as the parameters.

    Each block adds its gradients of the parameters to those so far. In smaller blocks
    that costs much time and saves no memory to speak of.
    """
    zs = jax.eval_shape(loop.cell.project, loop.params, loop.xs)
    return math.ceil(_bytes(loop.params) * loop.time / max(1, _bytes(zs)))


def _fit(budget: int, loop: Loop, carry: Any) -> tuple[int, Any]:
    r"""Return the largest blocks of the fewest levels that fit into `budget` bytes.

    With C bytes in a carry and K in a step that is kept whole, L levels of q blocks
    each take $L q C + n K$ for $q^L n = T$: least where $q C = n K$.
    """
    # A cell without a state still has a block's worth of steps to keep.
    C, K = max(1, _bytes(carry)), _step_bytes(loop, carry)
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
        return size, loop.method.backward
    return size, Checkpointed(budget=budget - math.ceil(loop.time / size) * C)


def _step_bytes(loop: Loop, carry: Any) -> int:
    """Return about how many bytes the gradient of one more step takes."""

    def kept(time: int) -> int:
        static, arrays = part(loop)
        arrays = jax.tree.map(jax.typeof, arrays)
        xs, flags = jax.tree.map(
            lambda a: a.update(shape=(time, *a.shape[1:])), (arrays.xs, arrays.flags)
        )

        def pull(arrays: Any, carry: Any) -> Any:
            def run(arrays: Any, carry: Any) -> Any:
                return loop.method.backward.run(join(static, arrays), carry)

            return jax.vjp(run, arrays, carry)[1]

        return _bytes(jax.eval_shape(pull, arrays._replace(xs=xs, flags=flags), carry))

    zs = jax.eval_shape(loop.cell.project, loop.params, loop.xs)
    # z itself, and the cotangent that is set aside.
    beside = 2 * _bytes(zs) // loop.time
    return max(1, (kept(2 * loop.time) - kept(loop.time)) // loop.time + beside)


def _bytes(tree: Any) -> int:
    return sum(a.size * a.dtype.itemsize for a in jax.tree.leaves(tree))
