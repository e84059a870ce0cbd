# SPDX-License-Identifier: Apache-2.0
"""GRUs whose gates do not read the input."""

import dataclasses
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from recurrent_jax._core.arrays import affine, expand_like
from recurrent_jax._core.cell import Cell, HiddenCarry
from recurrent_jax._core.types import Activation, Initializer, Size
from recurrent_jax.initializers import glorot_uniform, orthogonal, per_gate, zeros


class SlimGRUParams(NamedTuple):
    """Parameters of `SlimGRU`, with gates in the order r, z."""

    kernel: jax.Array  # (in, H)
    recurrent_kernel: jax.Array  # (H, H)
    bias: jax.Array | None  # (H,)
    gate_kernel: jax.Array | None  # (H, 2H), variants 1 and 2
    gate_bias: jax.Array | None  # (2H,), variants 1 and 3


@dataclasses.dataclass(frozen=True)
class SlimGRU(Cell[SlimGRUParams, HiddenCarry]):
    r"""GRU1, GRU2 and GRU3: the GRU with fewer parameters in its gates.

    $$
    \begin{aligned}
    r_t &= \sigma(h_{t-1} U_r + b_r), & z_t &= \sigma(h_{t-1} U_z + b_z)
        && \text{variant 1} \\
    r_t &= \sigma(h_{t-1} U_r), & z_t &= \sigma(h_{t-1} U_z) && \text{variant 2} \\
    r_t &= \sigma(b_r), & z_t &= \sigma(b_z) && \text{variant 3} \\
    n_t &= \phi(x_t W + (r_t \odot h_{t-1}) U + b) \\
    h_t &= (1 - z_t) \odot n_t + z_t \odot h_{t-1}, & y_t &= h_t
    \end{aligned}
    $$

    Here $z = 1$ keeps the old state, as in `GRU`. The paper exchanges $z$ and $1 - z$,
    which is the same cell with other signs in $U_z$ and $b_z$. The gates read only the
    state, so all products of the recurrence are in `feedback`.

    Args:
        hidden_size: H, the number of units.
        variant: 1, 2 or 3, as numbered in the paper.
        activation: $\phi$, for the candidate.
        gate_activation: $\sigma$, for both gates.
        use_bias: whether the candidate has a bias.
        kernel_init: initialiser of W.
        recurrent_kernel_init: initialiser of each U.
        bias_init: initialiser of each b.

    Raises:
        TypeError, ValueError: if a field has the wrong type, if the size is not
            positive, or if there is no such variant.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> cell = rj.SlimGRU(hidden_size=3, variant=2)
        >>> params = cell.init(jax.random.key(0), in_features=2)
        >>> carry, ys = rj.unroll(cell, params, jnp.ones((7, 5, 2)))
        >>> ys.shape
        (7, 5, 3)

    References:
        Dey and Salem, 2017. Gate-variants of gated recurrent unit (GRU) neural
        networks. https://arxiv.org/abs/1701.05923
    """

    hidden_size: Size
    variant: Literal[1, 2, 3] = 1
    activation: Activation = jnp.tanh
    gate_activation: Activation = jax.nn.sigmoid
    use_bias: bool = True
    kernel_init: Initializer = glorot_uniform
    recurrent_kernel_init: Initializer = orthogonal
    bias_init: Initializer = zeros

    Params = SlimGRUParams
    Carry = HiddenCarry
    output = "h"

    def init(
        self, key: jax.Array, in_features: int, dtype: DTypeLike = float
    ) -> SlimGRUParams:
        """Return fresh parameters for inputs of `in_features` features."""
        H = self.hidden_size
        key_x, key_h, key_b, key_u, key_g = jax.random.split(key, 5)
        gate_kernel = gate_bias = None
        if self.variant != 3:
            gate_kernel = per_gate(self.recurrent_kernel_init, key_u, (H, H), 2, dtype)
        if self.variant != 2:
            gate_bias = per_gate(self.bias_init, key_g, (H,), 2, dtype)
        return SlimGRUParams(
            kernel=self.kernel_init(key_x, (in_features, H), dtype),
            recurrent_kernel=self.recurrent_kernel_init(key_h, (H, H), dtype),
            bias=self.bias_init(key_b, (H,), dtype) if self.use_bias else None,
            gate_kernel=gate_kernel,
            gate_bias=gate_bias,
        )

    def project(self, params: SlimGRUParams, x: jax.Array) -> jax.Array:
        """Return $x W + b$."""
        return affine(x, params.kernel, params.bias)

    def feedback(
        self, params: SlimGRUParams, carry: HiddenCarry
    ) -> tuple[jax.Array, jax.Array]:
        r"""Return the gate $z$ and $(r \odot h) U$."""
        h = carry.h
        gates = jnp.concatenate([jnp.zeros_like(h)] * 2, axis=-1)
        if params.gate_kernel is not None:
            gates = affine(h, params.gate_kernel)
        if params.gate_bias is not None:
            gates = gates + expand_like(params.gate_bias, gates)
        r, z = jnp.split(self.gate_activation(gates), 2, axis=-1)
        return z, affine(r * h, params.recurrent_kernel)

    def update(
        self,
        params: SlimGRUParams,
        carry: HiddenCarry,
        z: jax.Array,
        u: tuple[jax.Array, jax.Array],
    ) -> tuple[HiddenCarry, jax.Array]:
        """Return the new hidden state, which is also the output."""
        projected, (z, u_n) = z, u
        n = self.activation(projected + u_n)
        h = (1 - z) * n + z * carry.h
        return HiddenCarry(h), h
