# SPDX-License-Identifier: Apache-2.0
"""The GRU for images, in which every product is a convolution."""

import dataclasses
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from recurrent_jax import _checks
from recurrent_jax._core.arrays import expand_like
from recurrent_jax._core.cell import Cell, HiddenCarry
from recurrent_jax._core.types import Activation, PerGate, Size
from recurrent_jax.cells import _convolution
from recurrent_jax.cells._convolution import convolve, each
from recurrent_jax.initializers import glorot_uniform, orthogonal, per_gate, zeros


class ConvGRUParams(NamedTuple):
    """Parameters of `ConvGRU`, with gates in the order r, z, n."""

    kernel: jax.Array  # (*window, in, 3F)
    recurrent_kernel: jax.Array  # (*window, F, 3F)
    bias: jax.Array | None  # (3F,)


@dataclasses.dataclass(frozen=True)
class ConvGRU(Cell[ConvGRUParams, HiddenCarry]):
    r"""The convolutional GRU, for lines, images or volumes.

    $$
    \begin{aligned}
    r_t &= \sigma(W_r * x_t + U_r * h_{t-1} + b_r) && \text{reset gate} \\
    z_t &= \sigma(W_z * x_t + U_z * h_{t-1} + b_z) && \text{update gate} \\
    n_t &= \phi(W_n * x_t + U_n * (r_t \odot h_{t-1}) + b_n) && \text{candidate} \\
    h_t &= (1 - z_t) \odot n_t + z_t \odot h_{t-1}, \qquad y_t = h_t
    \end{aligned}
    $$

    Inputs are `(*batch, *spatial, channels)`: channels come last, and there are as many
    spatial axes as `spatial_shape` has entries. The convolutions of the state have
    strides of 1 and keep its size, whatever the strides and the padding of the input.
    Here $z = 1$ keeps the old state, as in `GRU`. The paper exchanges $z$ and $1 - z$,
    which is the same cell with other signs in $W_z$, $U_z$ and $b_z$.

    Args:
        features: F, the number of output channels.
        spatial_shape: the spatial shape of the input, such as `(16, 16)`.
        kernel_shape: the shape of both windows. One number applies to all axes.
        strides: the strides of the convolution of the input.
        padding: `"SAME"` or `"VALID"`, for the convolution of the input.
        activation: $\phi$, for the candidate.
        gate_activation: $\sigma$, for both gates.
        use_bias: whether to add a bias.
        kernel_init: initialiser of each W.
        recurrent_kernel_init: initialiser of each U.
        bias_init: initialiser of each b.

    Raises:
        TypeError, ValueError: if a field has the wrong type, if a size is not positive,
            or if shapes do not fit together.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> cell = rj.ConvGRU(features=8, spatial_shape=(16, 16), strides=2)
        >>> params = cell.init(jax.random.key(0), in_features=3)
        >>> carry, ys = rj.unroll(cell, params, jnp.ones((7, 5, 16, 16, 3)))
        >>> ys.shape
        (7, 5, 8, 8, 8)

    References:
        Ballas, Yao, Pal and Courville, 2016. Delving deeper into convolutional networks
        for learning video representations. https://arxiv.org/abs/1511.06432
    """

    features: Size
    spatial_shape: tuple[int, ...]
    kernel_shape: int | tuple[int, ...] = 3
    strides: int | tuple[int, ...] = 1
    padding: Literal["SAME", "VALID"] = "SAME"
    activation: Activation = jnp.tanh
    gate_activation: Activation = jax.nn.sigmoid
    use_bias: bool = True
    kernel_init: PerGate = glorot_uniform
    recurrent_kernel_init: PerGate = orthogonal
    bias_init: PerGate = zeros

    Params = ConvGRUParams
    Carry = HiddenCarry
    output = "h"

    def __post_init__(self) -> None:
        super().__post_init__()
        _convolution.check_fields(self)

    @property
    def feature_axes(self) -> int:  # type: ignore[override]
        """The number of spatial axes, plus one for the channels."""
        return len(self.spatial_shape) + 1

    def init(
        self, key: jax.Array, in_features: int, dtype: DTypeLike = float
    ) -> ConvGRUParams:
        """Return fresh parameters for inputs of `in_features` channels."""
        F, window = self.features, each(self.kernel_shape, self.spatial_shape)
        key_x, key_h, key_b = jax.random.split(key, 3)
        bias = None
        if self.use_bias:
            bias = per_gate(self.bias_init, key_b, (F,), 3, dtype)
        return ConvGRUParams(
            kernel=per_gate(
                self.kernel_init, key_x, (*window, in_features, F), 3, dtype
            ),
            recurrent_kernel=per_gate(
                self.recurrent_kernel_init, key_h, (*window, F, F), 3, dtype
            ),
            bias=bias,
        )

    def initial_carry(
        self,
        batch_shape: tuple[int, ...] = (),
        dtype: DTypeLike = float,
        params: Any = None,
    ) -> HiddenCarry:
        """Return a state of zeros."""
        _checks.own(self, params)
        state = (*batch_shape, *_convolution.shape_after(self), self.features)
        return HiddenCarry(h=jnp.zeros(state, dtype))

    def out_features(self, in_features: int) -> int:
        """Return the number of output channels."""
        return self.features

    def project(self, params: ConvGRUParams, x: jax.Array) -> jax.Array:
        """Return $W * x + b$ for r, z and n."""
        _convolution.check_input(self, x, params.kernel)
        strides = each(self.strides, self.spatial_shape)
        z = convolve(x, params.kernel, strides, self.padding)
        return z if params.bias is None else z + expand_like(params.bias, z)

    def feedback(self, params: ConvGRUParams, carry: HiddenCarry) -> jax.Array:
        """Return $U * h$ for r and z."""
        return convolve(carry.h, params.recurrent_kernel[..., : 2 * self.features])

    def update(
        self, params: ConvGRUParams, carry: HiddenCarry, z: jax.Array, u: jax.Array
    ) -> tuple[HiddenCarry, jax.Array]:
        """Return the new hidden state, which is also the output."""
        F = self.features
        gates = self.gate_activation(z[..., : 2 * F] + u)
        r, z_t = jnp.split(gates, 2, axis=-1)
        u_n = convolve(r * carry.h, params.recurrent_kernel[..., 2 * F :])
        n = self.activation(z[..., 2 * F :] + u_n)
        h = (1 - z_t) * n + z_t * carry.h
        return HiddenCarry(h), h
