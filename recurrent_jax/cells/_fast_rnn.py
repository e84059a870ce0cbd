# SPDX-License-Identifier: Apache-2.0
"""FastRNN: an Elman network with a weighted residual connection."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from recurrent_jax._core.arrays import affine
from recurrent_jax._core.cell import Cell, HiddenCarry
from recurrent_jax._core.types import Activation, Initializer, Real, Size
from recurrent_jax.initializers import glorot_uniform, orthogonal, zeros


class FastRNNParams(NamedTuple):
    """Parameters of `FastRNN`, with alpha and beta as logits."""

    kernel: jax.Array  # (in, H)
    recurrent_kernel: jax.Array  # (H, H)
    bias: jax.Array | None  # (H,)
    alpha_logit: jax.Array  # ()
    beta_logit: jax.Array  # ()


class FastRNNPrepared(NamedTuple):
    """Parameters of `FastRNN` in the form that its steps use."""

    kernel: jax.Array  # (in, H)
    recurrent_kernel: jax.Array  # (H, H)
    bias: jax.Array | None  # (H,)
    alpha: jax.Array  # ()
    beta: jax.Array  # ()


@dataclasses.dataclass(frozen=True)
class FastRNN(Cell[FastRNNParams, HiddenCarry]):
    r"""FastRNN: a sum of the old state and a new one, with two trained weights.

    $$ h_t = \alpha\, \phi(x_t W + h_{t-1} U + b) + \beta\, h_{t-1}, \qquad y_t = h_t $$

    Two more parameters than those of `Elman` make it about as easy to train as gated
    cells. $\alpha$ and $\beta$ are sigmoids of the stored numbers, as in the authors'
    code, so both stay between 0 and 1.

    Args:
        hidden_size: H, the number of units.
        activation: $\phi$.
        use_bias: whether to add a bias.
        alpha_logit: the initial value of $\alpha$ before the sigmoid.
        beta_logit: the initial value of $\beta$ before the sigmoid.
        kernel_init: initialiser of W.
        recurrent_kernel_init: initialiser of U.
        bias_init: initialiser of b.

    Raises:
        TypeError, ValueError: if a field has the wrong type or is out of range.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> cell = rj.FastRNN(hidden_size=3)
        >>> params = cell.init(jax.random.key(0), in_features=2)
        >>> carry, ys = rj.unroll(cell, params, jnp.ones((7, 5, 2)))
        >>> ys.shape
        (7, 5, 3)

    References:
        Kusupati et al., 2018. FastGRNN: a fast, accurate, stable and tiny kilobyte
        sized gated recurrent neural network. https://arxiv.org/abs/1901.02358
    """

    hidden_size: Size
    activation: Activation = jnp.tanh
    use_bias: bool = True
    alpha_logit: Real = -3.0
    beta_logit: Real = 3.0
    kernel_init: Initializer = glorot_uniform
    recurrent_kernel_init: Initializer = orthogonal
    bias_init: Initializer = zeros

    Params = FastRNNParams
    Carry = HiddenCarry
    output = "h"

    def init(
        self, key: jax.Array, in_features: int, dtype: DTypeLike = float
    ) -> FastRNNParams:
        """Return fresh parameters for inputs of `in_features` features."""
        H = self.hidden_size
        key_x, key_h, key_b = jax.random.split(key, 3)
        return FastRNNParams(
            kernel=self.kernel_init(key_x, (in_features, H), dtype),
            recurrent_kernel=self.recurrent_kernel_init(key_h, (H, H), dtype),
            bias=self.bias_init(key_b, (H,), dtype) if self.use_bias else None,
            alpha_logit=jnp.full((), self.alpha_logit, dtype),
            beta_logit=jnp.full((), self.beta_logit, dtype),
        )

    def prepare(self, params: FastRNNParams) -> FastRNNPrepared:
        """Return the parameters with alpha and beta after the sigmoid."""
        W, U, b, alpha, beta = params
        return FastRNNPrepared(W, U, b, jax.nn.sigmoid(alpha), jax.nn.sigmoid(beta))

    def project(self, params: FastRNNPrepared, x: jax.Array) -> jax.Array:
        """Return $x W + b$."""
        return affine(x, params.kernel, params.bias)

    def feedback(self, params: FastRNNPrepared, carry: HiddenCarry) -> jax.Array:
        """Return $h U$."""
        return affine(carry.h, params.recurrent_kernel)

    def update(
        self, params: FastRNNPrepared, carry: HiddenCarry, z: jax.Array, u: jax.Array
    ) -> tuple[HiddenCarry, jax.Array]:
        """Return the new hidden state, which is also the output."""
        h = params.alpha * self.activation(z + u) + params.beta * carry.h
        return HiddenCarry(h), h
