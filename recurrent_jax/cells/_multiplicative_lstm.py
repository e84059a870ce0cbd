# SPDX-License-Identifier: Apache-2.0
"""The LSTM whose recurrent matrix depends on the input."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from recurrent_jax._core.arrays import affine
from recurrent_jax._core.cell import Cell, HiddenCellCarry
from recurrent_jax._core.types import Activation, Initializer, PerGate, Real, Size
from recurrent_jax.initializers import glorot_uniform, orthogonal, per_gate, zeros


class MultiplicativeLSTMParams(NamedTuple):
    """Parameters of `MultiplicativeLSTM`, with gates in the order i, f, g, o."""

    kernel: jax.Array  # (in, 4H)
    recurrent_kernel: jax.Array  # (H, 4H), from m to the gates
    bias: jax.Array | None  # (4H,)
    factor_kernel: jax.Array  # (in, H), from x to m
    recurrent_factor_kernel: jax.Array  # (H, H), from h to m


@dataclasses.dataclass(frozen=True)
class MultiplicativeLSTM(Cell[MultiplicativeLSTMParams, HiddenCellCarry]):
    r"""An LSTM whose gates read a product of state and input (mLSTM).

    $$
    \begin{aligned}
    m_t &= (x_t W_m) \odot (h_{t-1} U_m) \\
    i_t, f_t, o_t &= \sigma(x_t W_{i,f,o} + m_t U_{i,f,o} + b_{i,f,o}) \\
    g_t &= \phi(x_t W_g + m_t U_g + b_g) \\
    c_t &= f_t \odot c_{t-1} + i_t \odot g_t \\
    h_t &= o_t \odot \psi(c_t), \qquad y_t = h_t
    \end{aligned}
    $$

    Each input thus has its own recurrent matrix, $U_m \, \mathrm{diag}(x_t W_m) \, U$.
    This is not the mLSTM of xLSTM, whose state is a matrix. A step has two products,
    one after the other, so it is slower than an LSTM.

    Args:
        hidden_size: H, the number of units, also of $m$.
        activation: $\phi$, for the candidate.
        output_activation: $\psi$, for the cell state.
        gate_activation: $\sigma$, for the three gates.
        forget_bias: a constant that `init` adds to the bias of the forget gate.
        use_bias: whether to add a bias. Without one, `forget_bias` has no effect.
        kernel_init: initialiser of each W, $W_m$ included.
        recurrent_kernel_init: initialiser of each U, $U_m$ included.
        bias_init: initialiser of each b.

    Raises:
        TypeError, ValueError: if a field has the wrong type or is out of range.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> cell = rj.MultiplicativeLSTM(hidden_size=3)
        >>> params = cell.init(jax.random.key(0), in_features=2)
        >>> carry, ys = rj.unroll(cell, params, jnp.ones((7, 5, 2)))
        >>> ys.shape
        (7, 5, 3)

    References:
        Krause, Lu, Murray and Renals, 2016. Multiplicative LSTM for sequence
        modelling. https://arxiv.org/abs/1609.07959
    """

    hidden_size: Size
    activation: Activation = jnp.tanh
    output_activation: Activation = jnp.tanh
    gate_activation: Activation = jax.nn.sigmoid
    forget_bias: Real = 1.0
    use_bias: bool = True
    kernel_init: Initializer = glorot_uniform
    recurrent_kernel_init: Initializer = orthogonal
    bias_init: PerGate = zeros

    Params = MultiplicativeLSTMParams
    Carry = HiddenCellCarry
    output = "h"

    def init(
        self, key: jax.Array, in_features: int, dtype: DTypeLike = float
    ) -> MultiplicativeLSTMParams:
        """Return fresh parameters for inputs of `in_features` features."""
        H = self.hidden_size
        key_x, key_h, key_b, key_mx, key_mh = jax.random.split(key, 5)
        bias = None
        if self.use_bias:
            bias = per_gate(self.bias_init, key_b, (H,), 4, dtype)
            bias = bias.at[H : 2 * H].add(self.forget_bias)
        return MultiplicativeLSTMParams(
            kernel=per_gate(self.kernel_init, key_x, (in_features, H), 4, dtype),
            recurrent_kernel=per_gate(
                self.recurrent_kernel_init, key_h, (H, H), 4, dtype
            ),
            bias=bias,
            factor_kernel=self.kernel_init(key_mx, (in_features, H), dtype),
            recurrent_factor_kernel=self.recurrent_kernel_init(key_mh, (H, H), dtype),
        )

    def project(
        self, params: MultiplicativeLSTMParams, x: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """Return $x W + b$ for the four gates, and $x W_m$."""
        return affine(x, params.kernel, params.bias), affine(x, params.factor_kernel)

    def feedback(
        self, params: MultiplicativeLSTMParams, carry: HiddenCellCarry
    ) -> jax.Array:
        """Return $h U_m$."""
        return affine(carry.h, params.recurrent_factor_kernel)

    def update(
        self,
        params: MultiplicativeLSTMParams,
        carry: HiddenCellCarry,
        z: tuple[jax.Array, jax.Array],
        u: jax.Array,
    ) -> tuple[HiddenCellCarry, jax.Array]:
        """Return the new state, and its hidden part as the output."""
        gates, z_m = z
        m = z_m * u
        gates = gates + affine(m, params.recurrent_kernel)
        i, f, g, o = jnp.split(gates, 4, axis=-1)
        i = self.gate_activation(i)
        f = self.gate_activation(f)
        o = self.gate_activation(o)
        c = f * carry.c + i * self.activation(g)
        h = o * self.output_activation(c)
        return HiddenCellCarry(h, c), h
