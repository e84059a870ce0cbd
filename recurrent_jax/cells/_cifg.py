# SPDX-License-Identifier: Apache-2.0
"""The LSTM with coupled input and forget gates."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from recurrent_jax._core.arrays import affine, expand_like
from recurrent_jax._core.cell import Cell, HiddenCellCarry
from recurrent_jax._core.types import Activation, Initializer, PerGate, Real, Size
from recurrent_jax.initializers import glorot_uniform, orthogonal, per_gate, zeros


class CIFGParams(NamedTuple):
    """Parameters of `CIFG`, with gates in the order i, g, o."""

    kernel: jax.Array  # (in, 3H)
    recurrent_kernel: jax.Array  # (H, 3H)
    bias: jax.Array | None  # (3H,)
    peephole: jax.Array | None  # (2, H), in the order i, o


@dataclasses.dataclass(frozen=True)
class CIFG(Cell[CIFGParams, HiddenCellCarry]):
    r"""An LSTM whose input gate also sets the forget gate, as $1 - i$.

    $$
    \begin{aligned}
    i_t &= \sigma(x_t W_i + h_{t-1} U_i + b_i \; [+\, p_i \odot c_{t-1}]) \\
    g_t &= \phi(x_t W_g + h_{t-1} U_g + b_g) \\
    c_t &= (1 - i_t) \odot c_{t-1} + i_t \odot g_t \\
    o_t &= \sigma(x_t W_o + h_{t-1} U_o + b_o \; [+\, p_o \odot c_t]) \\
    h_t &= o_t \odot \psi(c_t), \qquad y_t = h_t
    \end{aligned}
    $$

    The terms in brackets are present if `peepholes` is True. The paper has them. Here
    they are off by default, as in the textbook LSTM. In ONNX this cell is
    `input_forget = 1`.

    Args:
        hidden_size: H, the number of units.
        peepholes: whether the gates read the cell state.
        activation: $\phi$, for the candidate.
        output_activation: $\psi$, for the cell state.
        gate_activation: $\sigma$, for both gates.
        forget_bias: the forget bias of an LSTM. Since $1 - \sigma(a) = \sigma(-a)$,
            `init` subtracts it from the bias of the input gate.
        use_bias: whether to add a bias. Without one, `forget_bias` has no effect.
        kernel_init: initialiser of each W.
        recurrent_kernel_init: initialiser of each U.
        bias_init: initialiser of each b.
        peephole_init: initialiser of p.

    Raises:
        TypeError, ValueError: if a field has the wrong type or is out of range.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> cell = rj.CIFG(hidden_size=3)
        >>> params = cell.init(jax.random.key(0), in_features=2)
        >>> carry, ys = rj.unroll(cell, params, jnp.ones((7, 5, 2)))
        >>> ys.shape, params.recurrent_kernel.shape
        ((7, 5, 3), (3, 9))

    References:
        Greff et al., 2017. LSTM: a search space odyssey.
        https://doi.org/10.1109/TNNLS.2016.2582924
    """

    hidden_size: Size
    peepholes: bool = False
    activation: Activation = jnp.tanh
    output_activation: Activation = jnp.tanh
    gate_activation: Activation = jax.nn.sigmoid
    forget_bias: Real = 1.0
    use_bias: bool = True
    kernel_init: PerGate = glorot_uniform
    recurrent_kernel_init: PerGate = orthogonal
    bias_init: PerGate = zeros
    peephole_init: Initializer = zeros

    Params = CIFGParams
    Carry = HiddenCellCarry
    output = "h"

    def init(
        self, key: jax.Array, in_features: int, dtype: DTypeLike = float
    ) -> CIFGParams:
        """Return fresh parameters for inputs of `in_features` features."""
        H = self.hidden_size
        key_x, key_h, key_b, key_p = jax.random.split(key, 4)
        bias = None
        if self.use_bias:
            bias = per_gate(self.bias_init, key_b, (H,), 3, dtype)
            bias = bias.at[:H].add(-self.forget_bias)
        return CIFGParams(
            kernel=per_gate(self.kernel_init, key_x, (in_features, H), 3, dtype),
            recurrent_kernel=per_gate(
                self.recurrent_kernel_init, key_h, (H, H), 3, dtype
            ),
            bias=bias,
            peephole=self.peephole_init(key_p, (2, H), dtype)
            if self.peepholes
            else None,
        )

    def project(self, params: CIFGParams, x: jax.Array) -> jax.Array:
        """Return $x W + b$ for i, g and o."""
        return affine(x, params.kernel, params.bias)

    def feedback(self, params: CIFGParams, carry: HiddenCellCarry) -> jax.Array:
        """Return $h U$ for i, g and o."""
        return affine(carry.h, params.recurrent_kernel)

    def update(
        self, params: CIFGParams, carry: HiddenCellCarry, z: jax.Array, u: jax.Array
    ) -> tuple[HiddenCellCarry, jax.Array]:
        """Return the new state, and its hidden part as the output."""
        i, g, o = jnp.split(z + u, 3, axis=-1)
        if params.peephole is not None:
            i = i + expand_like(params.peephole[0], i) * carry.c
        i = self.gate_activation(i)
        c = (1 - i) * carry.c + i * self.activation(g)
        if params.peephole is not None:
            o = o + expand_like(params.peephole[1], o) * c
        h = self.gate_activation(o) * self.output_activation(c)
        return HiddenCellCarry(h, c), h
