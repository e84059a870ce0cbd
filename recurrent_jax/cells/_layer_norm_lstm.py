# SPDX-License-Identifier: Apache-2.0
"""The LSTM with layer normalisation."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from recurrent_jax._core.arrays import affine
from recurrent_jax._core.cell import Cell, HiddenCellCarry
from recurrent_jax._core.types import Activation, PerGate, Positive, Real, Size
from recurrent_jax.cells._norm import layer_norm
from recurrent_jax.initializers import glorot_uniform, orthogonal, per_gate, zeros


class LayerNormLSTMParams(NamedTuple):
    """Parameters of `LayerNormLSTM`, with gates in the order i, f, g, o."""

    kernel: jax.Array  # (in, 4H)
    recurrent_kernel: jax.Array  # (H, 4H)
    bias: jax.Array | None  # (4H,)
    input_scale: jax.Array  # (4H,)
    recurrent_scale: jax.Array  # (4H,)
    cell_scale: jax.Array  # (H,)
    cell_bias: jax.Array | None  # (H,)


@dataclasses.dataclass(frozen=True)
class LayerNormLSTM(Cell[LayerNormLSTMParams, HiddenCellCarry]):
    r"""An LSTM with layer-normalised input part, recurrent part and cell state.

    $$
    \begin{aligned}
    \mathrm{LN}(a; \gamma) &= \gamma \odot (a - \mathrm{mean}\, a) \big/
        \sqrt{\mathrm{var}\, a + \epsilon} \\
    (i_t, f_t, g_t, o_t) &= \mathrm{LN}(x_t W; \gamma_x)
        + \mathrm{LN}(h_{t-1} U; \gamma_h) + b \\
    c_t &= \sigma(f_t) \odot c_{t-1} + \sigma(i_t) \odot \phi(g_t) \\
    h_t &= \sigma(o_t) \odot \psi(\mathrm{LN}(c_t; \gamma_c) + \beta_c),
        \qquad y_t = h_t
    \end{aligned}
    $$

    As in the paper, mean and variance are those of all 4H numbers together. The paper
    adds a shift to each normalisation and a bias to their sum. Only the sum of the
    three has an effect, and it is `bias` here. The carry contains $c_t$ before
    normalisation.

    Args:
        hidden_size: H, the number of units.
        gates_apart: whether to normalise each gate separately, over H numbers.
        epsilon: $\epsilon$, added to the variance.
        activation: $\phi$, for the candidate.
        output_activation: $\psi$, for the cell state.
        gate_activation: $\sigma$, for the three gates.
        forget_bias: a constant that `init` adds to the bias of the forget gate.
        use_bias: whether to add $b$ and $\beta_c$.
        kernel_init: initialiser of each W.
        recurrent_kernel_init: initialiser of each U.
        bias_init: initialiser of each b. Scales start at 1 and $\beta_c$ at 0.

    Raises:
        TypeError, ValueError: if a field has the wrong type or is out of range.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> cell = rj.LayerNormLSTM(hidden_size=3)
        >>> params = cell.init(jax.random.key(0), in_features=2)
        >>> carry, ys = rj.unroll(cell, params, jnp.ones((7, 5, 2)))
        >>> ys.shape, params.recurrent_scale.shape
        ((7, 5, 3), (12,))

    References:
        Ba, Kiros and Hinton, 2016. Layer normalization.
        https://arxiv.org/abs/1607.06450
    """

    hidden_size: Size
    gates_apart: bool = False
    epsilon: Positive = 1e-5
    activation: Activation = jnp.tanh
    output_activation: Activation = jnp.tanh
    gate_activation: Activation = jax.nn.sigmoid
    forget_bias: Real = 1.0
    use_bias: bool = True
    kernel_init: PerGate = glorot_uniform
    recurrent_kernel_init: PerGate = orthogonal
    bias_init: PerGate = zeros

    Params = LayerNormLSTMParams
    Carry = HiddenCellCarry
    output = "h"

    def init(
        self, key: jax.Array, in_features: int, dtype: DTypeLike = float
    ) -> LayerNormLSTMParams:
        """Return fresh parameters for inputs of `in_features` features."""
        H = self.hidden_size
        key_x, key_h, key_b = jax.random.split(key, 3)
        bias = None
        if self.use_bias:
            bias = per_gate(self.bias_init, key_b, (H,), 4, dtype)
            bias = bias.at[H : 2 * H].add(self.forget_bias)
        return LayerNormLSTMParams(
            kernel=per_gate(self.kernel_init, key_x, (in_features, H), 4, dtype),
            recurrent_kernel=per_gate(
                self.recurrent_kernel_init, key_h, (H, H), 4, dtype
            ),
            bias=bias,
            input_scale=jnp.ones(4 * H, dtype),
            recurrent_scale=jnp.ones(4 * H, dtype),
            cell_scale=jnp.ones(H, dtype),
            cell_bias=jnp.zeros(H, dtype) if self.use_bias else None,
        )

    def project(self, params: LayerNormLSTMParams, x: jax.Array) -> jax.Array:
        """Return $x W$ after normalisation, plus the bias."""
        return self._norm(affine(x, params.kernel), params.input_scale, params.bias)

    def feedback(
        self, params: LayerNormLSTMParams, carry: HiddenCellCarry
    ) -> jax.Array:
        """Return $h U$ for the four gates before normalisation."""
        return affine(carry.h, params.recurrent_kernel)

    def update(
        self,
        params: LayerNormLSTMParams,
        carry: HiddenCellCarry,
        z: jax.Array,
        u: jax.Array,
    ) -> tuple[HiddenCellCarry, jax.Array]:
        """Return the new state, and its hidden part as the output."""
        gates = z + self._norm(u, params.recurrent_scale)
        i, f, g, o = jnp.split(gates, 4, axis=-1)
        i = self.gate_activation(i)
        f = self.gate_activation(f)
        o = self.gate_activation(o)
        c = f * carry.c + i * self.activation(g)
        normed = layer_norm(
            c, params.cell_scale, params.cell_bias, epsilon=self.epsilon
        )
        h = o * self.output_activation(normed)
        return HiddenCellCarry(h, c), h

    def _norm(
        self, gates: jax.Array, scale: jax.Array, bias: jax.Array | None = None
    ) -> jax.Array:
        groups = 4 if self.gates_apart else 1
        return layer_norm(gates, scale, bias, groups=groups, epsilon=self.epsilon)
