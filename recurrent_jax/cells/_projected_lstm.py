# SPDX-License-Identifier: Apache-2.0
"""The LSTM whose hidden state is projected to a smaller size."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from recurrent_jax import _checks
from recurrent_jax._core.arrays import affine
from recurrent_jax._core.cell import Cell, HiddenCellCarry
from recurrent_jax._core.types import (
    Activation,
    Bound,
    Initializer,
    PerGate,
    Real,
    Size,
)
from recurrent_jax.initializers import glorot_uniform, orthogonal, per_gate, zeros


class ProjectedLSTMParams(NamedTuple):
    """Parameters of `ProjectedLSTM`, with gates in the order i, f, g, o."""

    kernel: jax.Array  # (in, 4H)
    recurrent_kernel: jax.Array  # (P, 4H)
    bias: jax.Array | None  # (4H,)
    projection_kernel: jax.Array  # (H, P)


@dataclasses.dataclass(frozen=True)
class ProjectedLSTM(Cell[ProjectedLSTMParams, HiddenCellCarry]):
    r"""An LSTM whose hidden state is a linear projection of its cells (LSTMP).

    $$
    \begin{aligned}
    i_t, f_t, o_t &= \sigma(x_t W_{i,f,o} + h_{t-1} U_{i,f,o} + b_{i,f,o}) \\
    g_t &= \phi(x_t W_g + h_{t-1} U_g + b_g) \\
    c_t &= f_t \odot c_{t-1} + i_t \odot g_t \\
    h_t &= (o_t \odot \psi(c_t)) P, \qquad y_t = h_t
    \end{aligned}
    $$

    This is PyTorch's LSTM with `proj_size`. The paper also has peepholes, and
    optionally a second projection that is part of the output but does not recur.

    Args:
        hidden_size: H, the number of cells.
        projection_size: P, the size of the hidden state and the output. If None, it is
            a quarter of H, and at least 1.
        cell_clip: if given, $c_t$ is clipped to `[-cell_clip, cell_clip]`. Clipped
            numbers pass no gradient.
        projection_clip: the same as `cell_clip`, for $h_t$.
        activation: $\phi$, for the candidate.
        output_activation: $\psi$, for the cell state.
        gate_activation: $\sigma$, for the three gates.
        forget_bias: a constant that `init` adds to the bias of the forget gate.
        use_bias: whether to add a bias. Without one, `forget_bias` has no effect.
        kernel_init: initialiser of each W.
        recurrent_kernel_init: initialiser of each U.
        bias_init: initialiser of each b.
        projection_kernel_init: initialiser of P.

    Raises:
        TypeError, ValueError: if a field has the wrong type or is out of range.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> cell = rj.ProjectedLSTM(hidden_size=8, projection_size=3)
        >>> params = cell.init(jax.random.key(0), in_features=2)
        >>> carry, ys = rj.unroll(cell, params, jnp.ones((7, 5, 2)))
        >>> ys.shape, carry.c.shape
        ((7, 5, 3), (5, 8))

    References:
        Sak, Senior and Beaufays, 2014. Long short-term memory based recurrent neural
        network architectures for large vocabulary speech recognition.
        https://arxiv.org/abs/1402.1128
    """

    hidden_size: Size
    projection_size: Size | None = None
    cell_clip: Bound = None
    projection_clip: Bound = None
    activation: Activation = jnp.tanh
    output_activation: Activation = jnp.tanh
    gate_activation: Activation = jax.nn.sigmoid
    forget_bias: Real = 1.0
    use_bias: bool = True
    kernel_init: PerGate = glorot_uniform
    recurrent_kernel_init: PerGate = orthogonal
    bias_init: PerGate = zeros
    projection_kernel_init: Initializer = glorot_uniform

    Params = ProjectedLSTMParams
    Carry = HiddenCellCarry
    output = "h"

    @property
    def output_size(self) -> int:
        """P, the number of outputs."""
        default = max(1, self.hidden_size // 4)
        return default if self.projection_size is None else self.projection_size

    def init(
        self, key: jax.Array, in_features: int, dtype: DTypeLike = float
    ) -> ProjectedLSTMParams:
        """Return fresh parameters for inputs of `in_features` features."""
        H, P = self.hidden_size, self.output_size
        key_x, key_h, key_b, key_p = jax.random.split(key, 4)
        bias = None
        if self.use_bias:
            bias = per_gate(self.bias_init, key_b, (H,), 4, dtype)
            bias = bias.at[H : 2 * H].add(self.forget_bias)
        return ProjectedLSTMParams(
            kernel=per_gate(self.kernel_init, key_x, (in_features, H), 4, dtype),
            recurrent_kernel=per_gate(
                self.recurrent_kernel_init, key_h, (P, H), 4, dtype
            ),
            bias=bias,
            projection_kernel=self.projection_kernel_init(key_p, (H, P), dtype),
        )

    def initial_carry(
        self,
        batch_shape: tuple[int, ...] = (),
        dtype: DTypeLike = float,
        params: Any = None,
    ) -> HiddenCellCarry:
        """Return a state of zeros."""
        _checks.own(self, params)
        return HiddenCellCarry(
            h=jnp.zeros((*batch_shape, self.output_size), dtype),
            c=jnp.zeros((*batch_shape, self.hidden_size), dtype),
        )

    def project(self, params: ProjectedLSTMParams, x: jax.Array) -> jax.Array:
        """Return $x W + b$ for the four gates."""
        return affine(x, params.kernel, params.bias)

    def feedback(
        self, params: ProjectedLSTMParams, carry: HiddenCellCarry
    ) -> jax.Array:
        """Return $h U$ for the four gates."""
        return affine(carry.h, params.recurrent_kernel)

    def update(
        self,
        params: ProjectedLSTMParams,
        carry: HiddenCellCarry,
        z: jax.Array,
        u: jax.Array,
    ) -> tuple[HiddenCellCarry, jax.Array]:
        """Return the new state, and its hidden part as the output."""
        i, f, g, o = jnp.split(z + u, 4, axis=-1)
        i = self.gate_activation(i)
        f = self.gate_activation(f)
        o = self.gate_activation(o)
        c = _clip(f * carry.c + i * self.activation(g), self.cell_clip)
        h = affine(o * self.output_activation(c), params.projection_kernel)
        h = _clip(h, self.projection_clip)
        return HiddenCellCarry(h, c), h


def _clip(x: jax.Array, bound: float | None) -> jax.Array:
    """Return `x` clipped to `[-bound, bound]`, or `x` if `bound` is None."""
    return x if bound is None else jnp.clip(x, -bound, bound)
