# SPDX-License-Identifier: Apache-2.0
"""The LSTM whose gates read the cell state."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from recurrent_jax._core.arrays import affine, expand_like
from recurrent_jax._core.cell import Cell, HiddenCellCarry
from recurrent_jax._core.types import (
    Activation,
    Bound,
    Initializer,
    PerGate,
    Real,
    Size,
)
from recurrent_jax.initializers import glorot_uniform, orthogonal, per_gate, zeros


class PeepholeLSTMParams(NamedTuple):
    """Parameters of `PeepholeLSTM`, with gates in the order i, f, g, o."""

    kernel: jax.Array  # (in, 4H)
    recurrent_kernel: jax.Array  # (H, 4H)
    bias: jax.Array | None  # (4H,)
    peephole: jax.Array  # (3, H), in the order i, f, o


@dataclasses.dataclass(frozen=True)
class PeepholeLSTM(Cell[PeepholeLSTMParams, HiddenCellCarry]):
    r"""An LSTM whose gates also read the cell state, through diagonal weights.

    $$
    \begin{aligned}
    i_t &= \sigma(x_t W_i + h_{t-1} U_i + p_i \odot c_{t-1} + b_i) \\
    f_t &= \sigma(x_t W_f + h_{t-1} U_f + p_f \odot c_{t-1} + b_f) \\
    g_t &= \phi(x_t W_g + h_{t-1} U_g + b_g) \\
    c_t &= f_t \odot c_{t-1} + i_t \odot g_t \\
    o_t &= \sigma(x_t W_o + h_{t-1} U_o + p_o \odot c_t + b_o) \\
    h_t &= o_t \odot \psi(c_t), \qquad y_t = h_t
    \end{aligned}
    $$

    The output gate reads the *new* cell state. The paper cuts the gradient at the
    peepholes. Here it flows through them, as in every framework today.

    Args:
        hidden_size: H, the number of units.
        cell_clip: if given, $c_t$ is clipped to `[-cell_clip, cell_clip]`. Clipped
            numbers pass no gradient.
        activation: $\phi$, for the candidate.
        output_activation: $\psi$, for the cell state. tanh is standard, and
            `jax.nn.identity` gives $h = o \odot c$.
        gate_activation: $\sigma$, for the three gates.
        forget_bias: a constant that `init` adds to the bias of the forget gate.
        use_bias: whether to add a bias. Without one, `forget_bias` has no effect.
        kernel_init: initialiser of each W.
        recurrent_kernel_init: initialiser of each U.
        bias_init: initialiser of each b.
        peephole_init: initialiser of p.

    Raises:
        TypeError, ValueError: if a field has the wrong type or is out of range.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> cell = rj.PeepholeLSTM(hidden_size=3)
        >>> params = cell.init(jax.random.key(0), in_features=2)
        >>> params.peephole.shape
        (3, 3)
        >>> carry, ys = rj.unroll(cell, params, jnp.ones((7, 5, 2)))
        >>> ys.shape
        (7, 5, 3)

    References:
        Gers, Schraudolph and Schmidhuber, 2002. Learning precise timing with LSTM
        recurrent networks. https://www.jmlr.org/papers/v3/gers02a.html
    """

    hidden_size: Size
    cell_clip: Bound = None
    activation: Activation = jnp.tanh
    output_activation: Activation = jnp.tanh
    gate_activation: Activation = jax.nn.sigmoid
    forget_bias: Real = 1.0
    use_bias: bool = True
    kernel_init: PerGate = glorot_uniform
    recurrent_kernel_init: PerGate = orthogonal
    bias_init: PerGate = zeros
    peephole_init: Initializer = zeros

    Params = PeepholeLSTMParams
    Carry = HiddenCellCarry
    output = "h"

    def init(
        self, key: jax.Array, in_features: int, dtype: DTypeLike = float
    ) -> PeepholeLSTMParams:
        """Return fresh parameters for inputs of `in_features` features."""
        H = self.hidden_size
        key_x, key_h, key_b, key_p = jax.random.split(key, 4)
        bias = None
        if self.use_bias:
            bias = per_gate(self.bias_init, key_b, (H,), 4, dtype)
            bias = bias.at[H : 2 * H].add(self.forget_bias)
        return PeepholeLSTMParams(
            kernel=per_gate(self.kernel_init, key_x, (in_features, H), 4, dtype),
            recurrent_kernel=per_gate(
                self.recurrent_kernel_init, key_h, (H, H), 4, dtype
            ),
            bias=bias,
            peephole=self.peephole_init(key_p, (3, H), dtype),
        )

    def project(self, params: PeepholeLSTMParams, x: jax.Array) -> jax.Array:
        """Return $x W + b$ for the four gates."""
        return affine(x, params.kernel, params.bias)

    def feedback(self, params: PeepholeLSTMParams, carry: HiddenCellCarry) -> jax.Array:
        """Return $h U$ for the four gates."""
        return affine(carry.h, params.recurrent_kernel)

    def update(
        self,
        params: PeepholeLSTMParams,
        carry: HiddenCellCarry,
        z: jax.Array,
        u: jax.Array,
    ) -> tuple[HiddenCellCarry, jax.Array]:
        """Return the new state, and its hidden part as the output."""
        i, f, g, o = jnp.split(z + u, 4, axis=-1)
        p_i, p_f, p_o = (expand_like(p, carry.c) for p in params.peephole)
        i = self.gate_activation(i + p_i * carry.c)
        f = self.gate_activation(f + p_f * carry.c)
        g = self.activation(g)
        c = f * carry.c + i * g
        if self.cell_clip is not None:
            c = jnp.clip(c, -self.cell_clip, self.cell_clip)
        o = self.gate_activation(o + p_o * c)
        h = o * self.output_activation(c)
        return HiddenCellCarry(h, c), h
