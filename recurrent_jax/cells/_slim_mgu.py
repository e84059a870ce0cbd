# SPDX-License-Identifier: Apache-2.0
"""Minimal gated units whose gate does not read the input."""

import dataclasses
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from recurrent_jax._core.arrays import affine, expand_like
from recurrent_jax._core.cell import Cell, HiddenCarry
from recurrent_jax._core.types import Activation, Initializer, Size
from recurrent_jax.initializers import glorot_uniform, orthogonal, zeros


class SlimMGUParams(NamedTuple):
    """Parameters of `SlimMGU`."""

    kernel: jax.Array  # (in, H)
    recurrent_kernel: jax.Array  # (H, H)
    bias: jax.Array | None  # (H,)
    gate_kernel: jax.Array | None  # (H, H), variants 1 and 2
    gate_bias: jax.Array | None  # (H,), variants 1 and 3


@dataclasses.dataclass(frozen=True)
class SlimMGU(Cell[SlimMGUParams, HiddenCarry]):
    r"""MGU1, MGU2 and MGU3: the minimal gated unit with fewer parameters in its gate.

    $$
    \begin{aligned}
    f_t &= \sigma(h_{t-1} U_f + b_f) && \text{variant 1} \\
    f_t &= \sigma(h_{t-1} U_f) && \text{variant 2} \\
    f_t &= \sigma(b_f) && \text{variant 3} \\
    n_t &= \phi(x_t W + (f_t \odot h_{t-1}) U + b) && \text{candidate} \\
    h_t &= (1 - f_t) \odot h_{t-1} + f_t \odot n_t, \qquad y_t = h_t
    \end{aligned}
    $$

    The gate reads only the state, so all products of the recurrence are in `feedback`.

    Args:
        hidden_size: H, the number of units.
        variant: 1, 2 or 3, as numbered in the paper.
        activation: $\phi$, for the candidate.
        gate_activation: $\sigma$, for the gate.
        use_bias: whether the candidate has a bias.
        kernel_init: initialiser of W.
        recurrent_kernel_init: initialiser of U and $U_f$.
        bias_init: initialiser of b and $b_f$.

    Raises:
        TypeError, ValueError: if a field has the wrong type, if the size is not
            positive, or if there is no such variant.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> cell = rj.SlimMGU(hidden_size=3, variant=2)
        >>> params = cell.init(jax.random.key(0), in_features=2)
        >>> carry, ys = rj.unroll(cell, params, jnp.ones((7, 5, 2)))
        >>> ys.shape
        (7, 5, 3)

    References:
        Heck and Salem, 2017. Simplified minimal gated unit variations for recurrent
        neural networks. https://arxiv.org/abs/1701.03452
    """

    hidden_size: Size
    variant: Literal[1, 2, 3] = 1
    activation: Activation = jnp.tanh
    gate_activation: Activation = jax.nn.sigmoid
    use_bias: bool = True
    kernel_init: Initializer = glorot_uniform
    recurrent_kernel_init: Initializer = orthogonal
    bias_init: Initializer = zeros

    Params = SlimMGUParams
    Carry = HiddenCarry
    output = "h"

    def init(
        self, key: jax.Array, in_features: int, dtype: DTypeLike = float
    ) -> SlimMGUParams:
        """Return fresh parameters for inputs of `in_features` features."""
        H = self.hidden_size
        key_x, key_h, key_b, key_u, key_f = jax.random.split(key, 5)
        gate_kernel = gate_bias = None
        if self.variant != 3:
            gate_kernel = self.recurrent_kernel_init(key_u, (H, H), dtype)
        if self.variant != 2:
            gate_bias = self.bias_init(key_f, (H,), dtype)
        return SlimMGUParams(
            kernel=self.kernel_init(key_x, (in_features, H), dtype),
            recurrent_kernel=self.recurrent_kernel_init(key_h, (H, H), dtype),
            bias=self.bias_init(key_b, (H,), dtype) if self.use_bias else None,
            gate_kernel=gate_kernel,
            gate_bias=gate_bias,
        )

    def project(self, params: SlimMGUParams, x: jax.Array) -> jax.Array:
        """Return $x W + b$."""
        return affine(x, params.kernel, params.bias)

    def feedback(
        self, params: SlimMGUParams, carry: HiddenCarry
    ) -> tuple[jax.Array, jax.Array]:
        r"""Return the gate $f$ and $(f \odot h) U$."""
        h = carry.h
        f = jnp.zeros_like(h)
        if params.gate_kernel is not None:
            f = affine(h, params.gate_kernel)
        if params.gate_bias is not None:
            f = f + expand_like(params.gate_bias, f)
        f = self.gate_activation(f)
        return f, affine(f * h, params.recurrent_kernel)

    def update(
        self,
        params: SlimMGUParams,
        carry: HiddenCarry,
        z: jax.Array,
        u: tuple[jax.Array, jax.Array],
    ) -> tuple[HiddenCarry, jax.Array]:
        """Return the new hidden state, which is also the output."""
        f, u_n = u
        n = self.activation(z + u_n)
        h = (1 - f) * carry.h + f * n
        return HiddenCarry(h), h
