# SPDX-License-Identifier: Apache-2.0
"""Activations that `jax.nn` lacks, or has only with extra arguments.

A cell compares, hashes, prints and pickles by the values of its fields. The activations
here and a `functools.partial` do so too. A lambda does not compare by value, so `jit`
compiles anew for each one. Softsign and softplus are `jax.nn.soft_sign` and
`jax.nn.softplus`.

References:
    ONNX. Operators: RNN, GRU, LSTM (the functions and their alpha and beta).
    https://onnx.ai/onnx/operators/onnx__LSTM.html
"""

import dataclasses
from typing import Annotated

import jax
import jax.numpy as jnp

from recurrent_jax._checks import checked
from recurrent_jax._checks.kinds import Number
from recurrent_jax._core.types import Activation, Floats, Real
from recurrent_jax._core.value import Value

__all__ = [
    "Affine",
    "Clipped",
    "Elu",
    "HardSigmoid",
    "LeakyRelu",
    "ScaledTanh",
    "ThresholdedRelu",
]


@dataclasses.dataclass(frozen=True, repr=False)
class Affine(Value):
    r"""An affine function, $\alpha x + \beta$.

    Example:
        >>> import recurrent_jax as rj
        >>> rj.activations.Affine(2.0, 1.0)(3.0)
        7.0
    """

    alpha: Real
    beta: Real

    @checked
    def __call__(self, x: Floats) -> jax.Array:
        """Apply the activation elementwise."""
        return self.alpha * x + self.beta


@dataclasses.dataclass(frozen=True, repr=False)
class ScaledTanh(Value):
    r"""A scaled tanh, $\alpha \tanh(\beta x)$. LeCun's values are 1.7159 and 2/3.

    Example:
        >>> import jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> print(rj.activations.ScaledTanh(1.7159, 2 / 3)(jnp.array([1.0])).round(3))
        [1.]
    """

    alpha: Real
    beta: Real

    @checked
    def __call__(self, x: Floats) -> jax.Array:
        """Apply the activation elementwise."""
        return self.alpha * jnp.tanh(self.beta * x)


@dataclasses.dataclass(frozen=True, repr=False)
class HardSigmoid(Value):
    r"""A piecewise linear sigmoid, $\min(\max(\alpha x + \beta, 0), 1)$.

    The defaults are those of ONNX and of older versions of Keras.
    `jax.nn.hard_sigmoid`, PyTorch and newer versions of Keras use $\alpha = 1/6$.

    Example:
        >>> import jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> print(rj.activations.HardSigmoid()(jnp.array([-9.0, 0.0, 9.0])))
        [0.  0.5 1. ]
    """

    alpha: Real = 0.2
    beta: Real = 0.5

    @checked
    def __call__(self, x: Floats) -> jax.Array:
        """Apply the activation elementwise."""
        return jnp.clip(self.alpha * x + self.beta, 0, 1)


@dataclasses.dataclass(frozen=True, repr=False)
class LeakyRelu(Value):
    r"""The leaky ReLU, $x$ if $x \ge 0$, else $\alpha x$.

    Example:
        >>> import jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> print(rj.activations.LeakyRelu(0.5)(jnp.array([-2.0, 2.0])))
        [-1.  2.]
    """

    alpha: Real = 0.01

    @checked
    def __call__(self, x: Floats) -> jax.Array:
        """Apply the activation elementwise."""
        return jax.nn.leaky_relu(x, self.alpha)


@dataclasses.dataclass(frozen=True, repr=False)
class ThresholdedRelu(Value):
    r"""The thresholded ReLU, $x$ if $x \ge \alpha$, else 0.

    Example:
        >>> import jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> print(rj.activations.ThresholdedRelu()(jnp.array([0.5, 1.0, 2.0])))
        [0. 1. 2.]
    """

    alpha: Real = 1.0

    @checked
    def __call__(self, x: Floats) -> jax.Array:
        """Apply the activation elementwise."""
        return jnp.where(x >= self.alpha, x, jnp.zeros_like(x))


@dataclasses.dataclass(frozen=True, repr=False)
class Elu(Value):
    r"""The exponential linear unit, $x$ if $x > 0$, else $\alpha (e^x - 1)$.

    Example:
        >>> import jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> print(rj.activations.Elu(2.0)(jnp.array([-100.0, 1.0])))
        [-2.  1.]
    """

    alpha: Real = 1.0

    @checked
    def __call__(self, x: Floats) -> jax.Array:
        """Apply the activation elementwise."""
        return jax.nn.elu(x, self.alpha)


@dataclasses.dataclass(frozen=True, repr=False)
class Clipped(Value):
    r"""An activation whose argument is clipped, $\phi(\min(\max(x, -b), b))$.

    The attribute `clip` of an ONNX node does this to each gate. Clipped numbers pass no
    gradient.

    Args:
        activation: $\phi$.
        bound: $b$, positive and finite.

    Raises:
        ValueError: if the bound is not positive and finite.

    Example:
        >>> import jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> cell = rj.Elman(4, activation=rj.activations.Clipped(jnp.tanh, 3.0))
        >>> cell
        Elman(hidden_size=4,
              activation=recurrent_jax.activations.Clipped(jax.numpy.tanh, 3.0))
    """

    activation: Activation
    bound: Annotated[
        float, Number(above=0, hint="without a bound, pass the activation itself")
    ]

    @checked
    def __call__(self, x: Floats) -> jax.Array:
        """Apply the activation elementwise."""
        return self.activation(jnp.clip(x, -self.bound, self.bound))
