# SPDX-License-Identifier: Apache-2.0
"""Gradients that are clipped inside the backward loop."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from recurrent_jax import _checks
from recurrent_jax._core.arrays import select, trail
from recurrent_jax._loop.loop import Loop, forward


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

    max_norm: float | None = None
    max_value: float | None = None

    def __post_init__(self) -> None:
        for name in ("max_norm", "max_value"):
            _checks.bound("ClippedBackward", name, getattr(self, name))

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
