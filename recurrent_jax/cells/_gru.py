# SPDX-License-Identifier: Apache-2.0
"""The gated recurrent unit, in both of its published forms."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from recurrent_jax._core.arrays import affine, affine_columns
from recurrent_jax._core.cell import Cell, HiddenCarry
from recurrent_jax._core.types import Activation, Initializer, PerGate, Size
from recurrent_jax.initializers import glorot_uniform, orthogonal, per_gate, zeros


class GRUParams(NamedTuple):
    """Parameters of `GRU`, with gates in the order r, z, n."""

    kernel: jax.Array  # (in, 3H)
    recurrent_kernel: jax.Array  # (H, 3H)
    bias: jax.Array | None  # (3H,)
    recurrent_bias: jax.Array | None  # (H,), for the candidate, reset-after only


@dataclasses.dataclass(frozen=True)
class GRU(Cell[GRUParams, HiddenCarry]):
    r"""The GRU: one state, a reset gate, and an update gate that keeps the old state.

    $$
    \begin{aligned}
    r_t &= \sigma(x_t W_r + h_{t-1} U_r + b_r) && \text{reset gate} \\
    z_t &= \sigma(x_t W_z + h_{t-1} U_z + b_z) && \text{update gate} \\
    n_t &= \phi(x_t W_n + b_n + r_t \odot (h_{t-1} U_n + d_n))
        && \text{candidate, reset after the product} \\
    n_t &= \phi(x_t W_n + b_n + (r_t \odot h_{t-1}) U_n)
        && \text{candidate, reset before it} \\
    h_t &= (1 - z_t) \odot n_t + z_t \odot h_{t-1}, \qquad y_t = h_t
    \end{aligned}
    $$

    Here $z = 1$ keeps the old state, as in the paper, PyTorch, Keras, Flax, cuDNN and
    ONNX. Chung et al. (2014) and Haiku exchange $z$ and $1 - z$.

    Args:
        hidden_size: H, the number of units.
        reset_after: whether to reset after the recurrent product, with one product per
            step, as in cuDNN, PyTorch and Flax, and by default in Keras. False resets
            before the product, as in the paper and Haiku, and by default in ONNX.
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
        >>> cell = rj.GRU(hidden_size=3)
        >>> params = cell.init(jax.random.key(0), in_features=2)
        >>> carry, ys = rj.unroll(cell, params, jnp.ones((7, 5, 2)))
        >>> ys.shape
        (7, 5, 3)

    References:
        Cho et al., 2014. Learning phrase representations using RNN encoder-decoder for
        statistical machine translation. https://arxiv.org/abs/1406.1078
        Chung et al., 2014. Empirical evaluation of gated recurrent neural networks on
        sequence modeling. https://arxiv.org/abs/1412.3555
        Appleyard, Kocisky and Blunsom, 2016. Optimizing performance of recurrent neural
        networks on GPUs (cuDNN, reset after). https://arxiv.org/abs/1604.01946
    """

    hidden_size: Size
    reset_after: bool = True
    activation: Activation = jnp.tanh
    gate_activation: Activation = jax.nn.sigmoid
    use_bias: bool = True
    kernel_init: PerGate = glorot_uniform
    recurrent_kernel_init: PerGate = orthogonal
    bias_init: PerGate = zeros
    recurrent_bias_init: Initializer = zeros

    Params = GRUParams
    Carry = HiddenCarry
    output = "h"

    def init(
        self, key: jax.Array, in_features: int, dtype: DTypeLike = float
    ) -> GRUParams:
        """Return fresh parameters for inputs of `in_features` features."""
        H = self.hidden_size
        key_x, key_h, key_b, key_d = jax.random.split(key, 4)
        bias = recurrent_bias = None
        if self.use_bias:
            bias = per_gate(self.bias_init, key_b, (H,), 3, dtype)
        if self.use_bias and self.reset_after:
            recurrent_bias = self.recurrent_bias_init(key_d, (H,), dtype)
        return GRUParams(
            kernel=per_gate(self.kernel_init, key_x, (in_features, H), 3, dtype),
            recurrent_kernel=per_gate(
                self.recurrent_kernel_init, key_h, (H, H), 3, dtype
            ),
            bias=bias,
            recurrent_bias=recurrent_bias,
        )

    def project(self, params: GRUParams, x: jax.Array) -> jax.Array:
        """Return $x W + b$ for r, z and n."""
        return affine(x, params.kernel, params.bias)

    def feedback(self, params: GRUParams, carry: HiddenCarry) -> jax.Array:
        """Return $h U$ for r, z and n, or for r and z if the reset comes first."""
        H = self.hidden_size
        if not self.reset_after:
            return affine_columns(carry.h, params.recurrent_kernel, 0, 2 * H)
        d = params.recurrent_bias
        bias = None if d is None else jnp.pad(d, (2 * H, 0))  # of n only
        return affine(carry.h, params.recurrent_kernel, bias)

    def update(
        self, params: GRUParams, carry: HiddenCarry, z: jax.Array, u: jax.Array
    ) -> tuple[HiddenCarry, jax.Array]:
        """Return the new hidden state, which is also the output."""
        H = self.hidden_size
        r, z, n = jnp.split(z, 3, axis=-1)
        r = self.gate_activation(r + u[..., :H])
        z = self.gate_activation(z + u[..., H : 2 * H])
        if self.reset_after:
            n = self.activation(n + r * u[..., 2 * H :])
        else:
            u_n = affine_columns(r * carry.h, params.recurrent_kernel, 2 * H, 3 * H)
            n = self.activation(n + u_n)
        h = (1 - z) * n + z * carry.h
        return HiddenCarry(h), h
