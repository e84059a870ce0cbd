# SPDX-License-Identifier: Apache-2.0
"""The long short-term memory (LSTM)."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from recurrent_jax._core.arrays import affine
from recurrent_jax._core.cell import Cell, HiddenCellCarry
from recurrent_jax._core.types import Activation, PerGate, Real, Size
from recurrent_jax.initializers import glorot_uniform, orthogonal, per_gate, zeros


class LSTMParams(NamedTuple):
    """Parameters of `LSTM`, with gates in the order i, f, g, o."""

    kernel: jax.Array  # (in, 4H)
    recurrent_kernel: jax.Array  # (H, 4H)
    bias: jax.Array | None  # (4H,)


@dataclasses.dataclass(frozen=True)
class LSTM(Cell[LSTMParams, HiddenCellCarry]):
    r"""The standard LSTM: input, forget and output gates, without peepholes.

    $$
    \begin{aligned}
    i_t &= \sigma(x_t W_i + h_{t-1} U_i + b_i) && \text{input gate} \\
    f_t &= \sigma(x_t W_f + h_{t-1} U_f + b_f) && \text{forget gate} \\
    g_t &= \phi(x_t W_g + h_{t-1} U_g + b_g) && \text{candidate} \\
    o_t &= \sigma(x_t W_o + h_{t-1} U_o + b_o) && \text{output gate} \\
    c_t &= f_t \odot c_{t-1} + i_t \odot g_t && \text{cell state} \\
    h_t &= o_t \odot \psi(c_t), \qquad y_t = h_t && \text{hidden state}
    \end{aligned}
    $$

    Args:
        hidden_size: H, the number of units.
        activation: $\phi$, for the candidate.
        output_activation: $\psi$, for the cell state. Every framework uses tanh. The
            paper of 1997 uses scaled logistic functions for $\phi$ and $\psi$. Some
            texts define $h = o \odot c$, which is `output_activation=jax.nn.identity`.
        gate_activation: $\sigma$, for the three gates.
        forget_bias: a constant that `init` adds to the bias of the forget gate, so that
            a fresh cell remembers. It is stored in the bias, and not added at each
            step.
        use_bias: whether to add a bias. Without one, `forget_bias` has no effect.
        kernel_init: initialiser of each W.
        recurrent_kernel_init: initialiser of each U.
        bias_init: initialiser of each b.

    Raises:
        TypeError, ValueError: if a field has the wrong type or is out of range.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> cell = rj.LSTM(hidden_size=3)
        >>> params = cell.init(jax.random.key(0), in_features=2)
        >>> carry, ys = rj.unroll(cell, params, jnp.ones((7, 5, 2)))
        >>> ys.shape, carry.c.shape
        ((7, 5, 3), (5, 3))

    References:
        Hochreiter and Schmidhuber, 1997. Long short-term memory.
        https://doi.org/10.1162/neco.1997.9.8.1735
        Gers, Schmidhuber and Cummins, 2000. Learning to forget: continual prediction
        with LSTM. https://doi.org/10.1162/089976600300015015
        Jozefowicz, Zaremba and Sutskever, 2015. An empirical exploration of recurrent
        network architectures (the forget bias of 1).
        https://proceedings.mlr.press/v37/jozefowicz15.html
    """

    hidden_size: Size
    activation: Activation = jnp.tanh
    output_activation: Activation = jnp.tanh
    gate_activation: Activation = jax.nn.sigmoid
    forget_bias: Real = 1.0
    use_bias: bool = True
    kernel_init: PerGate = glorot_uniform
    recurrent_kernel_init: PerGate = orthogonal
    bias_init: PerGate = zeros

    Params = LSTMParams
    Carry = HiddenCellCarry
    output = "h"

    def init(
        self, key: jax.Array, in_features: int, dtype: DTypeLike = float
    ) -> LSTMParams:
        """Return fresh parameters for inputs of `in_features` features."""
        H = self.hidden_size
        key_x, key_h, key_b = jax.random.split(key, 3)
        bias = None
        if self.use_bias:
            bias = per_gate(self.bias_init, key_b, (H,), 4, dtype)
            bias = bias.at[H : 2 * H].add(self.forget_bias)
        return LSTMParams(
            kernel=per_gate(self.kernel_init, key_x, (in_features, H), 4, dtype),
            recurrent_kernel=per_gate(
                self.recurrent_kernel_init, key_h, (H, H), 4, dtype
            ),
            bias=bias,
        )

    def project(self, params: LSTMParams, x: jax.Array) -> jax.Array:
        """Return $x W + b$ for the four gates."""
        return affine(x, params.kernel, params.bias)

    def feedback(self, params: LSTMParams, carry: HiddenCellCarry) -> jax.Array:
        """Return $h U$ for the four gates."""
        return affine(carry.h, params.recurrent_kernel)

    def update(
        self, params: LSTMParams, carry: HiddenCellCarry, z: jax.Array, u: jax.Array
    ) -> tuple[HiddenCellCarry, jax.Array]:
        """Return the new state, and its hidden part as the output."""
        i, f, g, o = jnp.split(z + u, 4, axis=-1)
        i = self.gate_activation(i)
        f = self.gate_activation(f)
        g = self.activation(g)
        o = self.gate_activation(o)
        c = f * carry.c + i * g
        h = o * self.output_activation(c)
        return HiddenCellCarry(h, c), h
