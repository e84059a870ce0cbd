# SPDX-License-Identifier: Apache-2.0
"""The LSTM for images, in which every product is a convolution."""

import dataclasses
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from recurrent_jax import _checks
from recurrent_jax._core.arrays import expand_like
from recurrent_jax._core.cell import Cell, HiddenCellCarry
from recurrent_jax._core.types import Activation, Initializer, PerGate, Real, Size
from recurrent_jax.cells import _convolution
from recurrent_jax.cells._convolution import convolve, each
from recurrent_jax.initializers import glorot_uniform, orthogonal, per_gate, zeros


class ConvLSTMParams(NamedTuple):
    """Parameters of `ConvLSTM`, with gates in the order i, f, g, o."""

    kernel: jax.Array  # (*window, in, 4F)
    recurrent_kernel: jax.Array  # (*window, F, 4F)
    bias: jax.Array | None  # (4F,)
    peephole: jax.Array | None  # (3, *spatial, F), in the order i, f, o


@dataclasses.dataclass(frozen=True)
class ConvLSTM(Cell[ConvLSTMParams, HiddenCellCarry]):
    r"""The convolutional LSTM, for lines, images or volumes.

    $$
    \begin{aligned}
    i_t &= \sigma(W_i * x_t + U_i * h_{t-1} + p_i \odot c_{t-1} + b_i) \\
    f_t &= \sigma(W_f * x_t + U_f * h_{t-1} + p_f \odot c_{t-1} + b_f) \\
    g_t &= \phi(W_g * x_t + U_g * h_{t-1} + b_g) \\
    c_t &= f_t \odot c_{t-1} + i_t \odot g_t \\
    o_t &= \sigma(W_o * x_t + U_o * h_{t-1} + p_o \odot c_t + b_o) \\
    h_t &= o_t \odot \psi(c_t), \qquad y_t = h_t
    \end{aligned}
    $$

    Inputs are `(*batch, *spatial, channels)`: channels come last, and there are as many
    spatial axes as `spatial_shape` has entries. The convolution of the state has
    strides of 1 and keeps its size, whatever the strides and the padding of the input.
    Peepholes are those of the paper, with one weight for each position and feature.
    Keras and Flax have none. Flax adds the forget bias at each step. Here it is part of
    the stored bias.

    Args:
        features: F, the number of output channels.
        spatial_shape: the spatial shape of the input, such as `(16, 16)`.
        kernel_shape: the shape of both windows. One number applies to all axes.
        strides: the strides of the convolution of the input.
        padding: `"SAME"` or `"VALID"`, for the convolution of the input.
        activation: $\phi$, for the candidate.
        output_activation: $\psi$, for the cell state.
        gate_activation: $\sigma$, for the three gates.
        forget_bias: a constant that `init` adds to the bias of the forget gate.
        use_bias: whether to add a bias. Without one, `forget_bias` has no effect.
        use_peephole: whether the gates read the cell state.
        kernel_init: initialiser of each W.
        recurrent_kernel_init: initialiser of each U.
        bias_init: initialiser of each b.
        peephole_init: initialiser of p.

    Raises:
        TypeError, ValueError: if a field has the wrong type, if a size is not positive,
            or if shapes do not fit together.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> cell = rj.ConvLSTM(features=8, spatial_shape=(16, 16))
        >>> params = cell.init(jax.random.key(0), in_features=3)
        >>> carry, ys = rj.unroll(cell, params, jnp.ones((7, 5, 16, 16, 3)))
        >>> ys.shape
        (7, 5, 16, 16, 8)

    References:
        Shi et al., 2015. Convolutional LSTM network: a machine learning approach for
        precipitation nowcasting. https://arxiv.org/abs/1506.04214
    """

    features: Size
    spatial_shape: tuple[int, ...]
    kernel_shape: int | tuple[int, ...] = 3
    strides: int | tuple[int, ...] = 1
    padding: Literal["SAME", "VALID"] = "SAME"
    activation: Activation = jnp.tanh
    output_activation: Activation = jnp.tanh
    gate_activation: Activation = jax.nn.sigmoid
    forget_bias: Real = 1.0
    use_bias: bool = True
    use_peephole: bool = True
    kernel_init: PerGate = glorot_uniform
    recurrent_kernel_init: PerGate = orthogonal
    bias_init: PerGate = zeros
    peephole_init: Initializer = zeros

    Params = ConvLSTMParams
    Carry = HiddenCellCarry
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
    ) -> ConvLSTMParams:
        """Return fresh parameters for inputs of `in_features` channels."""
        F, window = self.features, each(self.kernel_shape, self.spatial_shape)
        key_x, key_h, key_b, key_p = jax.random.split(key, 4)
        bias = peephole = None
        if self.use_bias:
            bias = per_gate(self.bias_init, key_b, (F,), 4, dtype)
            bias = bias.at[F : 2 * F].add(self.forget_bias)
        if self.use_peephole:
            state = _convolution.shape_after(self)
            peephole = self.peephole_init(key_p, (3, *state, F), dtype)
        return ConvLSTMParams(
            kernel=per_gate(
                self.kernel_init, key_x, (*window, in_features, F), 4, dtype
            ),
            recurrent_kernel=per_gate(
                self.recurrent_kernel_init, key_h, (*window, F, F), 4, dtype
            ),
            bias=bias,
            peephole=peephole,
        )

    def initial_carry(
        self,
        batch_shape: tuple[int, ...] = (),
        dtype: DTypeLike = float,
        params: Any = None,
    ) -> HiddenCellCarry:
        """Return a state of zeros."""
        _checks.own(self, params)
        state = (*batch_shape, *_convolution.shape_after(self), self.features)
        return HiddenCellCarry(h=jnp.zeros(state, dtype), c=jnp.zeros(state, dtype))

    def out_features(self, in_features: int) -> int:
        """Return the number of output channels."""
        return self.features

    def project(self, params: ConvLSTMParams, x: jax.Array) -> jax.Array:
        """Return $W * x + b$ for the four gates."""
        _convolution.check_input(self, x, params.kernel)
        strides = each(self.strides, self.spatial_shape)
        z = convolve(x, params.kernel, strides, self.padding)
        return z if params.bias is None else z + expand_like(params.bias, z)

    def feedback(self, params: ConvLSTMParams, carry: HiddenCellCarry) -> jax.Array:
        """Return $U * h$ for the four gates."""
        return convolve(carry.h, params.recurrent_kernel)

    def update(
        self, params: ConvLSTMParams, carry: HiddenCellCarry, z: jax.Array, u: jax.Array
    ) -> tuple[HiddenCellCarry, jax.Array]:
        """Return the new state, and its hidden part as the output."""
        i, f, g, o = jnp.split(z + u, 4, axis=-1)
        p_i = p_f = p_o = None
        if params.peephole is not None:
            p_i, p_f, p_o = (expand_like(p, carry.c) for p in params.peephole)
        i = self.gate_activation(i if p_i is None else i + p_i * carry.c)
        f = self.gate_activation(f if p_f is None else f + p_f * carry.c)
        c = f * carry.c + i * self.activation(g)
        o = self.gate_activation(o if p_o is None else o + p_o * c)
        h = o * self.output_activation(c)
        return HiddenCellCarry(h, c), h
