# SPDX-License-Identifier: Apache-2.0
"""Steps whose matrix is block-diagonal: groups of numbers that do not read others."""

from typing import NamedTuple

import jax
import jax.numpy as jnp


class Blocks(NamedTuple):
    r"""The step $s_t = A s_{t-1} + b$ with a block-diagonal A, for one or many steps.

    `Walk` and `Tree` take it as they take `Diagonal`. The state is one array.

    Attributes:
        decay: the blocks of A, `(*lead, groups, n, n)`.
        added: b, `(*lead, groups, n)`, as the state is.

    Example:
        >>> import jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> turn = jnp.array([[[0.0, -1.0], [1.0, 0.0]]])
        >>> step = rj.scans.Blocks(turn, jnp.ones((1, 2)))
        >>> print(step.apply(jnp.array([[2.0, 3.0]])))
        [[-2.  3.]]
    """

    decay: jax.Array
    added: jax.Array

    def apply(self, carry: jax.Array) -> jax.Array:
        """Return the carry after the step."""
        moved = jnp.matmul(self.decay, carry[..., None], precision="highest")
        return moved[..., 0] + self.added

    def after(self, first: "Blocks") -> "Blocks":
        """Return one element that is `first` and then this one."""
        product = jnp.matmul(self.decay, first.decay, precision="highest")
        return Blocks(product, self.apply(first.added))

    def kept(self) -> "Blocks":
        """Return the element of a step that changes nothing."""
        one = jnp.eye(self.decay.shape[-1], dtype=self.decay.dtype)
        one = one.reshape((1,) * (self.decay.ndim - 2) + one.shape)
        alike = jnp.zeros_like(self.decay) + one  # in its sharding too
        return Blocks(alike, jnp.zeros_like(self.added))
