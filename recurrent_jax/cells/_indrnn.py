# SPDX-License-Identifier: Apache-2.0
"""The independently recurrent network: each unit feeds back only into itself."""

import dataclasses
from typing import NamedTuple

import jax
from jax.typing import DTypeLike

from recurrent_jax._core.arrays import affine, expand_like
from recurrent_jax._core.cell import Cell, HiddenCarry
from recurrent_jax._core.types import Activation, Initializer, Size
from recurrent_jax.initializers import Uniform, glorot_uniform, zeros


class IndRNNParams(NamedTuple):
    """Parameters of `IndRNN`."""

    kernel: jax.Array  # (in, H)
    recurrent_scale: jax.Array  # (H,)
    bias: jax.Array | None  # (H,)


@dataclasses.dataclass(frozen=True)
class IndRNN(Cell[IndRNNParams, HiddenCarry]):
    r"""The IndRNN: an Elman network whose recurrent kernel is diagonal.

    $$ h_t = \phi(x_t W + u \odot h_{t-1} + b), \qquad y_t = h_t $$

    The units of a layer do not read each other. Stack layers to mix them. The gradient
    of a unit through time is a product of its own $u$, so a bound on $|u|$ bounds it.
    For ReLU, the paper keeps $|u| \leq 2^{1/T}$ by clipping after every update. That is
    a step of the optimiser and not of the cell, and is not done here.

    Args:
        hidden_size: H, the number of units.
        activation: $\phi$. It is ReLU in the paper.
        use_bias: whether to add a bias.
        kernel_init: initialiser of W.
        recurrent_scale_init: initialiser of u. The default is uniform from 0 to 1. The
            paper advises values close to 1 if only the last output is used.
        bias_init: initialiser of b.

    Raises:
        TypeError, ValueError: if a field has the wrong type or is out of range.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> cell = rj.IndRNN(hidden_size=3)
        >>> params = cell.init(jax.random.key(0), in_features=2)
        >>> carry, ys = rj.unroll(cell, params, jnp.ones((7, 5, 2)))
        >>> ys.shape
        (7, 5, 3)

    References:
        Li, Li, Cook, Zhu and Gao, 2018. Independently recurrent neural network
        (IndRNN): building a longer and deeper RNN. https://arxiv.org/abs/1803.04831
    """

    hidden_size: Size
    activation: Activation = jax.nn.relu
    use_bias: bool = True
    kernel_init: Initializer = glorot_uniform
    recurrent_scale_init: Initializer = Uniform(0.0, 1.0)
    bias_init: Initializer = zeros

    Params = IndRNNParams
    Carry = HiddenCarry
    output = "h"

    def init(
        self, key: jax.Array, in_features: int, dtype: DTypeLike = float
    ) -> IndRNNParams:
        """Return fresh parameters for inputs of `in_features` features."""
        H = self.hidden_size
        key_x, key_h, key_b = jax.random.split(key, 3)
        return IndRNNParams(
            kernel=self.kernel_init(key_x, (in_features, H), dtype),
            recurrent_scale=self.recurrent_scale_init(key_h, (H,), dtype),
            bias=self.bias_init(key_b, (H,), dtype) if self.use_bias else None,
        )

    def project(self, params: IndRNNParams, x: jax.Array) -> jax.Array:
        """Return $x W + b$."""
        return affine(x, params.kernel, params.bias)

    def feedback(self, params: IndRNNParams, carry: HiddenCarry) -> jax.Array:
        r"""Return $u \odot h$."""
        return expand_like(params.recurrent_scale, carry.h) * carry.h

    def update(
        self, params: IndRNNParams, carry: HiddenCarry, z: jax.Array, u: jax.Array
    ) -> tuple[HiddenCarry, jax.Array]:
        """Return the new hidden state, which is also the output."""
        h = self.activation(z + u)
        return HiddenCarry(h), h
