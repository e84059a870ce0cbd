# SPDX-License-Identifier: Apache-2.0
"""The antisymmetric RNN: a stable differential equation, discretised in steps."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from recurrent_jax._core.arrays import affine
from recurrent_jax._core.cell import Cell, HiddenCarry
from recurrent_jax._core.types import (
    Activation,
    Initializer,
    NonNegative,
    PerGate,
    Positive,
    Size,
)
from recurrent_jax.initializers import lecun_normal, per_gate, zeros


class AntisymmetricRNNParams(NamedTuple):
    """Parameters of `AntisymmetricRNN`, with blocks in the order n, z."""

    kernel: jax.Array  # (in, H), gated (in, 2H)
    recurrent_kernel: jax.Array  # (H, H), U
    bias: jax.Array | None  # (H,), gated (2H,)


class AntisymmetricRNNPrepared(NamedTuple):
    """Parameters of `AntisymmetricRNN` in the form that its steps use."""

    kernel: jax.Array  # (in, H), gated (in, 2H)
    antisymmetric_kernel: jax.Array  # (H, H), U - U^T - gamma I
    bias: jax.Array | None  # (H,), gated (2H,)


@dataclasses.dataclass(frozen=True)
class AntisymmetricRNN(Cell[AntisymmetricRNNParams, HiddenCarry]):
    r"""The antisymmetric RNN: steps of a system that neither grows nor decays.

    $$
    \begin{aligned}
    u_t &= h_{t-1} (U - U^\top - \gamma I) \\
    n_t &= \phi(x_t W_n + u_t + b_n) && \text{change} \\
    z_t &= \sigma(x_t W_z + u_t + b_z) && \text{gate, if gated; else 1} \\
    h_t &= h_{t-1} + \epsilon\, z_t \odot n_t, \qquad y_t = h_t
    \end{aligned}
    $$

    The eigenvalues of an antisymmetric matrix are imaginary, so the system rotates
    states without changing their length. The diffusion $\gamma$ compensates for the
    growth that the Euler step adds. Gate and change share one product. U is stored as a
    full matrix, as in the equation, although only the H (H - 1) / 2 numbers of
    $U - U^\top$ have an effect.

    Args:
        hidden_size: H, the number of units.
        gated: whether to use the gate z, which has no recurrent kernel of its own.
        step_size: $\epsilon$, above 0. The paper tunes it and $\gamma$ for each task.
        diffusion: $\gamma$, the strength of the diffusion.
        activation: $\phi$, for the change.
        gate_activation: $\sigma$, for the gate.
        use_bias: whether to add biases.
        kernel_init: initialiser of each W.
        recurrent_kernel_init: initialiser of U.
        bias_init: initialiser of each b.

    Raises:
        TypeError, ValueError: if a field has the wrong type or is out of range.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> cell = rj.AntisymmetricRNN(hidden_size=3)
        >>> params = cell.init(jax.random.key(0), in_features=2)
        >>> carry, ys = rj.unroll(cell, params, jnp.ones((7, 5, 2)))
        >>> ys.shape
        (7, 5, 3)

    References:
        Chang, Chen, Haber and Chi, 2019. AntisymmetricRNN: a dynamical system view on
        recurrent neural networks. https://arxiv.org/abs/1902.09689
    """

    hidden_size: Size
    gated: bool = False
    step_size: Positive = 0.01
    diffusion: NonNegative = 0.01
    activation: Activation = jnp.tanh
    gate_activation: Activation = jax.nn.sigmoid
    use_bias: bool = True
    kernel_init: PerGate = lecun_normal
    recurrent_kernel_init: Initializer = lecun_normal
    bias_init: PerGate = zeros

    Params = AntisymmetricRNNParams
    Carry = HiddenCarry
    output = "h"

    def init(
        self, key: jax.Array, in_features: int, dtype: DTypeLike = float
    ) -> AntisymmetricRNNParams:
        """Return fresh parameters for inputs of `in_features` features."""
        H, gates = self.hidden_size, 2 if self.gated else 1
        key_x, key_h, key_b = jax.random.split(key, 3)
        bias = None
        if self.use_bias:
            bias = per_gate(self.bias_init, key_b, (H,), gates, dtype)
        return AntisymmetricRNNParams(
            kernel=per_gate(self.kernel_init, key_x, (in_features, H), gates, dtype),
            recurrent_kernel=self.recurrent_kernel_init(key_h, (H, H), dtype),
            bias=bias,
        )

    def prepare(self, params: AntisymmetricRNNParams) -> AntisymmetricRNNPrepared:
        r"""Return params with $U - U^\top - \gamma I$ in place of U."""
        U = params.recurrent_kernel
        diffusion = self.diffusion * jnp.eye(self.hidden_size, dtype=U.dtype)
        kernel = U - U.T - diffusion
        return AntisymmetricRNNPrepared(params.kernel, kernel, params.bias)

    def project(self, params: AntisymmetricRNNPrepared, x: jax.Array) -> jax.Array:
        """Return $x W + b$, for n and, if gated, z."""
        return affine(x, params.kernel, params.bias)

    def feedback(
        self, params: AntisymmetricRNNPrepared, carry: HiddenCarry
    ) -> jax.Array:
        r"""Return $h (U - U^\top - \gamma I)$."""
        return affine(carry.h, params.antisymmetric_kernel)

    def update(
        self,
        params: AntisymmetricRNNPrepared,
        carry: HiddenCarry,
        z: jax.Array,
        u: jax.Array,
    ) -> tuple[HiddenCarry, jax.Array]:
        """Return the new hidden state, which is also the output."""
        H = self.hidden_size
        n = self.activation(z[..., :H] + u)
        if self.gated:
            n = self.gate_activation(z[..., H:] + u) * n
        h = carry.h + self.step_size * n
        return HiddenCarry(h), h
