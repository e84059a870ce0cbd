# SPDX-License-Identifier: Apache-2.0
"""The MinimalRNN, whose state is a gated average of embedded inputs."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from recurrent_jax._core.arrays import affine
from recurrent_jax._core.cell import Cell, HiddenCarry
from recurrent_jax._core.types import Activation, Initializer, Size
from recurrent_jax.initializers import glorot_uniform, orthogonal, zeros


class MinimalRNNParams(NamedTuple):
    """Parameters of `MinimalRNN`."""

    kernel: jax.Array  # (in, H), of the embedding
    bias: jax.Array | None  # (H,), of the embedding
    gate_kernel: jax.Array  # (H, H), from embedding to gate
    recurrent_kernel: jax.Array  # (H, H), from state to gate
    gate_bias: jax.Array | None  # (H,)


@dataclasses.dataclass(frozen=True)
class MinimalRNN(Cell[MinimalRNNParams, HiddenCarry]):
    r"""The MinimalRNN, whose state stays in the space of the embedded inputs.

    $$
    \begin{aligned}
    e_t &= \phi(x_t W + b) && \text{embedding} \\
    g_t &= \sigma(e_t V + h_{t-1} U + d) && \text{update gate} \\
    h_t &= g_t \odot h_{t-1} + (1 - g_t) \odot e_t, \qquad y_t = h_t
    \end{aligned}
    $$

    The embedding does not read the state, so only the gate has a recurrent product. The
    paper writes $z$ for $e$ and $u$ for $g$. It allows any network in place of
    $\phi(x W + b)$. To use one, put it before the cell and pass
    `activation=jax.nn.identity`.

    Args:
        hidden_size: H, the number of units.
        activation: $\phi$, for the embedding.
        gate_activation: $\sigma$, for the gate.
        use_bias: whether to add biases.
        kernel_init: initialiser of W.
        gate_kernel_init: initialiser of V.
        recurrent_kernel_init: initialiser of U.
        bias_init: initialiser of b and d.

    Raises:
        TypeError, ValueError: if a field has the wrong type or is out of range.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> cell = rj.MinimalRNN(hidden_size=3)
        >>> params = cell.init(jax.random.key(0), in_features=2)
        >>> carry, ys = rj.unroll(cell, params, jnp.ones((7, 5, 2)))
        >>> ys.shape
        (7, 5, 3)

    References:
        Chen, 2017. MinimalRNN: toward more interpretable and trainable recurrent neural
        networks. https://arxiv.org/abs/1711.06788
    """

    hidden_size: Size
    activation: Activation = jnp.tanh
    gate_activation: Activation = jax.nn.sigmoid
    use_bias: bool = True
    kernel_init: Initializer = glorot_uniform
    gate_kernel_init: Initializer = glorot_uniform
    recurrent_kernel_init: Initializer = orthogonal
    bias_init: Initializer = zeros

    Params = MinimalRNNParams
    Carry = HiddenCarry
    output = "h"

    def init(
        self, key: jax.Array, in_features: int, dtype: DTypeLike = float
    ) -> MinimalRNNParams:
        """Return fresh parameters for inputs of `in_features` features."""
        H = self.hidden_size
        key_x, key_b, key_g, key_h, key_d = jax.random.split(key, 5)
        return MinimalRNNParams(
            kernel=self.kernel_init(key_x, (in_features, H), dtype),
            bias=self.bias_init(key_b, (H,), dtype) if self.use_bias else None,
            gate_kernel=self.gate_kernel_init(key_g, (H, H), dtype),
            recurrent_kernel=self.recurrent_kernel_init(key_h, (H, H), dtype),
            gate_bias=self.bias_init(key_d, (H,), dtype) if self.use_bias else None,
        )

    def project(self, params: MinimalRNNParams, x: jax.Array) -> jax.Array:
        """Return $e$ and $e V + d$, side by side."""
        e = self.activation(affine(x, params.kernel, params.bias))
        gate = affine(e, params.gate_kernel, params.gate_bias)
        return jnp.concatenate([e, gate], axis=-1)

    def feedback(self, params: MinimalRNNParams, carry: HiddenCarry) -> jax.Array:
        """Return $h U$."""
        return affine(carry.h, params.recurrent_kernel)

    def update(
        self,
        params: MinimalRNNParams,
        carry: HiddenCarry,
        z: jax.Array,
        u: jax.Array,
    ) -> tuple[HiddenCarry, jax.Array]:
        """Return the new hidden state, which is also the output."""
        e, g = jnp.split(z, 2, axis=-1)
        g = self.gate_activation(g + u)
        h = g * carry.h + (1 - g) * e
        return HiddenCarry(h), h
