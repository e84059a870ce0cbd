# SPDX-License-Identifier: Apache-2.0
"""How gradients are made: one value per strategy, none knows a cell's equations.

A strategy runs a `Loop` and decides what its derivative is and what it costs.
`Autodiff`, `Deferred` and `Checkpointed` give the same gradient; `Truncated` and
`ClippedBackward` give another one on purpose.
"""

import dataclasses
import functools
import math
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from recurrent_jax import _check
from recurrent_jax._deferred import KEEP_CARRIES, KEEP_NOTHING, checkpointed
from recurrent_jax._loop import (
    Flags,
    Loop,
    cached_steps,
    even,
    forward,
    in_blocks,
    select,
    trail,
)


class Backward(Protocol):
    """A strategy: a hashable value that runs a loop."""

    def run(self, loop: Loop, carry: Any) -> tuple[Any, Any]:
        """Return the final carry and all outputs."""
        ...


@dataclasses.dataclass(frozen=True)
class Autodiff:
    """Leave the derivative to JAX: the reference for all exact strategies.

    Every mode and order. Each parameter gradient is added up step by step, and what
    the derivative needs of each step is kept. The input is projected in blocks of time
    that stay in a processor's cache.

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

        def run(block: Loop, carry: Any) -> tuple[Any, Any]:
            return forward(block, carry)[:2]

        return in_blocks(run, loop, carry, cached_steps(loop))


@dataclasses.dataclass(frozen=True)
class Deferred:
    """Step through time for the carry alone; make all other gradients once per block.

    The derivative of a step has two parts. What comes through the carry must go step
    by step. What comes through parameters and inputs need not: with the carries known,
    it is one product over all steps of a block, forward, and so one product when JAX
    transposes it. Only the carries are kept. Every mode and order.

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

    block: int | None = None

    def __post_init__(self) -> None:
        if self.block is not None:
            _check.size("Deferred", "block", self.block)

    def run(self, loop: Loop, carry: Any) -> tuple[Any, Any]:
        """Return the final carry and all outputs."""
        size = self.block or cached_steps(loop)
        run = functools.partial(checkpointed, KEEP_CARRIES)
        return in_blocks(run, loop, carry, size)


