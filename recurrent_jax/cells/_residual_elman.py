# SPDX-License-Identifier: Apache-2.0
"""The Elman network with a residual connection through time."""

import dataclasses
from typing import NamedTuple

import jax
from jax.typing import DTypeLike

from recurrent_jax._core.arrays import affine
from recurrent_jax._core.cell import Cell, HiddenCarry
from recurrent_jax._core.types import Activation, Initializer, Size
from recurrent_jax.initializers import Normal, glorot_uniform, zeros


class ResidualElmanParams(NamedTuple):
    """Parameters of `ResidualElman`."""

    kernel: jax.Array  # (in, H)
    recurrent_kernel: jax.Array  # (H, H)
    bias: jax.Array | None  # (H,)


@dataclasses.dataclass(frozen=True)
class ResidualElman(Cell[ResidualElmanParams, HiddenCarry]):
    r"""The recurrent identity network: an Elman network that adds the old state.

    $$ h_t = \phi(x_t W + h_{t-1} U + h_{t-1} + b), \qquad y_t = h_t $$

    The state is added before the activation, as in the paper and in Flax's
    `SimpleCell(residual=True)`. `FastRNN` adds it after. With ReLU, the cell is an
    `IRNN` with the kernel $U + I$. Weight decay pulls the kernel of an `IRNN` towards
    zero, and this one towards the identity.

    Args:
        hidden_size: H, the number of units.
        activation: $\phi$. It is ReLU in the paper and tanh in Flax.
        use_bias: whether to add a bias.
        kernel_init: initialiser of W.
        recurrent_kernel_init: initialiser of U. Its values are small, so that a fresh
            cell keeps its state. An orthogonal U, of norm 1, would double some states
            at each step.
        bias_init: initialiser of b.

    Raises:
        TypeError, ValueError: if a field has the wrong type or is out of range.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> cell = rj.ResidualElman(hidden_size=3)
        >>> params = cell.init(jax.random.key(0), in_features=2)
        >>> carry, ys = rj.unroll(cell, params, jnp.ones((7, 5, 2)))
        >>> ys.shape
        (7, 5, 3)

    References:
        Hu, Huber, Anumula and Liu, 2018. Overcoming the vanishing gradient problem in
        plain recurrent networks. https://arxiv.org/abs/1801.06105
    """

    hidden_size: Size
    activation: Activation = jax.nn.relu
    use_bias: bool = True
    kernel_init: Initializer = glorot_uniform
    recurrent_kernel_init: Initializer = Normal(0.001)
    bias_init: Initializer = zeros

    Params = ResidualElmanParams
    Carry = HiddenCarry
    output = "h"

    def init(
        self, key: jax.Array, in_features: int, dtype: DTypeLike = float
    ) -> ResidualElmanParams:
        """Return fresh parameters for inputs of `in_features` features."""
        H = self.hidden_size
        key_x, key_h, key_b = jax.random.split(key, 3)
        return ResidualElmanParams(
            kernel=self.kernel_init(key_x, (in_features, H), dtype),
            recurrent_kernel=self.recurrent_kernel_init(key_h, (H, H), dtype),
            bias=self.bias_init(key_b, (H,), dtype) if self.use_bias else None,
        )

    def project(self, params: ResidualElmanParams, x: jax.Array) -> jax.Array:
        """Return $x W + b$."""
        return affine(x, params.kernel, params.bias)

    def feedback(self, params: ResidualElmanParams, carry: HiddenCarry) -> jax.Array:
        """Return $h U$."""
        return affine(carry.h, params.recurrent_kernel)

    def update(
        self,
        params: ResidualElmanParams,
        carry: HiddenCarry,
        z: jax.Array,
        u: jax.Array,
    ) -> tuple[HiddenCarry, jax.Array]:
        """Return the new hidden state, which is also the output."""
        h = self.activation(z + u + carry.h)
        return HiddenCarry(h), h
