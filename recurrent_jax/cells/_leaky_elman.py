# SPDX-License-Identifier: Apache-2.0
"""The Elman network of leaky integrators."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from recurrent_jax._core.arrays import affine
from recurrent_jax._core.cell import Cell, HiddenCarry
from recurrent_jax._core.types import Activation, Initializer, Share, Size
from recurrent_jax.initializers import glorot_uniform, orthogonal, zeros


class LeakyElmanParams(NamedTuple):
    """Parameters of `LeakyElman`."""

    kernel: jax.Array  # (in, H)
    recurrent_kernel: jax.Array  # (H, H)
    bias: jax.Array | None  # (H,)


@dataclasses.dataclass(frozen=True)
class LeakyElman(Cell[LeakyElmanParams, HiddenCarry]):
    r"""An Elman network of leaky integrators, as in echo state networks.

    $$ h_t = (1 - \alpha) h_{t-1} + \alpha \phi(x_t W + h_{t-1} U + b), \qquad
       y_t = h_t $$

    A step is one Euler step of length $\Delta t$ of the equation
    $\tau \dot h = -h + \phi(x W + h U + b)$, with $\alpha = \Delta t / \tau$. `CTRNN`
    applies the activation before the product instead. With $\alpha = 1$ it is `Elman`.

    Args:
        hidden_size: H, the number of units.
        leak: $\alpha$, above 0 and at most 1. Choose it by the time scale of the task:
            the state forgets in about $1 / \alpha$ steps.
        activation: $\phi$.
        use_bias: whether to add a bias.
        kernel_init: initialiser of W.
        recurrent_kernel_init: initialiser of U.
        bias_init: initialiser of b.

    Raises:
        TypeError, ValueError: if a field has the wrong type or is out of range.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> cell = rj.LeakyElman(hidden_size=3)
        >>> params = cell.init(jax.random.key(0), in_features=2)
        >>> carry, ys = rj.unroll(cell, params, jnp.ones((7, 5, 2)))
        >>> ys.shape
        (7, 5, 3)

    References:
        Jaeger, Lukosevicius, Popovici and Siewert, 2007. Optimization and applications
        of echo state networks with leaky-integrator neurons.
        https://doi.org/10.1016/j.neunet.2007.04.016
    """

    hidden_size: Size
    leak: Share = 0.2
    activation: Activation = jnp.tanh
    use_bias: bool = True
    kernel_init: Initializer = glorot_uniform
    recurrent_kernel_init: Initializer = orthogonal
    bias_init: Initializer = zeros

    Params = LeakyElmanParams
    Carry = HiddenCarry
    output = "h"

    def init(
        self, key: jax.Array, in_features: int, dtype: DTypeLike = float
    ) -> LeakyElmanParams:
        """Return fresh parameters for inputs of `in_features` features."""
        H = self.hidden_size
        key_x, key_h, key_b = jax.random.split(key, 3)
        return LeakyElmanParams(
            kernel=self.kernel_init(key_x, (in_features, H), dtype),
            recurrent_kernel=self.recurrent_kernel_init(key_h, (H, H), dtype),
            bias=self.bias_init(key_b, (H,), dtype) if self.use_bias else None,
        )

    def project(self, params: LeakyElmanParams, x: jax.Array) -> jax.Array:
        """Return $x W + b$."""
        return affine(x, params.kernel, params.bias)

    def feedback(self, params: LeakyElmanParams, carry: HiddenCarry) -> jax.Array:
        """Return $h U$."""
        return affine(carry.h, params.recurrent_kernel)

    def update(
        self,
        params: LeakyElmanParams,
        carry: HiddenCarry,
        z: jax.Array,
        u: jax.Array,
    ) -> tuple[HiddenCarry, jax.Array]:
        """Return the new hidden state, which is also the output."""
        h = (1 - self.leak) * carry.h + self.leak * self.activation(z + u)
        return HiddenCarry(h), h
