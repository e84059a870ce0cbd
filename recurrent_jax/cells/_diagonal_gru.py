# SPDX-License-Identifier: Apache-2.0
"""The GRU whose units do not read each other, so that Newton's method is cheap."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from recurrent_jax._core.arrays import affine, expand_like
from recurrent_jax._core.cell import Cell, HiddenCarry
from recurrent_jax._core.types import Activation, PerGate, Size
from recurrent_jax.initializers import Uniform, glorot_uniform, per_gate, zeros


class DiagonalGRUParams(NamedTuple):
    """Parameters of `DiagonalGRU`, with gates in the order r, z, n."""

    kernel: jax.Array  # (in, 3H)
    recurrent_scale: jax.Array  # (3H,)
    bias: jax.Array | None  # (3H,)


@dataclasses.dataclass(frozen=True)
class DiagonalGRU(Cell[DiagonalGRUParams, HiddenCarry]):
    r"""A GRU with diagonal recurrent kernels: each unit reads itself alone.

    $$
    \begin{aligned}
    r_t &= \sigma(x_t W_r + u_r \odot h_{t-1} + b_r) && \text{reset gate} \\
    z_t &= \sigma(x_t W_z + u_z \odot h_{t-1} + b_z) && \text{update gate} \\
    n_t &= \phi(x_t W_n + b_n + u_n \odot (r_t \odot h_{t-1}))
        && \text{candidate} \\
    h_t &= (1 - z_t) \odot n_t + z_t \odot h_{t-1}, \qquad y_t = h_t
    \end{aligned}
    $$

    The Jacobian of a step is diagonal. So an iteration of `rj.Newton` costs about as
    much as one of a linear cell, and `rj.online.RTRL` keeps one number for each
    parameter. Stack layers to mix the units. Here $z = 1$ keeps the old state, as in
    `GRU`. The paper exchanges $z$ and $1 - z$.

    Args:
        hidden_size: H, the number of units.
        activation: $\phi$, for the candidate.
        gate_activation: $\sigma$, for both gates.
        use_bias: whether to add biases.
        kernel_init: initialiser of each W.
        recurrent_scale_init: initialiser of each u.
        bias_init: initialiser of each b.

    Raises:
        TypeError, ValueError: if a field has the wrong type or is out of range.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> cell = rj.DiagonalGRU(hidden_size=3)
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
    gate_activation: Activation = jax.nn.sigmoid
    use_bias: bool = True
    kernel_init: PerGate = glorot_uniform
    recurrent_scale_init: PerGate = Uniform(-1.0, 1.0)
    bias_init: PerGate = zeros

    Params = DiagonalGRUParams
    Carry = HiddenCarry
    output = "h"

    def init(
        self, key: jax.Array, in_features: int, dtype: DTypeLike = float
    ) -> DiagonalGRUParams:
        """Return fresh parameters for inputs of `in_features` features."""
        H = self.hidden_size
        key_x, key_h, key_b = jax.random.split(key, 3)
        bias = None
        if self.use_bias:
            bias = per_gate(self.bias_init, key_b, (H,), 3, dtype)
        return DiagonalGRUParams(
            kernel=per_gate(self.kernel_init, key_x, (in_features, H), 3, dtype),
            recurrent_scale=per_gate(self.recurrent_scale_init, key_h, (H,), 3, dtype),
            bias=bias,
        )

    def project(self, params: DiagonalGRUParams, x: jax.Array) -> jax.Array:
        """Return $x W + b$ for r, z and n."""
        return affine(x, params.kernel, params.bias)

    def feedback(self, params: DiagonalGRUParams, carry: HiddenCarry) -> jax.Array:
        r"""Return $u \odot h$ for r, z and n."""
        h = jnp.concatenate([carry.h] * 3, axis=-1)
        return expand_like(params.recurrent_scale, h) * h

    def update(
        self, params: DiagonalGRUParams, carry: HiddenCarry, z: jax.Array, u: jax.Array
    ) -> tuple[HiddenCarry, jax.Array]:
        """Return the new hidden state, which is also the output."""
        (r, z, n), (u_r, u_z, u_n) = (jnp.split(a, 3, axis=-1) for a in (z, u))
        r = self.gate_activation(r + u_r)
        z = self.gate_activation(z + u_z)
        h = (1 - z) * self.activation(n + r * u_n) + z * carry.h
        return HiddenCarry(h), h
