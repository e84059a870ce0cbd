# SPDX-License-Identifier: Apache-2.0
"""Gradients that are clipped inside the backward loop."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from recurrent_jax import _checks
from recurrent_jax._core.arrays import map_floats, select, trail
from recurrent_jax._core.types import Bound
from recurrent_jax._loop.loop import Loop, need_steps, run_steps


@dataclasses.dataclass(frozen=True)
class ClippedBackward:
    r"""Clip the cotangent of the carry at every step of the backward pass.

    $$
    \bar s_t \leftarrow \mathrm{clip}(\bar s_t), \qquad
    \bar s_{t-1} = J_t^\top \bar s_t + \ldots
    $$

    This stops an exploding gradient where it starts, before it reaches earlier steps.
    Clipping the finished gradient cannot do that. The result is not the gradient of any
    function. The norm is taken over the whole carry of one sequence, so sequences in a
    batch stay independent. `max_norm` is applied before `max_value`. An infinite number
    counts as the greatest finite number of its dtype, so it is clipped too and the
    gradient becomes finite. NaN stays NaN. Integers in a carry have no gradient and are
    ignored.

    Args:
        max_norm: the greatest norm of the cotangent of one sequence's carry, or None.
        max_value: the greatest magnitude of any number in that cotangent, or None.

    Raises:
        ValueError: if a bound is not positive and finite.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> cell = rj.Elman(1, activation=jax.nn.identity)
        >>> params = rj.Elman.Params(jnp.ones((1, 1)), jnp.full((1, 1), 2.0), None)
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

    max_norm: Bound = None
    max_value: Bound = None

    def __post_init__(self) -> None:
        _checks.fields(self)

    def run(self, loop: Loop, carry: Any) -> tuple[Any, Any]:
        """Return the final carry and all outputs."""
        need_steps(self, loop)

        @jax.custom_vjp
        def clipped(floats: list[jax.Array]) -> list[jax.Array]:
            return floats

        def pull(_: None, cotangent: list[jax.Array]) -> tuple[list[jax.Array]]:
            return (self._clip(cotangent, len(loop.batch_shape)),)

        clipped.defvjp(lambda floats: (floats, None), pull)
        return run_steps(loop, carry, lambda carry: map_floats(clipped, carry))[:2]

    def _clip(self, cotangent: list[jax.Array], batch_rank: int) -> list[jax.Array]:
        if self.max_norm is not None and cotangent:
            cotangent = _clip_norm(cotangent, batch_rank, self.max_norm)
        if self.max_value is not None:
            bound = self.max_value
            cotangent = [jnp.clip(a, -bound, bound) for a in cotangent]
        return cotangent


def _clip_norm(
    cotangent: list[jax.Array], batch_rank: int, max_norm: float
) -> list[jax.Array]:
    """Scale the cotangent so that the norm of each sequence is at most `max_norm`.

    The numbers are divided by the largest before they are squared, in 32 bits or more.
    Otherwise the squares could overflow. This works in every dtype.
    """
    wide = jnp.float64 if any(a.dtype == float for a in cotangent) else jnp.float32
    # A quarter, since XLA may multiply by the reciprocal of the largest number, which
    # must not be subnormal.
    bounded = [jnp.clip(a, *_finite(a.dtype)).astype(wide) / 4 for a in cotangent]

    def over_features(reduce: Any, arrays: list[jax.Array]) -> list[jax.Array]:
        return [reduce(a, axis=range(batch_rank, a.ndim)) for a in arrays]

    highest = functools.partial(jnp.max, initial=0)
    largest = functools.reduce(
        jnp.maximum, over_features(highest, list(map(jnp.abs, bounded)))
    )
    # The divisor cancels, so the result does not depend on it.
    largest = lax.stop_gradient(largest)
    none = largest < jnp.finfo(wide).tiny
    largest = jnp.where(none, 1, largest)
    units = [a / trail(largest, a) for a in bounded]
    total = sum(over_features(jnp.sum, list(map(jnp.square, units))))
    # Avoid the square root of zero, whose derivative is infinite.
    norm = jnp.sqrt(jnp.where(none, 1, total))
    shorter = [
        (unit * trail(max_norm / norm, unit)).astype(a.dtype)
        for a, unit in zip(cotangent, units, strict=True)
    ]
    is_long = ~none & (norm > max_norm / 4 / largest)
    clipped: list[jax.Array] = select(is_long, shorter, cotangent)
    return clipped


def _finite(dtype: Any) -> tuple[Any, Any]:
    """Return the smallest and the greatest finite number of a dtype."""
    info = jnp.finfo(dtype)
    return info.min, info.max
