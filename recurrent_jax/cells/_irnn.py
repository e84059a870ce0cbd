# SPDX-License-Identifier: Apache-2.0
"""The Elman network of ReLU units whose recurrent kernel starts as the identity."""

import dataclasses

import jax

from recurrent_jax._core.types import Activation, Initializer
from recurrent_jax.cells._elman import Elman
from recurrent_jax.initializers import Normal, identity


@dataclasses.dataclass(frozen=True)
class IRNN(Elman):
    r"""An Elman network of ReLU units whose recurrent kernel starts as the identity.

    $$ h_t = \max(0, x_t W + h_{t-1} U + b), \qquad y_t = h_t, \qquad U_0 = I $$

    A fresh cell keeps its state, and gradients flow back through time unchanged. The
    equations, the parameters and the carry are those of `Elman`. Only the defaults
    differ.

    Args:
        hidden_size: H, the number of units.
        activation: the activation, ReLU by default.
        use_bias: whether to add a bias.
        kernel_init: initialiser of W. Its deviation is 0.001, as in the paper.
        recurrent_kernel_init: initialiser of U.
        bias_init: initialiser of b.

    Raises:
        TypeError, ValueError: if a field has the wrong type or is out of range.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> cell = rj.IRNN(hidden_size=3)
        >>> params = cell.init(jax.random.key(0), in_features=2)
        >>> carry, ys = rj.unroll(cell, params, jnp.ones((7, 5, 2)))
        >>> ys.shape
        (7, 5, 3)

    References:
        Le, Jaitly and Hinton, 2015. A simple way to initialize recurrent networks of
        rectified linear units. https://arxiv.org/abs/1504.00941
    """

    activation: Activation = jax.nn.relu
    kernel_init: Initializer = Normal(0.001)
    recurrent_kernel_init: Initializer = identity
