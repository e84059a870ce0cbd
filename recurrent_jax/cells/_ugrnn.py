# SPDX-License-Identifier: Apache-2.0
"""The update-gate RNN: an Elman network with a gate that keeps its state."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from recurrent_jax._core.arrays import affine
from recurrent_jax._core.cell import Cell, HiddenCarry
from recurrent_jax._core.types import Activation, PerGate, Real, Size
from recurrent_jax.initializers import glorot_uniform, orthogonal, per_gate, zeros


class UGRNNParams(NamedTuple):
    """Parameters of `UGRNN`, with blocks in the order g, c."""

    kernel: jax.Array  # (in, 2H)
    recurrent_kernel: jax.Array  # (H, 2H)
    bias: jax.Array | None  # (2H,)


@dataclasses.dataclass(frozen=True)
class UGRNN(Cell[UGRNNParams, HiddenCarry]):
    r"""The UGRNN: one gate mixes the old state and a new one.

    $$
    \begin{aligned}
    g_t &= \sigma(x_t W_g + h_{t-1} U_g + b_g) && \text{update gate} \\
    c_t &= \phi(x_t W_c + h_{t-1} U_c + b_c) && \text{candidate} \\
    h_t &= g_t \odot h_{t-1} + (1 - g_t) \odot c_t, \qquad y_t = h_t
    \end{aligned}
    $$

    Here $g = 1$ keeps the old state. The cell is a GRU without its reset gate. In Flax
    it is `MGUCell(reset_gate=False)`.

    Args:
        hidden_size: H, the number of units.
        activation: $\phi$, for the candidate.
        gate_activation: $\sigma$, for the gate.
        use_bias: whether to add biases.
        forget_bias: a constant that `init` adds to $b_g$, so that a fresh cell keeps
            its state.
        kernel_init: initialiser of each W.
        recurrent_kernel_init: initialiser of each U.
        bias_init: initialiser of each b, before `forget_bias`.

    Raises:
        TypeError, ValueError: if a field has the wrong type or is out of range.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> cell = rj.UGRNN(hidden_size=3)
        >>> params = cell.init(jax.random.key(0), in_features=2)
        >>> carry, ys = rj.unroll(cell, params, jnp.ones((7, 5, 2)))
        >>> ys.shape
        (7, 5, 3)

    References:
        Collins, Sohl-Dickstein and Sussillo, 2017. Capacity and trainability in
        recurrent neural networks. https://arxiv.org/abs/1611.09913
    """

    hidden_size: Size
    activation: Activation = jnp.tanh
    gate_activation: Activation = jax.nn.sigmoid
    use_bias: bool = True
    forget_bias: Real = 1.0
    kernel_init: PerGate = glorot_uniform
    recurrent_kernel_init: PerGate = orthogonal
    bias_init: PerGate = zeros

    Params = UGRNNParams
    Carry = HiddenCarry
    output = "h"

    def init(
        self, key: jax.Array, in_features: int, dtype: DTypeLike = float
    ) -> UGRNNParams:
        """Return fresh parameters for inputs of `in_features` features."""
        H = self.hidden_size
        key_x, key_h, key_b = jax.random.split(key, 3)
        bias = None
        if self.use_bias:
            bias = per_gate(self.bias_init, key_b, (H,), 2, dtype)
            bias = bias.at[:H].add(self.forget_bias)
        return UGRNNParams(
            kernel=per_gate(self.kernel_init, key_x, (in_features, H), 2, dtype),
            recurrent_kernel=per_gate(
                self.recurrent_kernel_init, key_h, (H, H), 2, dtype
            ),
            bias=bias,
        )

    def project(self, params: UGRNNParams, x: jax.Array) -> jax.Array:
        """Return $x W + b$ for g and c."""
        return affine(x, params.kernel, params.bias)

    def feedback(self, params: UGRNNParams, carry: HiddenCarry) -> jax.Array:
        """Return $h U$ for g and c."""
        return affine(carry.h, params.recurrent_kernel)

    def update(
        self, params: UGRNNParams, carry: HiddenCarry, z: jax.Array, u: jax.Array
    ) -> tuple[HiddenCarry, jax.Array]:
        """Return the new hidden state, which is also the output."""
        g, c = jnp.split(z + u, 2, axis=-1)
        g = self.gate_activation(g)
        h = g * carry.h + (1 - g) * self.activation(c)
        return HiddenCarry(h), h
