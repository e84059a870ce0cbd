# SPDX-License-Identifier: Apache-2.0
"""The GRU with layer normalisation of both products."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from recurrent_jax._core.arrays import affine, expand_like
from recurrent_jax._core.cell import Cell, HiddenCarry
from recurrent_jax._core.types import Activation, Initializer, PerGate, Positive, Size
from recurrent_jax.cells._norm import layer_norm
from recurrent_jax.initializers import glorot_uniform, orthogonal, per_gate, zeros


class LayerNormGRUParams(NamedTuple):
    """Parameters of `LayerNormGRU`, with gates in the order r, z, n."""

    kernel: jax.Array  # (in, 3H)
    recurrent_kernel: jax.Array  # (H, 3H)
    bias: jax.Array | None  # (3H,)
    recurrent_bias: jax.Array | None  # (H,), of the candidate
    input_scale: jax.Array  # (3H,), for the products of the input
    recurrent_scale: jax.Array  # (3H,), for the products of the state


@dataclasses.dataclass(frozen=True)
class LayerNormGRU(Cell[LayerNormGRUParams, HiddenCarry]):
    r"""The GRU with layer normalisation of every product.

    $$
    \begin{aligned}
    r_t &= \sigma(\mathrm{LN}(x_t W_r; \alpha_r) + \mathrm{LN}(h_{t-1} U_r; \beta_r)
        + b_r) \\
    z_t &= \sigma(\mathrm{LN}(x_t W_z; \alpha_z) + \mathrm{LN}(h_{t-1} U_z; \beta_z)
        + b_z) \\
    n_t &= \phi(\mathrm{LN}(x_t W_n; \alpha_n) + b_n
        + r_t \odot (\mathrm{LN}(h_{t-1} U_n; \beta_n) + d_n)) \\
    h_t &= (1 - z_t) \odot n_t + z_t \odot h_{t-1}, \qquad y_t = h_t
    \end{aligned}
    $$

    As in the paper, the reset comes after the product, r and z are normalised together
    over 2H numbers, and the candidate is normalised separately. Two shifts that act
    only as a sum are one parameter here: $b_r$ and $b_z$. The paper exchanges $z$ and
    $1 - z$, which is the same cell with other signs in the parameters of $z$.

    Args:
        hidden_size: H, the number of units.
        gates_apart: whether to normalise r and z separately, each over H numbers.
        epsilon: a constant added to the variance.
        activation: $\phi$, for the candidate.
        gate_activation: $\sigma$, for both gates.
        use_bias: whether to add biases.
        kernel_init: initialiser of each W.
        recurrent_kernel_init: initialiser of each U.
        bias_init: initialiser of each b.
        recurrent_bias_init: initialiser of $d_n$.

    Raises:
        TypeError, ValueError: if a field has the wrong type or is out of range.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> cell = rj.LayerNormGRU(hidden_size=3)
        >>> params = cell.init(jax.random.key(0), in_features=2)
        >>> carry, ys = rj.unroll(cell, params, jnp.ones((7, 5, 2)))
        >>> ys.shape
        (7, 5, 3)

    References:
        Ba, Kiros and Hinton, 2016. Layer normalization (supplementary material).
        https://arxiv.org/abs/1607.06450
    """

    hidden_size: Size
    gates_apart: bool = False
    epsilon: Positive = 1e-5
    activation: Activation = jnp.tanh
    gate_activation: Activation = jax.nn.sigmoid
    use_bias: bool = True
    kernel_init: PerGate = glorot_uniform
    recurrent_kernel_init: PerGate = orthogonal
    bias_init: PerGate = zeros
    recurrent_bias_init: Initializer = zeros

    Params = LayerNormGRUParams
    Carry = HiddenCarry
    output = "h"

    def init(
        self, key: jax.Array, in_features: int, dtype: DTypeLike = float
    ) -> LayerNormGRUParams:
        """Return fresh parameters for inputs of `in_features` features."""
        H = self.hidden_size
        key_x, key_h, key_b, key_d = jax.random.split(key, 4)
        bias = recurrent_bias = None
        if self.use_bias:
            bias = per_gate(self.bias_init, key_b, (H,), 3, dtype)
            recurrent_bias = self.recurrent_bias_init(key_d, (H,), dtype)
        return LayerNormGRUParams(
            kernel=per_gate(self.kernel_init, key_x, (in_features, H), 3, dtype),
            recurrent_kernel=per_gate(
                self.recurrent_kernel_init, key_h, (H, H), 3, dtype
            ),
            bias=bias,
            recurrent_bias=recurrent_bias,
            input_scale=jnp.ones(3 * H, dtype),
            recurrent_scale=jnp.ones(3 * H, dtype),
        )

    def _norm(self, product: jax.Array, scale: jax.Array) -> jax.Array:
        """Return the normalised products of r, z and n."""
        gates, candidate = jnp.split(product, [2 * self.hidden_size], axis=-1)
        s_gates, s_candidate = jnp.split(scale, [2 * self.hidden_size])
        groups = 2 if self.gates_apart else 1
        return jnp.concatenate(
            [
                layer_norm(gates, s_gates, groups=groups, epsilon=self.epsilon),
                layer_norm(candidate, s_candidate, epsilon=self.epsilon),
            ],
            axis=-1,
        )

    def project(self, params: LayerNormGRUParams, x: jax.Array) -> jax.Array:
        r"""Return $\mathrm{LN}(x W) + b$ for r, z and n."""
        z = self._norm(affine(x, params.kernel), params.input_scale)
        return z if params.bias is None else z + expand_like(params.bias, z)

    def feedback(self, params: LayerNormGRUParams, carry: HiddenCarry) -> jax.Array:
        r"""Return $\mathrm{LN}(h U)$ for r, z and n."""
        return self._norm(
            affine(carry.h, params.recurrent_kernel), params.recurrent_scale
        )

    def update(
        self,
        params: LayerNormGRUParams,
        carry: HiddenCarry,
        z: jax.Array,
        u: jax.Array,
    ) -> tuple[HiddenCarry, jax.Array]:
        """Return the new hidden state, which is also the output."""
        r, z, n = jnp.split(z, 3, axis=-1)
        u_r, u_z, u_n = jnp.split(u, 3, axis=-1)
        r = self.gate_activation(r + u_r)
        z = self.gate_activation(z + u_z)
        if params.recurrent_bias is not None:
            u_n = u_n + expand_like(params.recurrent_bias, u_n)
        n = self.activation(n + r * u_n)
        h = (1 - z) * n + z * carry.h
        return HiddenCarry(h), h
