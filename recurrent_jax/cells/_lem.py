# SPDX-License-Identifier: Apache-2.0
"""Long expressive memory: two states, each with time steps of its own."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from recurrent_jax import _checks
from recurrent_jax._core.arrays import affine
from recurrent_jax._core.cell import Cell, HiddenCellCarry
from recurrent_jax._core.types import Activation, Initializer
from recurrent_jax.initializers import glorot_uniform, orthogonal, per_gate, zeros


class LEMParams(NamedTuple):
    """Parameters of `LEM`; side by side in the order r, s, c, h."""

    kernel: jax.Array  # (in, 4H)
    recurrent_kernel: jax.Array  # (H, 3H), of r, s and c
    memory_kernel: jax.Array  # (H, H), from the new c to h
    bias: jax.Array | None  # (4H,)


@dataclasses.dataclass(frozen=True)
class LEM(Cell[LEMParams, HiddenCellCarry]):
    r"""The LEM: a system on many time scales, which are learned and read the state.

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

    The paper calls $h$ by $y$, $c$ by $z$ and the steps by $\overline{\Delta t}_n$ and
    $\Delta t_n$. $h_t$ reads the new memory, so the product with V cannot be made ahead
    of the step, and its part of the gradient is the slow one.

    Args:
        hidden_size: H, the number of units.
        step_size: $\Delta t$, above 0, the longest step; 1 in the paper but where it
            is tuned.
        activation: $\phi$, of both candidates.
        gate_activation: $\sigma$, of both steps.
        use_bias: whether there are biases.
        kernel_init: initialiser of each W.
        recurrent_kernel_init: initialiser of each U, and of V.
        bias_init: initialiser of each b.

    Raises:
        TypeError, ValueError: if a field is of the wrong type or out of range.

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

    hidden_size: int
    step_size: float = 1.0
    activation: Activation = jnp.tanh
    gate_activation: Activation = jax.nn.sigmoid
    use_bias: bool = True
    kernel_init: Initializer = glorot_uniform
    recurrent_kernel_init: Initializer = orthogonal
    bias_init: Initializer = zeros

    Params = LEMParams
    Carry = HiddenCellCarry
    output = "h"

    def __post_init__(self) -> None:
        super().__post_init__()
        _checks.above("LEM", "step_size", self.step_size, 0)

    def init(
        self, key: jax.Array, in_features: int, dtype: DTypeLike = float
    ) -> LEMParams:
        """Return fresh parameters for inputs of `in_features` features."""
        _checks.size("LEM.init", "in_features", in_features)
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
        """Return the new state, and the hidden part of it as the output."""
        H = self.hidden_size
        r, s, c = jnp.split(z[..., : 3 * H] + u, 3, axis=-1)
        r = self.step_size * self.gate_activation(r)
        s = self.step_size * self.gate_activation(s)
        c = (1 - r) * carry.c + r * self.activation(c)
        new = self.activation(z[..., 3 * H :] + affine(c, params.memory_kernel))
        h = (1 - s) * carry.h + s * new
        return HiddenCellCarry(h, c), h
