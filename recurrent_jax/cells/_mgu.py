# SPDX-License-Identifier: Apache-2.0
"""The minimal gated unit: a GRU with one gate."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from recurrent_jax._core.arrays import affine, affine_columns, expand_like
from recurrent_jax._core.cell import Cell, HiddenCarry
from recurrent_jax._core.types import Activation, PerGate, Size
from recurrent_jax.initializers import glorot_uniform, orthogonal, per_gate, zeros


class MGUParams(NamedTuple):
    """Parameters of `MGU`, with blocks in the order f, n."""

    kernel: jax.Array  # (in, 2H)
    recurrent_kernel: jax.Array  # (H, 2H)
    bias: jax.Array | None  # (2H,)
    recurrent_bias: jax.Array | None  # (H,), for the candidate, reset-after only


@dataclasses.dataclass(frozen=True)
class MGU(Cell[MGUParams, HiddenCarry]):
    r"""The minimal gated unit, in which one gate both resets and updates.

    $$
    \begin{aligned}
    f_t &= \sigma(x_t W_f + h_{t-1} U_f + b_f) && \text{forget gate} \\
    n_t &= \phi(x_t W_n + b_n + (f_t \odot h_{t-1}) U_n) && \text{candidate} \\
    h_t &= (1 - f_t) \odot h_{t-1} + f_t \odot n_t, \qquad y_t = h_t
    \end{aligned}
    $$

    In the paper, $f = 1$ takes the candidate, which then reads the whole old state.
    Flax has a different cell of this name. Its $f = 1$ keeps the old state, and its
    gate acts after the product,
    $n_t = \phi(x_t W_n + b_n + f_t \odot (h_{t-1} U_n + d_n))$. The two differ by more
    than a sign, since one gate has both roles. Flax's cell is
    `MGU(n, gate_keeps_old=True, reset_after=True)`. Without the reset, Flax's cell is
    `UGRNN`.

    Args:
        hidden_size: H, the number of units.
        gate_keeps_old: whether $f = 1$ keeps the old state,
            $h_t = f_t \odot h_{t-1} + (1 - f_t) \odot n_t$.
        reset_after: whether the gate acts after the recurrent product of the candidate.
            Each step then has one product.
        activation: $\phi$, for the candidate.
        gate_activation: $\sigma$, for the gate.
        use_bias: whether to add biases.
        kernel_init: initialiser of each W.
        recurrent_kernel_init: initialiser of each U.
        bias_init: initialiser of each b and of $d_n$.

    Raises:
        TypeError, ValueError: if a field has the wrong type or is out of range.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> cell = rj.MGU(hidden_size=3)
        >>> params = cell.init(jax.random.key(0), in_features=2)
        >>> carry, ys = rj.unroll(cell, params, jnp.ones((7, 5, 2)))
        >>> ys.shape
        (7, 5, 3)

    References:
        Zhou, Wu, Zhang and Zhou, 2016. Minimal gated unit for recurrent neural
        networks. https://arxiv.org/abs/1603.09420
    """

    hidden_size: Size
    gate_keeps_old: bool = False
    reset_after: bool = False
    activation: Activation = jnp.tanh
    gate_activation: Activation = jax.nn.sigmoid
    use_bias: bool = True
    kernel_init: PerGate = glorot_uniform
    recurrent_kernel_init: PerGate = orthogonal
    bias_init: PerGate = zeros

    Params = MGUParams
    Carry = HiddenCarry
    output = "h"

    def init(
        self, key: jax.Array, in_features: int, dtype: DTypeLike = float
    ) -> MGUParams:
        """Return fresh parameters for inputs of `in_features` features."""
        H = self.hidden_size
        key_x, key_h, key_b, key_d = jax.random.split(key, 4)
        bias = recurrent_bias = None
        if self.use_bias:
            bias = per_gate(self.bias_init, key_b, (H,), 2, dtype)
        if self.use_bias and self.reset_after:
            each = self.bias_init
            draw = each[-1] if isinstance(each, tuple) else each  # the candidate's
            recurrent_bias = draw(key_d, (H,), dtype)
        return MGUParams(
            kernel=per_gate(self.kernel_init, key_x, (in_features, H), 2, dtype),
            recurrent_kernel=per_gate(
                self.recurrent_kernel_init, key_h, (H, H), 2, dtype
            ),
            bias=bias,
            recurrent_bias=recurrent_bias,
        )

    def project(self, params: MGUParams, x: jax.Array) -> jax.Array:
        """Return $x W + b$ for f and n."""
        return affine(x, params.kernel, params.bias)

    def feedback(self, params: MGUParams, carry: HiddenCarry) -> jax.Array:
        """Return $h U$ for f and n, or for f if the reset comes first."""
        gates = 2 if self.reset_after else 1
        return affine_columns(
            carry.h, params.recurrent_kernel, 0, gates * self.hidden_size
        )

    def update(
        self, params: MGUParams, carry: HiddenCarry, z: jax.Array, u: jax.Array
    ) -> tuple[HiddenCarry, jax.Array]:
        """Return the new hidden state, which is also the output."""
        H, h = self.hidden_size, carry.h
        f, n = jnp.split(z, 2, axis=-1)
        f = self.gate_activation(f + u[..., :H])
        if self.reset_after:
            u_n = u[..., H:]
            if params.recurrent_bias is not None:
                u_n = u_n + expand_like(params.recurrent_bias, u_n)
            n = self.activation(n + f * u_n)
        else:
            u_n = affine_columns(f * h, params.recurrent_kernel, H, 2 * H)
            n = self.activation(n + u_n)
        h = f * h + (1 - f) * n if self.gate_keeps_old else (1 - f) * h + f * n
        return HiddenCarry(h), h
