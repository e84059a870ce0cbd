# SPDX-License-Identifier: Apache-2.0
"""Truncated back-propagation through time."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from recurrent_jax import _checks
from recurrent_jax._core.types import Size
from recurrent_jax._loop.loop import Flags, Loop
from recurrent_jax.backward._autodiff import inner


@dataclasses.dataclass(frozen=True)
class Truncated:
    """Truncated back-propagation: cut the gradient, not the values.

    Every `k1` steps a gradient starts from the outputs of those steps and goes back
    `k2` steps. The values are those of the full run. With `k2 = k1` the sequence is cut
    into chunks. The carry passes values from chunk to chunk, but no gradient. A larger
    `k2` lets the gradient of each chunk reach further back. It runs k2 / k1 times as
    many steps. All chunks run in parallel, as a batch.

    Args:
        k1: the number of steps between the starts of two gradients.
        k2: the number of steps that each gradient goes back, at least `k1`. If None, it
            is `k1`.

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

    k1: Size
    k2: Size | None = None

    steps = False  # works with every method

    def __post_init__(self) -> None:
        _checks.fields(self)
        if self.k2 is not None and self.k2 < self.k1:
            raise ValueError(
                f"Truncated: k2={self.k2} is less than k1={self.k1}, so some outputs "
                "would have no gradient at all; give k2 >= k1"
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
            return loop.method.run(loop, carry)
        # Windows become an additional batch axis. Window w runs the steps from
        # (w + 1) k1 - k2 up to (w + 1) k1. Its last k1 steps produce the outputs.
        k1, k2 = self.k1, self.k2 or self.k1
        ends = np.arange(k1, loop.time + k1, k1)
        steps = ends - k2 + np.arange(k2)[:, None]
        windows = _windows(loop, steps)
        # A window that starts after the first step starts from a carry without
        # gradient.
        befores = loop.method.befores(loop, lax.stop_gradient(carry))
        at_start = steps[0] <= 0

        def start(first: jax.Array, befores: jax.Array) -> jax.Array:
            later = lax.stop_gradient(befores[steps[0][~at_start]])
            return jnp.concatenate([_repeat(first, at_start.sum()), later])

        starts = jax.tree.map(start, carry, befores)
        _checks.refusal("Truncated", windows)
        final, ys = inner(self, loop).run(windows, starts)

        def in_order(y: jax.Array) -> jax.Array:
            y = jnp.swapaxes(y[k2 - k1 :], 0, 1)
            return y.reshape(len(ends) * k1, *y.shape[2:])[: loop.time]

        last = jax.tree.map(lambda a: a[-1], final)
        return last, jax.tree.map(in_order, ys)


def _windows(loop: Loop, steps: Any) -> Loop:
    """Return a loop that runs windows of time as a batch, `steps` (k, windows)."""
    inside = (steps >= 0) & (steps < loop.time)
    everywhere = bool(inside.all())
    steps = steps.clip(0, loop.time - 1)
    xs, flags = jax.tree.map(lambda a: a[steps], (loop.xs, loop.flags))
    inside = jnp.asarray(inside).reshape(inside.shape + (1,) * len(loop.batch_shape))
    inside = jnp.broadcast_to(inside, steps.shape + loop.batch_shape)
    if not everywhere:
        flags = Flags(
            valid=inside if flags.valid is None else flags.valid & inside,
            reset=None if flags.reset is None else flags.reset & inside,
        )
    count = steps.shape[1]
    fresh = jax.tree.map(lambda a: _repeat(a, count), loop.fresh)
    shape = (count, *loop.batch_shape)
    return loop._replace(
        xs=xs, flags=flags, fresh=fresh, batch_shape=shape, time_axis=0
    )


def _repeat(a: jax.Array, times: int) -> jax.Array:
    return jnp.broadcast_to(a, (times, *a.shape))
