# SPDX-License-Identifier: Apache-2.0
"""The continuous-time RNN of neuroscience, discretised in steps."""

import dataclasses
from typing import NamedTuple

import jax
from jax.typing import DTypeLike

from recurrent_jax._core.arrays import affine
from recurrent_jax._core.cell import Cell
from recurrent_jax._core.types import Activation, Initializer, Share, Size
from recurrent_jax.initializers import glorot_uniform, orthogonal, zeros


class CTRNNParams(NamedTuple):
    """Parameters of `CTRNN`."""

    kernel: jax.Array  # (in, H)
    recurrent_kernel: jax.Array  # (H, H)
    bias: jax.Array | None  # (H,)


class CTRNNCarry(NamedTuple):
    """State of `CTRNN`: the potential, whose activation is the firing rate."""

    v: jax.Array  # (*batch, H)


@dataclasses.dataclass(frozen=True)
class CTRNN(Cell[CTRNNParams, CTRNNCarry]):
    r"""The continuous-time RNN: potentials leak, and the outputs are firing rates.

    $$
    \begin{aligned}
    v_t &= (1 - \alpha) v_{t-1} + \alpha (x_t W + \phi(v_{t-1}) U + b)
        && \text{potential} \\
    y_t &= \phi(v_t) && \text{rate}
    \end{aligned}
    $$

    A step is one Euler step of length $\Delta t$ of the equation
    $\tau \dot v = -v + x W + \phi(v) U + b$, with $\alpha = \Delta t / \tau$.
    `LeakyElman` applies the activation to the whole sum instead. Noise in the potential
    is not included. Add it to `x`, before W, or write a cell that samples it.

    Args:
        hidden_size: H, the number of units.
        leak: $\alpha$, above 0 and at most 1. A step of 20 ms with a time constant of
            100 ms has 0.2.
        activation: $\phi$, from potential to rate. Song et al. use ReLU, and Funahashi
            and Nakamura use a sigmoid.
        use_bias: whether to add a bias.
        kernel_init: initialiser of W.
        recurrent_kernel_init: initialiser of U.
        bias_init: initialiser of b.

    Raises:
        TypeError, ValueError: if a field has the wrong type or is out of range.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> cell = rj.CTRNN(hidden_size=3)
        >>> params = cell.init(jax.random.key(0), in_features=2)
        >>> carry, ys = rj.unroll(cell, params, jnp.ones((7, 5, 2)))
        >>> ys.shape
        (7, 5, 3)

    References:
        Funahashi and Nakamura, 1993. Approximation of dynamical systems by continuous
        time recurrent neural networks. https://doi.org/10.1016/S0893-6080(05)80125-X
        Song, Yang and Wang, 2016. Training excitatory-inhibitory recurrent neural
        networks for cognitive tasks. https://doi.org/10.1371/journal.pcbi.1004792
    """

    hidden_size: Size
    leak: Share = 0.2
    activation: Activation = jax.nn.relu
    use_bias: bool = True
    kernel_init: Initializer = glorot_uniform
    recurrent_kernel_init: Initializer = orthogonal
    bias_init: Initializer = zeros

    Params = CTRNNParams
    Carry = CTRNNCarry

    def init(
        self, key: jax.Array, in_features: int, dtype: DTypeLike = float
    ) -> CTRNNParams:
        """Return fresh parameters for inputs of `in_features` features."""
        H = self.hidden_size
        key_x, key_h, key_b = jax.random.split(key, 3)
        return CTRNNParams(
            kernel=self.kernel_init(key_x, (in_features, H), dtype),
            recurrent_kernel=self.recurrent_kernel_init(key_h, (H, H), dtype),
            bias=self.bias_init(key_b, (H,), dtype) if self.use_bias else None,
        )

    def read(self, carry: CTRNNCarry, y: jax.Array) -> jax.Array:
        """Return the firing rates of the potentials."""
        return self.activation(carry.v)

    def project(self, params: CTRNNParams, x: jax.Array) -> jax.Array:
        """Return $x W + b$."""
        return affine(x, params.kernel, params.bias)

    def feedback(self, params: CTRNNParams, carry: CTRNNCarry) -> jax.Array:
        r"""Return $\phi(v) U$."""
        return affine(self.activation(carry.v), params.recurrent_kernel)

    def update(
        self, params: CTRNNParams, carry: CTRNNCarry, z: jax.Array, u: jax.Array
    ) -> tuple[CTRNNCarry, jax.Array]:
        """Return the new potential, and the rate as the output."""
        v = (1 - self.leak) * carry.v + self.leak * (z + u)
        return CTRNNCarry(v), self.activation(v)