@dataclasses.dataclass(frozen=True)
class Checkpointed:
    r"""Keep one carry per block and compute the rest again: memory of $\sqrt T$.

    Inside a block, gradients are deferred. With `levels`, blocks are cut into blocks
    again: L levels keep about $(L + 1) T^{1 / (L + 1)}$ carries, at the price of L
    forward runs more.

    Args:
        every: steps in an outermost block; None takes $T^{L / (L + 1)}$, which for
            one level is $\sqrt T$.
        levels: how often blocks are cut.

    Raises:
        TypeError, ValueError: if an argument is not a positive integer.

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

    every: int | None = None
    levels: int = 1

    def __post_init__(self) -> None:
        _check.size("Checkpointed", "levels", self.levels)
        if self.every is not None:
            _check.size("Checkpointed", "every", self.every)

    def run(self, loop: Loop, carry: Any) -> tuple[Any, Any]:
        """Return the final carry and all outputs."""
        share = self.levels / (self.levels + 1)
        size = self.every or even(loop.time, math.ceil(loop.time**share))
        inner = None
        if self.levels > 1:
            inner = Checkpointed(levels=self.levels - 1)
        run = functools.partial(checkpointed, KEEP_NOTHING, inner=inner)
        return in_blocks(run, loop, carry, size)


@dataclasses.dataclass(frozen=True)
class Truncated:
    """Truncated back-propagation: cut the gradient, not the values.

    Every `k1` steps a gradient starts, from the outputs of those steps, and goes back
    `k2` steps. Values are those of the full run. With `k2 = k1` the sequence is cut
    into chunks whose carries pass values and no gradient; a longer `k2` lets each
    chunk see further back, at the price of running k2 / k1 times the steps. All
    chunks run side by side.

    Args:
        k1: steps between the starts of gradients.
        k2: steps that each goes back, at least k1; k1 if None.

    Raises:
        TypeError, ValueError: if an argument is not a positive integer, or k2 < k1.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> cell = rj.Elman(3)
        >>> params = cell.init(jax.random.key(0), in_features=2)
        >>> def last(xs):
        ...     cut = rj.Truncated(k1=2, k2=4)
        ...     return rj.unroll(cell, params, xs, backward=cut)[1][-1].sum()
        >>> gradient = jax.grad(last)(jnp.ones((8, 2)))
        >>> print(jnp.abs(gradient).sum(-1) > 0)
        [False False False False  True  True  True  True]

    References:
        Williams and Peng, 1990. An efficient gradient-based algorithm for on-line
        training of recurrent network trajectories.
        https://doi.org/10.1162/neco.1990.2.4.490
    """

    k1: int
    k2: int | None = None

    def __post_init__(self) -> None:
        _check.size("Truncated", "k1", self.k1)
        if self.k2 is not None:
            _check.size("Truncated", "k2", self.k2)
            if self.k2 < self.k1:
                raise ValueError(
                    f"Truncated: k2={self.k2} is less than k1={self.k1}, so some "
                    "outputs would have no gradient at all; give k2 >= k1"
                )

    def run(self, loop: Loop, carry: Any) -> tuple[Any, Any]:
        """Return the final carry and all outputs."""
        if loop.reverse:
            flip = functools.partial(jax.tree.map, lambda a: jnp.flip(a, 0))
            xs, flags = flip((loop.xs, loop.flags))
            final, ys = self.run(
                loop._replace(xs=xs, flags=flags, reverse=False), carry
            )
            return final, flip(ys)
        if loop.time == 0:
            return Autodiff().run(loop, carry)
        # Windows become one more batch axis: window w holds the steps from
        # (w + 1) k1 - k2 up to (w + 1) k1, and its last k1 steps give the outputs.
        k1, k2 = self.k1, self.k2 or self.k1
        ends = np.arange(k1, loop.time + k1, k1)
        steps = ends - k2 + np.arange(k2)[:, None]
        windows = _windows(loop, steps)
        # All that starts after the first step starts from a carry without gradient.
        _, _, befores = forward(loop, lax.stop_gradient(carry))
        at_start = steps[0] <= 0

        def start(first: jax.Array, befores: jax.Array) -> jax.Array:
            later = lax.stop_gradient(befores[steps[0][~at_start]])
            return jnp.concatenate([_repeat(first, at_start.sum()), later])

        starts = jax.tree.map(start, carry, befores)
        final, ys = Deferred().run(windows, starts)

        def in_order(y: jax.Array) -> jax.Array:
            y = jnp.swapaxes(y[k2 - k1 :], 0, 1)
            return y.reshape(len(ends) * k1, *y.shape[2:])[: loop.time]

        last = jax.tree.map(lambda a: a[-1], final)
        return last, jax.tree.map(in_order, ys)


@dataclasses.dataclass(frozen=True)
class ClippedBackward:
    r"""Clip the gradient inside the backward loop, at every step of the carry.

    $$
    \bar s_t \leftarrow \mathrm{clip}(\bar s_t), \qquad
    \bar s_{t-1} = J_t^\top \bar s_t + \ldots
    $$

    An explosion is stopped where it starts and does not reach the parameters of
    earlier steps, which clipping the finished gradient cannot do. The result is not
    the gradient of any function. The norm is that of the whole carry of one sequence,
    so that sequences in a batch stay independent; it comes before the value.

    Args:
        max_norm: greatest norm of the cotangent of one sequence's carry, or None.
        max_value: greatest magnitude of any one number in it, or None.

    Raises:
        ValueError: if a bound is not positive and finite.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> cell = rj.Elman(1, activation=jax.nn.identity)
        >>> params = rj.ElmanParams(jnp.ones((1, 1)), jnp.full((1, 1), 2.0), None)
        >>> def last(xs, backward):
        ...     return rj.unroll(cell, params, xs, backward=backward)[0].h.sum()
        >>> xs = jnp.ones((5, 1))
        >>> print(jax.grad(last)(xs, rj.Autodiff()).ravel())
        [16.  8.  4.  2.  1.]
        >>> print(jax.grad(last)(xs, rj.ClippedBackward(max_norm=3.0)).ravel())
        [3. 3. 3. 2. 1.]

    References:
        Graves, 2013. Generating sequences with recurrent neural networks.
        https://arxiv.org/abs/1308.0850
    """

    max_norm: float | None = None
    max_value: float | None = None

    def __post_init__(self) -> None:
        for name in ("max_norm", "max_value"):
            _check.bound("ClippedBackward", name, getattr(self, name))

    def run(self, loop: Loop, carry: Any) -> tuple[Any, Any]:
        """Return the final carry and all outputs."""
        batch_rank = len(loop.batch_shape)

        @jax.custom_vjp
        def clipped(carry: Any) -> Any:
            return carry

        def pull(_: None, cotangent: Any) -> tuple[Any]:
            return (_clip(cotangent, batch_rank, self.max_norm, self.max_value),)

        clipped.defvjp(lambda carry: (carry, None), pull)
        return forward(loop, carry, clipped)[:2]


def _windows(loop: Loop, steps: Any) -> Loop:
    """Return a loop over windows of time side by side, `steps` (k, windows)."""
    inside = (steps >= 0) & (steps < loop.time)
    steps = steps.clip(0, loop.time - 1)
    xs, flags = jax.tree.map(lambda a: a[steps], (loop.xs, loop.flags))
    inside = jnp.asarray(inside).reshape(inside.shape + (1,) * len(loop.batch_shape))
    inside = jnp.broadcast_to(inside, steps.shape + loop.batch_shape)
    flags = Flags(
        valid=inside if flags.valid is None else flags.valid & inside,
        reset=None if flags.reset is None else flags.reset & inside,
    )
    count = steps.shape[1]
    fresh = jax.tree.map(lambda a: _repeat(a, count), loop.fresh)
    shape = (count, *loop.batch_shape)
    return loop._replace(xs=xs, flags=flags, fresh=fresh, batch_shape=shape)


def _repeat(a: jax.Array, times: int) -> jax.Array:
    return jnp.broadcast_to(a, (times, *a.shape))


def _clip(
    cotangent: Any, batch_rank: int, max_norm: float | None, max_value: float | None
) -> Any:
    if max_norm is not None:
        squares = (
            jnp.sum(jnp.square(a), axis=range(batch_rank, a.ndim))
            for a in jax.tree.leaves(cotangent)
        )
        norm = jnp.sqrt(sum(squares))
        cotangent = select(
            norm > max_norm,
            jax.tree.map(lambda a: a * (max_norm / trail(norm, a)), cotangent),
            cotangent,
        )
    if max_value is not None:
        cotangent = jax.tree.map(
            lambda a: jnp.clip(a, -max_value, max_value), cotangent
        )
    return cotangent
