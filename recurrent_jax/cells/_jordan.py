# SPDX-License-Identifier: Apache-2.0
"""The Jordan network, whose output feeds back."""

import dataclasses
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from recurrent_jax import _checks
from recurrent_jax._checks.kinds import Number
from recurrent_jax._core.arrays import affine
from recurrent_jax._core.cell import Cell
from recurrent_jax._core.types import Activation, Initializer, Size
from recurrent_jax.initializers import glorot_uniform, orthogonal, zeros


class JordanParams(NamedTuple):
    """Parameters of `Jordan`, where Y is the size of the output."""

    kernel: jax.Array  # (in, H)
    recurrent_kernel: jax.Array  # (Y, H)
    bias: jax.Array | None  # (H,)
    output_kernel: jax.Array  # (H, Y)
    output_bias: jax.Array | None  # (Y,)


class JordanCarry(NamedTuple):
    """State of `Jordan`: a decaying sum of its outputs."""

    s: jax.Array  # (*batch, Y)


@dataclasses.dataclass(frozen=True)
class Jordan(Cell[JordanParams, JordanCarry]):
    r"""The network of Jordan, whose state is a decaying sum of its outputs.

    $$
    \begin{aligned}
    h_t &= \phi(x_t W + s_{t-1} U + b) && \text{hidden units} \\
    y_t &= \psi(h_t V + c) && \text{output} \\
    s_t &= \mu s_{t-1} + y_t && \text{state}
    \end{aligned}
    $$

    With $\mu = 0$, as in textbooks, the state is the last output. Jordan's own network
    has a trace that decays by $\mu$, and logistic units.

    Args:
        hidden_size: H, the number of hidden units.
        output_size: Y, the number of outputs. If None, it is H.
        decay: $\mu$, the fraction of the state that is kept at each step.
        activation: $\phi$, for the hidden units.
        output_activation: $\psi$, for the output.
        use_bias: whether to add biases.
        kernel_init: initialiser of W.
        recurrent_kernel_init: initialiser of U.
        output_kernel_init: initialiser of V.
        bias_init: initialiser of b and c.

    Raises:
        TypeError, ValueError: if a field has the wrong type or is out of range.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> cell = rj.Jordan(hidden_size=3)
        >>> params = cell.init(jax.random.key(0), in_features=2)
        >>> carry, ys = rj.unroll(cell, params, jnp.ones((7, 5, 2)))
        >>> ys.shape
        (7, 5, 3)

    References:
        Jordan, 1986. Serial order: a parallel distributed processing approach.
        https://doi.org/10.1016/S0166-4115(97)80111-2 (reprint of 1997)
    """

    hidden_size: Size
    output_size: Size | None = None
    decay: Annotated[float, Number(least=0, below=1)] = 0.0
    activation: Activation = jax.nn.sigmoid
    output_activation: Activation = jax.nn.sigmoid
    use_bias: bool = True
    kernel_init: Initializer = glorot_uniform
    recurrent_kernel_init: Initializer = orthogonal
    output_kernel_init: Initializer = glorot_uniform
    bias_init: Initializer = zeros

    Params = JordanParams
    Carry = JordanCarry
    output = None

    def init(
        self, key: jax.Array, in_features: int, dtype: DTypeLike = float
    ) -> JordanParams:
        """Return fresh parameters for inputs of `in_features` features."""
        H, Y = self.hidden_size, self.output_size or self.hidden_size
        key_x, key_h, key_b, key_y, key_c = jax.random.split(key, 5)
        return JordanParams(
            kernel=self.kernel_init(key_x, (in_features, H), dtype),
            recurrent_kernel=self.recurrent_kernel_init(key_h, (Y, H), dtype),
            bias=self.bias_init(key_b, (H,), dtype) if self.use_bias else None,
            output_kernel=self.output_kernel_init(key_y, (H, Y), dtype),
            output_bias=self.bias_init(key_c, (Y,), dtype) if self.use_bias else None,
        )

    def initial_carry(
        self,
        batch_shape: tuple[int, ...] = (),
        dtype: DTypeLike = float,
        params: Any = None,
    ) -> JordanCarry:
        """Return a state of zeros."""
        _checks.own(self, params)
        Y = self.output_size or self.hidden_size
        return JordanCarry(s=jnp.zeros((*batch_shape, Y), dtype))

    def project(self, params: JordanParams, x: jax.Array) -> jax.Array:
        """Return $x W + b$."""
        return affine(x, params.kernel, params.bias)

    def feedback(self, params: JordanParams, carry: JordanCarry) -> jax.Array:
        """Return $s U$."""
        return affine(carry.s, params.recurrent_kernel)

    def update(
        self, params: JordanParams, carry: JordanCarry, z: jax.Array, u: jax.Array
    ) -> tuple[JordanCarry, jax.Array]:
        """Return the new state, and the output, which needs a second product."""
        h = self.activation(z + u)
        y = self.output_activation(affine(h, params.output_kernel, params.output_bias))
        return JordanCarry(s=self.decay * carry.s + y), y
