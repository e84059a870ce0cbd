# SPDX-License-Identifier: Apache-2.0
"""Long expressive memory: two states, each with its own time steps."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from recurrent_jax._core.arrays import affine
from recurrent_jax._core.cell import Cell, HiddenCellCarry
from recurrent_jax._core.types import Activation, Initializer, PerGate, Positive, Size
from recurrent_jax.initializers import glorot_uniform, orthogonal, per_gate, zeros


class LEMParams(NamedTuple):
    """Parameters of `LEM`, with blocks in the order r, s, c, h."""

    kernel: jax.Array  # (in, 4H)
    recurrent_kernel: jax.Array  # (H, 3H), of r, s and c
    memory_kernel: jax.Array  # (H, H), from the new c to h
    bias: jax.Array | None  # (4H,)


@dataclasses.dataclass(frozen=True)
class LEM(Cell[LEMParams, HiddenCellCarry]):
    r"""The LEM: two states with learned time steps that depend on input and state.

    $$
    \begin{aligned}
    r_t &= \Delta t\, \sigma(x_t W_r + h_{t-1} U_r + b_r) && \text{memory step} \\
    s_t &= \Delta t\, \sigma(x_t W_s + h_{t-1} U_s + b_s) && \text{state step} \\
    c_t &= (1 - r_t) \odot c_{t-1} + r_t \odot \phi(x_t W_c + h_{t-1} U_c + b_c)
        && \text{memory} \\
    h_t &= (1 - s_t) \odot h_{t-1} + s_t \odot \phi(x_t W_h + c_t V + b_h),
        \qquad y_t = h_t
    \end{aligned}
    $$

    The paper writes $y$ for $h$, $z$ for $c$, $\Delta t_n$ for $r$ and
    $\overline{\Delta t}_n$ for $s$. $h_t$ reads the new memory, so the product with V
    must be computed within the step. The gradient of that product is the slow part.

    Args:
        hidden_size: H, the number of units.
        step_size: $\Delta t$, the longest step, above 0. It is 1 in the paper, except
            where it is tuned.
        activation: $\phi$, for both candidates.
        gate_activation: $\sigma$, for both steps.
        use_bias: whether to add biases.
        kernel_init: initialiser of each W.
        recurrent_kernel_init: initialiser of each U, and of V.
        bias_init: initialiser of each b.

    Raises:
        TypeError, ValueError: if a field has the wrong type or is out of range.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> cell = rj.LEM(hidden_size=3)
        >>> params = cell.init(jax.random.key(0), in_features=2)
        >>> carry, ys = rj.unroll(cell, params, jnp.ones((7, 5, 2)))
        >>> ys.shape
        (7, 5, 3)

    References:
        Rusch, Mishra, Erichson and Mahoney, 2022. Long expressive memory for sequence
        modeling. https://arxiv.org/abs/2110.04744
    """

    hidden_size: Size
    step_size: Positive = 1.0
    activation: Activation = jnp.tanh
    gate_activation: Activation = jax.nn.sigmoid
    use_bias: bool = True
    kernel_init: PerGate = glorot_uniform
    recurrent_kernel_init: Initializer = orthogonal
    bias_init: PerGate = zeros

    Params = LEMParams
    Carry = HiddenCellCarry
    output = "h"

    def init(
        self, key: jax.Array, in_features: int, dtype: DTypeLike = float
    ) -> LEMParams:
        """Return fresh parameters for inputs of `in_features` features."""
        H = self.hidden_size
        key_x, key_h, key_c, key_b = jax.random.split(key, 4)
        bias = None
        if self.use_bias:
            bias = per_gate(self.bias_init, key_b, (H,), 4, dtype)
        return LEMParams(
            kernel=per_gate(self.kernel_init, key_x, (in_features, H), 4, dtype),
            recurrent_kernel=per_gate(
                self.recurrent_kernel_init, key_h, (H, H), 3, dtype
            ),
            memory_kernel=self.recurrent_kernel_init(key_c, (H, H), dtype),
            bias=bias,
        )

    def project(self, params: LEMParams, x: jax.Array) -> jax.Array:
        """Return $x W + b$ for r, s, c and h."""
        return affine(x, params.kernel, params.bias)

    def feedback(self, params: LEMParams, carry: HiddenCellCarry) -> jax.Array:
        """Return $h U$ for r, s and c."""
        return affine(carry.h, params.recurrent_kernel)

    def update(
        self, params: LEMParams, carry: HiddenCellCarry, z: jax.Array, u: jax.Array
    ) -> tuple[HiddenCellCarry, jax.Array]:
        """Return the new state, and its hidden part as the output."""
        H = self.hidden_size
        r, s, c = jnp.split(z[..., : 3 * H] + u, 3, axis=-1)
        r = self.step_size * self.gate_activation(r)
        s = self.step_size * self.gate_activation(s)
        c = (1 - r) * carry.c + r * self.activation(c)
        new = self.activation(z[..., 3 * H :] + affine(c, params.memory_kernel))
        h = (1 - s) * carry.h + s * new
        return HiddenCellCarry(h, c), h
