# SPDX-License-Identifier: Apache-2.0
"""The coupled oscillatory RNN: a second-order equation, discretised in steps."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from recurrent_jax._core.arrays import affine
from recurrent_jax._core.cell import Cell
from recurrent_jax._core.types import (
    Activation,
    Initializer,
    NonNegative,
    Positive,
    Size,
)
from recurrent_jax.initializers import glorot_uniform, orthogonal, zeros


class CoRNNParams(NamedTuple):
    """Parameters of `CoRNN`."""

    kernel: jax.Array  # (in, H)
    recurrent_kernel: jax.Array  # (H, H), of the position
    velocity_kernel: jax.Array  # (H, H)
    bias: jax.Array | None  # (H,)


class CoRNNCarry(NamedTuple):
    """State of `CoRNN`: positions, which are the output, and velocities."""

    h: jax.Array  # (*batch, H)
    v: jax.Array  # (*batch, H)


@dataclasses.dataclass(frozen=True)
class CoRNN(Cell[CoRNNParams, CoRNNCarry]):
    r"""The coRNN: driven, damped oscillators coupled by the recurrent kernels.

    $$
    \begin{aligned}
    v_t &= v_{t-1} + \Delta t\, (\phi(x_t W + h_{t-1} U + v_{t-1} V + b)
        - \gamma h_{t-1} - \epsilon v_{t-1}) && \text{velocity} \\
    h_t &= h_{t-1} + \Delta t\, v_t, \qquad y_t = h_t && \text{position}
    \end{aligned}
    $$

    The paper proves bounds on states and gradients. It writes $y$ for $h$ and $z$ for
    $v$. Damping is explicit, with $v_{t-1}$, as in the authors' code. The paper also
    has an implicit form.

    Args:
        hidden_size: H, the number of oscillators.
        step_size: $\Delta t$, above 0. The defaults of `step_size`, `stiffness` and
            `damping` are the paper's values for sequential MNIST. The paper tunes them
            for each task.
        stiffness: $\gamma$, which sets the frequency.
        damping: $\epsilon$, the damping constant.
        activation: $\phi$.
        use_bias: whether to add a bias.
        kernel_init: initialiser of W.
        recurrent_kernel_init: initialiser of U and V.
        bias_init: initialiser of b.

    Raises:
        TypeError, ValueError: if a field has the wrong type or is out of range.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> cell = rj.CoRNN(hidden_size=3)
        >>> params = cell.init(jax.random.key(0), in_features=2)
        >>> carry, ys = rj.unroll(cell, params, jnp.ones((7, 5, 2)))
        >>> ys.shape
        (7, 5, 3)

    References:
        Rusch and Mishra, 2021. Coupled oscillatory recurrent neural network (coRNN): an
        accurate and (gradient) stable architecture for learning long time dependencies.
        https://arxiv.org/abs/2010.00951
    """

    hidden_size: Size
    step_size: Positive = 0.042
    stiffness: NonNegative = 2.7
    damping: NonNegative = 4.7
    activation: Activation = jnp.tanh
    use_bias: bool = True
    kernel_init: Initializer = glorot_uniform
    recurrent_kernel_init: Initializer = orthogonal
    bias_init: Initializer = zeros

    Params = CoRNNParams
    Carry = CoRNNCarry
    output = "h"

    def init(
        self, key: jax.Array, in_features: int, dtype: DTypeLike = float
    ) -> CoRNNParams:
        """Return fresh parameters for inputs of `in_features` features."""
        H = self.hidden_size
        key_x, key_h, key_v, key_b = jax.random.split(key, 4)
        return CoRNNParams(
            kernel=self.kernel_init(key_x, (in_features, H), dtype),
            recurrent_kernel=self.recurrent_kernel_init(key_h, (H, H), dtype),
            velocity_kernel=self.recurrent_kernel_init(key_v, (H, H), dtype),
            bias=self.bias_init(key_b, (H,), dtype) if self.use_bias else None,
        )

    def project(self, params: CoRNNParams, x: jax.Array) -> jax.Array:
        """Return $x W + b$."""
        return affine(x, params.kernel, params.bias)

    def feedback(self, params: CoRNNParams, carry: CoRNNCarry) -> jax.Array:
        """Return $h U + v V$."""
        h = affine(carry.h, params.recurrent_kernel)
        return h + affine(carry.v, params.velocity_kernel)

    def update(
        self, params: CoRNNParams, carry: CoRNNCarry, z: jax.Array, u: jax.Array
    ) -> tuple[CoRNNCarry, jax.Array]:
        """Return the new state, and the position as the output."""
        h, v = carry
        force = self.activation(z + u) - self.stiffness * h - self.damping * v
        v = v + self.step_size * force
        h = h + self.step_size * v
        return CoRNNCarry(h, v), h
