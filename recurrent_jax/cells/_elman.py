# SPDX-License-Identifier: Apache-2.0
"""The Elman network, the simplest recurrence."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from recurrent_jax._core.arrays import affine
from recurrent_jax._core.cell import Cell, HiddenCarry
from recurrent_jax._core.types import Activation, Initializer, Size
from recurrent_jax.initializers import glorot_uniform, orthogonal, zeros


class ElmanParams(NamedTuple):
    """Parameters of `Elman`."""

    kernel: jax.Array  # (in, H)
    recurrent_kernel: jax.Array  # (H, H)
    bias: jax.Array | None  # (H,)


@dataclasses.dataclass(frozen=True)
class Elman(Cell[ElmanParams, HiddenCarry]):
    r"""The simple recurrent network of Elman, whose state feeds back into itself.

    $$ h_t = \phi(x_t W + h_{t-1} U + b), \qquad y_t = h_t $$

    Args:
        hidden_size: H, the number of units.
        activation: $\phi$, any elementwise function of an array. tanh is common.
        use_bias: whether to add a bias.
        kernel_init: initialiser of W.
        recurrent_kernel_init: initialiser of U.
        bias_init: initialiser of b.

    Raises:
        TypeError, ValueError: if a field has the wrong type or is out of range.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> cell = rj.Elman(hidden_size=3, activation=jax.nn.relu)
        >>> params = cell.init(jax.random.key(0), in_features=2)
        >>> carry, ys = rj.unroll(cell, params, jnp.ones((7, 5, 2)))
        >>> ys.shape
        (7, 5, 3)

    References:
        Elman, 1990. Finding structure in time.
        https://doi.org/10.1207/s15516709cog1402_1
    """

    hidden_size: Size
    activation: Activation = jnp.tanh
    use_bias: bool = True
    kernel_init: Initializer = glorot_uniform
    recurrent_kernel_init: Initializer = orthogonal
    bias_init: Initializer = zeros

    Params = ElmanParams
    Carry = HiddenCarry
    output = "h"

    def init(
        self, key: jax.Array, in_features: int, dtype: DTypeLike = float
    ) -> ElmanParams:
        """Return fresh parameters for inputs of `in_features` features."""
        H = self.hidden_size
        key_x, key_h, key_b = jax.random.split(key, 3)
        return ElmanParams(
            kernel=self.kernel_init(key_x, (in_features, H), dtype),
            recurrent_kernel=self.recurrent_kernel_init(key_h, (H, H), dtype),
            bias=self.bias_init(key_b, (H,), dtype) if self.use_bias else None,
        )

    def project(self, params: ElmanParams, x: jax.Array) -> jax.Array:
        """Return $x W + b$."""
        return affine(x, params.kernel, params.bias)

    def feedback(self, params: ElmanParams, carry: HiddenCarry) -> jax.Array:
        """Return $h U$."""
        return affine(carry.h, params.recurrent_kernel)

    def update(
        self, params: ElmanParams, carry: HiddenCarry, z: jax.Array, u: jax.Array
    ) -> tuple[HiddenCarry, jax.Array]:
        """Return the new hidden state, which is also the output."""
        h = self.activation(z + u)
        return HiddenCarry(h), h
