# SPDX-License-Identifier: Apache-2.0
"""The light GRU, which has no reset gate and a normalised ReLU candidate."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from recurrent_jax._core.arrays import affine
from recurrent_jax._core.cell import Cell, HiddenCarry
from recurrent_jax._core.types import Activation, PerGate, Size
from recurrent_jax.cells._norm import layer_norm
from recurrent_jax.initializers import glorot_uniform, orthogonal, per_gate, zeros


class LightGRUParams(NamedTuple):
    """Parameters of `LightGRU`, with blocks in the order z, n."""

    kernel: jax.Array  # (in, 2H)
    recurrent_kernel: jax.Array  # (H, 2H)
    bias: jax.Array | None  # (2H,)
    input_scale: jax.Array | None  # (2H,), for the normalisation


@dataclasses.dataclass(frozen=True)
class LightGRU(Cell[LightGRUParams, HiddenCarry]):
    r"""The light gated recurrent unit (Li-GRU) of speech recognition.

    $$
    \begin{aligned}
    z_t &= \sigma(\mathrm{LN}(x_t W_z) + h_{t-1} U_z + b_z) && \text{update gate} \\
    n_t &= \phi(\mathrm{LN}(x_t W_n) + h_{t-1} U_n + b_n) && \text{candidate} \\
    h_t &= z_t \odot h_{t-1} + (1 - z_t) \odot n_t, \qquad y_t = h_t
    \end{aligned}
    $$

    The paper uses *batch* normalisation in place of LN. Batch normalisation needs
    statistics over all sequences and steps, and running statistics for evaluation, and
    with it the sequences of a batch affect each other. Layer normalisation, of each
    gate separately and with a learned scale, serves the same purpose: it keeps the
    argument of the ReLU bounded. In a trained network, batch normalisation of the input
    is a scale and a shift. The paper's network therefore runs here as
    `normalise=False`, with both folded into W and b.

    Args:
        hidden_size: H, the number of units.
        normalise: whether to normalise the part of the input.
        activation: $\phi$, for the candidate.
        gate_activation: $\sigma$, for the gate.
        use_bias: whether to add a bias.
        kernel_init: initialiser of each W.
        recurrent_kernel_init: initialiser of each U.
        bias_init: initialiser of each b.

    Raises:
        TypeError, ValueError: if a field has the wrong type or is out of range.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> cell = rj.LightGRU(hidden_size=3)
        >>> params = cell.init(jax.random.key(0), in_features=2)
        >>> carry, ys = rj.unroll(cell, params, jnp.ones((7, 5, 2)))
        >>> ys.shape
        (7, 5, 3)

    References:
        Ravanelli, Brakel, Omologo and Bengio, 2018. Light gated recurrent units for
        speech recognition. https://arxiv.org/abs/1803.10225
    """

    hidden_size: Size
    normalise: bool = True
    activation: Activation = jax.nn.relu
    gate_activation: Activation = jax.nn.sigmoid
    use_bias: bool = True
    kernel_init: PerGate = glorot_uniform
    recurrent_kernel_init: PerGate = orthogonal
    bias_init: PerGate = zeros

    Params = LightGRUParams
    Carry = HiddenCarry
    output = "h"

    def init(
        self, key: jax.Array, in_features: int, dtype: DTypeLike = float
    ) -> LightGRUParams:
        """Return fresh parameters for inputs of `in_features` features."""
        H = self.hidden_size
        key_x, key_h, key_b = jax.random.split(key, 3)
        bias = None
        if self.use_bias:
            bias = per_gate(self.bias_init, key_b, (H,), 2, dtype)
        return LightGRUParams(
            kernel=per_gate(self.kernel_init, key_x, (in_features, H), 2, dtype),
            recurrent_kernel=per_gate(
                self.recurrent_kernel_init, key_h, (H, H), 2, dtype
            ),
            bias=bias,
            input_scale=jnp.ones(2 * H, dtype) if self.normalise else None,
        )

    def project(self, params: LightGRUParams, x: jax.Array) -> jax.Array:
        r"""Return $\mathrm{LN}(x W) + b$ for z and n."""
        if params.input_scale is None:
            return affine(x, params.kernel, params.bias)
        return layer_norm(
            affine(x, params.kernel), params.input_scale, params.bias, groups=2
        )

    def feedback(self, params: LightGRUParams, carry: HiddenCarry) -> jax.Array:
        """Return $h U$ for z and n."""
        return affine(carry.h, params.recurrent_kernel)

    def update(
        self, params: LightGRUParams, carry: HiddenCarry, z: jax.Array, u: jax.Array
    ) -> tuple[HiddenCarry, jax.Array]:
        """Return the new hidden state, which is also the output."""
        z, n = jnp.split(z + u, 2, axis=-1)
        z = self.gate_activation(z)
        n = self.activation(n)
        h = z * carry.h + (1 - z) * n
        return HiddenCarry(h), h
