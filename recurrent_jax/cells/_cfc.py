# SPDX-License-Identifier: Apache-2.0
"""The closed-form continuous-time network: a liquid network without a solver."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from recurrent_jax._core.arrays import affine
from recurrent_jax._core.cell import Cell, HiddenCarry
from recurrent_jax._core.types import Activation, Initializer, Size
from recurrent_jax.activations import ScaledTanh
from recurrent_jax.cells import _timed
from recurrent_jax.cells._timed import Timed
from recurrent_jax.initializers import glorot_uniform, per_gate, zeros


class CfCLayer(NamedTuple):
    """A layer of the backbone of `CfC` after the first."""

    kernel: jax.Array  # (B, B)
    bias: jax.Array  # (B,)


class CfCParams(NamedTuple):
    """Parameters of `CfC`, with heads in the order g, k, a, d."""

    kernel: jax.Array  # (in, B)
    recurrent_kernel: jax.Array  # (H, B)
    bias: jax.Array  # (B,)
    layers: tuple[CfCLayer, ...]
    head_kernel: jax.Array  # (B, 4H)
    head_bias: jax.Array  # (4H,)


@dataclasses.dataclass(frozen=True)
class CfC(Cell[CfCParams, HiddenCarry]):
    r"""The closed-form continuous-time network: a time gate mixes two states.

    $$
    \begin{aligned}
    b_t &= \phi(x_t W + h_{t-1} U + b) && \text{backbone, of one or more layers} \\
    g_t &= \tanh(b_t W_g + b_g) && \text{state at short times} \\
    k_t &= \tanh(b_t W_k + b_k) && \text{state at long times} \\
    a_t &= b_t W_a + b_a, \quad d_t = b_t W_d + b_d && \text{speed and shift} \\
    s_t &= \sigma(a_t \odot \Delta_t + d_t) && \text{time gate} \\
    h_t &= (1 - s_t) \odot g_t + s_t \odot k_t, \qquad y_t = h_t
    \end{aligned}
    $$

    The input is `Timed(x, elapsed)`, where $\Delta_t$ is the time since the step
    before. The paper writes $\sigma(-f \Delta)$ for $1 - s$, without a shift. The shift
    $d$ is in the authors' code. The authors draw all weights with Glorot's rule over
    input and state together. Here each kernel is drawn separately.

    Args:
        hidden_size: H, the number of units.
        backbone_size: B, the width of the backbone.
        backbone_layers: the number of layers of the backbone.
        gate: whether to use the gate. False is the paper's CfC-noGate,
            $h_t = g_t + s_t \odot k_t$.
        activation: $\phi$, for the backbone.
        kernel_init: initialiser of each W.
        recurrent_kernel_init: initialiser of U.
        bias_init: initialiser of each b.

    Raises:
        TypeError, ValueError: if a field has the wrong type or is out of range, or if
            an input is not `Timed`.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> cell = rj.CfC(hidden_size=3)
        >>> params = cell.init(jax.random.key(0), in_features=2)
        >>> xs = rj.cells.Timed(jnp.ones((7, 5, 2)), elapsed=jnp.ones((7, 5)))
        >>> carry, ys = rj.unroll(cell, params, xs)
        >>> ys.shape
        (7, 5, 3)

    References:
        Hasani et al., 2022. Closed-form continuous-time neural networks.
        https://arxiv.org/abs/2106.13898
    """

    hidden_size: Size
    backbone_size: Size = 128
    backbone_layers: Size = 1
    gate: bool = True
    activation: Activation = ScaledTanh(1.7159, 2 / 3)
    kernel_init: Initializer = glorot_uniform
    recurrent_kernel_init: Initializer = glorot_uniform
    bias_init: Initializer = zeros

    Params = CfCParams
    Carry = HiddenCarry
    output = "h"

    def init(
        self, key: jax.Array, in_features: int, dtype: DTypeLike = float
    ) -> CfCParams:
        """Return fresh parameters for inputs of `in_features` features."""
        H, B = self.hidden_size, self.backbone_size
        key_x, key_h, key_b, key_g, key_d, key_l = jax.random.split(key, 6)
        layers = []
        for key_i in jax.random.split(key_l, self.backbone_layers)[1:]:
            key_w, key_v = jax.random.split(key_i)
            kernel = self.kernel_init(key_w, (B, B), dtype)
            layers.append(CfCLayer(kernel, self.bias_init(key_v, (B,), dtype)))
        return CfCParams(
            kernel=self.kernel_init(key_x, (in_features, B), dtype),
            recurrent_kernel=self.recurrent_kernel_init(key_h, (H, B), dtype),
            bias=self.bias_init(key_b, (B,), dtype),
            layers=tuple(layers),
            head_kernel=per_gate(self.kernel_init, key_g, (B, H), 4, dtype),
            head_bias=per_gate(self.bias_init, key_d, (H,), 4, dtype),
        )

    def out_features(self, in_features: int) -> int:
        """Return the number of units, H."""
        return self.hidden_size

    def project(self, params: CfCParams, x: Timed) -> tuple[jax.Array, jax.Array]:
        r"""Return $x W + b$ and $\Delta$."""
        _timed.check(self, x, params.kernel)
        return affine(x.x, params.kernel, params.bias), x.elapsed[..., None]

    def feedback(self, params: CfCParams, carry: HiddenCarry) -> jax.Array:
        """Return $h U$."""
        return affine(carry.h, params.recurrent_kernel)

    def update(
        self,
        params: CfCParams,
        carry: HiddenCarry,
        z: tuple[jax.Array, jax.Array],
        u: jax.Array,
    ) -> tuple[HiddenCarry, jax.Array]:
        """Return the new hidden state, which is also the output."""
        z_b, elapsed = z
        b = self.activation(z_b + u)
        for layer in params.layers:
            b = self.activation(affine(b, layer.kernel, layer.bias))
        heads = affine(b, params.head_kernel, params.head_bias)
        g, k, a, d = jnp.split(heads, 4, axis=-1)
        g, k = jnp.tanh(g), jnp.tanh(k)
        s = jax.nn.sigmoid(a * elapsed + d)
        h = (1 - s) * g + s * k if self.gate else g + s * k
        return HiddenCarry(h), h
