# SPDX-License-Identifier: Apache-2.0
"""The LSTM whose units do not read each other, so that Newton's method is cheap."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from recurrent_jax._core.arrays import affine, expand_like
from recurrent_jax._core.cell import Cell, HiddenCellCarry
from recurrent_jax._core.types import Activation, Initializer, PerGate, Real, Size
from recurrent_jax.initializers import Uniform, glorot_uniform, per_gate, zeros


class DiagonalLSTMParams(NamedTuple):
    """Parameters of `DiagonalLSTM`, with gates in the order f, g, o."""

    kernel: jax.Array  # (in, 3H)
    recurrent_scale: jax.Array  # (3H,)
    bias: jax.Array | None  # (3H,)
    peephole: jax.Array  # (2, H), in the order f, o


@dataclasses.dataclass(frozen=True)
class DiagonalLSTM(Cell[DiagonalLSTMParams, HiddenCellCarry]):
    r"""An LSTM with diagonal recurrent kernels: each unit reads itself alone.

    $$
    \begin{aligned}
    f_t &= \sigma(x_t W_f + u_f \odot h_{t-1} + p_f \odot c_{t-1} + b_f)
        && \text{forget gate} \\
    g_t &= \phi(x_t W_g + u_g \odot h_{t-1} + b_g) && \text{candidate} \\
    c_t &= f_t \odot c_{t-1} + (1 - f_t) \odot g_t && \text{cell state} \\
    o_t &= \sigma(x_t W_o + u_o \odot h_{t-1} + p_o \odot c_t + b_o)
        && \text{output gate} \\
    h_t &= o_t \odot \psi(c_t), \qquad y_t = h_t
    \end{aligned}
    $$

    The input gate is one minus the forget gate, as in `CIFG`, and both gates read the
    cell state. The Jacobian of a step has a block of 2 x 2 numbers for each unit. So an
    iteration of `rj.Newton` costs about as much as one of a linear cell, and
    `rj.online.RTRL` keeps two numbers for each parameter. Stack layers to mix units.

    Args:
        hidden_size: H, the number of units.
        activation: $\phi$, for the candidate.
        output_activation: $\psi$, for the cell state.
        gate_activation: $\sigma$, for both gates.
        forget_bias: a constant that `init` adds to the bias of the forget gate.
        use_bias: whether to add biases. Without them, `forget_bias` has no effect.
        kernel_init: initialiser of each W.
        recurrent_scale_init: initialiser of each u.
        bias_init: initialiser of each b.
        peephole_init: initialiser of p.

    Raises:
        TypeError, ValueError: if a field has the wrong type or is out of range.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> cell = rj.DiagonalLSTM(hidden_size=3)
        >>> params = cell.init(jax.random.key(0), in_features=2)
        >>> xs = jnp.ones((7, 5, 2))
        >>> carry, ys = rj.unroll(cell, params, xs, method=rj.Newton())
        >>> ys.shape
        (7, 5, 3)

    References:
        Danieli et al., 2025. ParaRNN: unlocking parallel training of nonlinear RNNs for
        large language models. https://arxiv.org/abs/2510.21450
    """

    hidden_size: Size
    activation: Activation = jnp.tanh
    output_activation: Activation = jnp.tanh
    gate_activation: Activation = jax.nn.sigmoid
    forget_bias: Real = 1.0
    use_bias: bool = True
    kernel_init: PerGate = glorot_uniform
    recurrent_scale_init: PerGate = Uniform(-1.0, 1.0)
    bias_init: PerGate = zeros
    peephole_init: Initializer = zeros

    Params = DiagonalLSTMParams
    Carry = HiddenCellCarry
    output = "h"

    def init(
        self, key: jax.Array, in_features: int, dtype: DTypeLike = float
    ) -> DiagonalLSTMParams:
        """Return fresh parameters for inputs of `in_features` features."""
        H = self.hidden_size
        key_x, key_h, key_b, key_p = jax.random.split(key, 4)
        bias = None
        if self.use_bias:
            bias = per_gate(self.bias_init, key_b, (H,), 3, dtype)
            bias = bias.at[:H].add(self.forget_bias)
        return DiagonalLSTMParams(
            kernel=per_gate(self.kernel_init, key_x, (in_features, H), 3, dtype),
            recurrent_scale=per_gate(self.recurrent_scale_init, key_h, (H,), 3, dtype),
            bias=bias,
            peephole=self.peephole_init(key_p, (2, H), dtype),
        )

    def project(self, params: DiagonalLSTMParams, x: jax.Array) -> jax.Array:
        """Return $x W + b$ for f, g and o."""
        return affine(x, params.kernel, params.bias)

    def feedback(self, params: DiagonalLSTMParams, carry: HiddenCellCarry) -> jax.Array:
        r"""Return $u \odot h$ for f, g and o."""
        h = jnp.concatenate([carry.h] * 3, axis=-1)
        return expand_like(params.recurrent_scale, h) * h

    def update(
        self,
        params: DiagonalLSTMParams,
        carry: HiddenCellCarry,
        z: jax.Array,
        u: jax.Array,
    ) -> tuple[HiddenCellCarry, jax.Array]:
        """Return the new state, and its hidden part as the output."""
        f, g, o = jnp.split(z + u, 3, axis=-1)
        p_f, p_o = (expand_like(p, carry.c) for p in params.peephole)
        f = self.gate_activation(f + p_f * carry.c)
        c = f * carry.c + (1 - f) * self.activation(g)
        o = self.gate_activation(o + p_o * c)
        h = o * self.output_activation(c)
        return HiddenCellCarry(h, c), h
