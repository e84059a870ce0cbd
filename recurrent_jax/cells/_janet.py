# SPDX-License-Identifier: Apache-2.0
"""The LSTM with only a forget gate."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from recurrent_jax._core.arrays import affine
from recurrent_jax._core.cell import Cell, HiddenCarry
from recurrent_jax._core.types import Activation, PerGate, Real, Size
from recurrent_jax.initializers import glorot_uniform, orthogonal, per_gate, zeros


class JANETParams(NamedTuple):
    """Parameters of `JANET`, with gates in the order f, g."""

    kernel: jax.Array  # (in, 2H)
    recurrent_kernel: jax.Array  # (H, 2H)
    bias: jax.Array | None  # (2H,)


@dataclasses.dataclass(frozen=True)
class JANET(Cell[JANETParams, HiddenCarry]):
    r"""JANET (just another network): an LSTM with only a forget gate.

    $$
    \begin{aligned}
    s_t &= x_t W_f + h_{t-1} U_f + b_f \\
    g_t &= \phi(x_t W_g + h_{t-1} U_g + b_g) \\
    h_t &= \sigma(s_t) \odot h_{t-1} + (1 - \sigma(s_t - \beta)) \odot g_t,
        \qquad y_t = h_t
    \end{aligned}
    $$

    With $\beta > 0$ a unit takes in more than it forgets, so its state may leave the
    range of $\phi$. The paper draws $b_f$ by the chrono rule, which needs the length of
    the dependencies. Here $b_f$ starts at `forget_bias`. The rule of the paper for
    spans of up to 700 steps is
    `bias_init=(rj.initializers.Chrono(700), rj.initializers.zeros)` with
    `forget_bias=0.0`.

    Args:
        hidden_size: H, the number of units.
        beta: $\beta$, which controls how much more a unit takes in than it forgets.
        activation: $\phi$, for the candidate.
        gate_activation: $\sigma$, for the forget gate.
        forget_bias: a constant that `init` adds to the bias of the forget gate.
        use_bias: whether to add a bias. Without one, `forget_bias` has no effect.
        kernel_init: initialiser of each W.
        recurrent_kernel_init: initialiser of each U.
        bias_init: initialiser of each b, or a tuple of two, for f and g.

    Raises:
        TypeError, ValueError: if a field has the wrong type or is out of range.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> cell = rj.JANET(hidden_size=3)
        >>> params = cell.init(jax.random.key(0), in_features=2)
        >>> carry, ys = rj.unroll(cell, params, jnp.ones((7, 5, 2)))
        >>> ys.shape, params.kernel.shape
        ((7, 5, 3), (2, 6))

    References:
        van der Westhuizen and Lasenby, 2018. The unreasonable effectiveness of the
        forget gate. https://arxiv.org/abs/1804.04849
    """

    hidden_size: Size
    beta: Real = 1.0
    activation: Activation = jnp.tanh
    gate_activation: Activation = jax.nn.sigmoid
    forget_bias: Real = 1.0
    use_bias: bool = True
    kernel_init: PerGate = glorot_uniform
    recurrent_kernel_init: PerGate = orthogonal
    bias_init: PerGate = zeros

    Params = JANETParams
    Carry = HiddenCarry
    output = "h"

    def init(
        self, key: jax.Array, in_features: int, dtype: DTypeLike = float
    ) -> JANETParams:
        """Return fresh parameters for inputs of `in_features` features."""
        H = self.hidden_size
        key_x, key_h, key_b = jax.random.split(key, 3)
        bias = None
        if self.use_bias:
            bias = per_gate(self.bias_init, key_b, (H,), 2, dtype)
            bias = bias.at[:H].add(self.forget_bias)
        return JANETParams(
            kernel=per_gate(self.kernel_init, key_x, (in_features, H), 2, dtype),
            recurrent_kernel=per_gate(
                self.recurrent_kernel_init, key_h, (H, H), 2, dtype
            ),
            bias=bias,
        )

    def project(self, params: JANETParams, x: jax.Array) -> jax.Array:
        """Return $x W + b$ for f and g."""
        return affine(x, params.kernel, params.bias)

    def feedback(self, params: JANETParams, carry: HiddenCarry) -> jax.Array:
        """Return $h U$ for f and g."""
        return affine(carry.h, params.recurrent_kernel)

    def update(
        self, params: JANETParams, carry: HiddenCarry, z: jax.Array, u: jax.Array
    ) -> tuple[HiddenCarry, jax.Array]:
        """Return the new hidden state, which is also the output."""
        s, g = jnp.split(z + u, 2, axis=-1)
        keep = self.gate_activation(s)
        write = 1 - self.gate_activation(s - self.beta)
        h = keep * carry.h + write * self.activation(g)
        return HiddenCarry(h), h
