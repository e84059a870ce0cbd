# SPDX-License-Identifier: Apache-2.0
"""The orthogonal RNN whose kernel is a matrix exponential."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from recurrent_jax._core.arrays import affine, expand_like
from recurrent_jax._core.cell import Cell, HiddenCarry
from recurrent_jax._core.skew import exp_skew
from recurrent_jax._core.types import Initializer, Size
from recurrent_jax.initializers import Uniform, glorot_uniform


class ExpRNNParams(NamedTuple):
    """Parameters of `ExpRNN`."""

    kernel: jax.Array  # (in, H)
    skew: jax.Array  # (H (H - 1) / 2,), A above its diagonal, row by row
    offset: jax.Array  # (H,)


class ExpRNNPrepared(NamedTuple):
    """Parameters of `ExpRNN` in the form that its steps use."""

    kernel: jax.Array  # (in, H)
    recurrent_kernel: jax.Array  # (H, H), orthogonal
    offset: jax.Array  # (H,)


def cayley_angles(
    key: jax.Array, shape: tuple[int, ...], dtype: DTypeLike
) -> jax.Array:
    r"""Return angles $-\tan(u / 2)$, with u uniform from 0 to $\pi / 2$."""
    u = jax.random.uniform(key, shape, dtype, 0.0, jnp.pi / 2)
    return -jnp.tan(u / 2)


@dataclasses.dataclass(frozen=True)
class ExpRNN(Cell[ExpRNNParams, HiddenCarry]):
    r"""The expRNN, whose recurrent kernel is orthogonal for all parameters.

    $$
    \begin{aligned}
    U &= \exp(A), \qquad A^\top = -A && \text{orthogonal, of determinant 1} \\
    a_t &= x_t W + h_{t-1} U \\
    h_t &= \operatorname{sign}(a_t) \odot \max(0, |a_t| + b), \qquad y_t = h_t
        && \text{modReLU}
    \end{aligned}
    $$

    The product with U preserves lengths, so it makes a gradient neither grow nor decay.
    The exponential is computed once per sequence, at the cost of a few products of
    $H \times H$ matrices. For half-precision parameters it is computed in float32. Any
    optimiser keeps U orthogonal, since only the entries of A above its diagonal are
    stored. This is the paper's real cell. Unitary, complex kernels are not available.

    Args:
        hidden_size: H, the number of units.
        kernel_init: initialiser of W.
        angle_init: initialiser of the H // 2 angles $\theta$ of the initial U:
            $A_{2k, 2k+1} = \theta_k$, and A is zero elsewhere above its diagonal. The
            default is that of the paper, after Helfrich et al. `Uniform(-pi, pi)` is
            that of Henaff et al.
        offset_init: initialiser of b. Its values are small, so that the cell starts
            almost linear.

    Raises:
        TypeError, ValueError: if a field has the wrong type or is out of range.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> cell = rj.ExpRNN(hidden_size=3)
        >>> params = cell.init(jax.random.key(0), in_features=2)
        >>> carry, ys = rj.unroll(cell, params, jnp.ones((7, 5, 2)))
        >>> ys.shape
        (7, 5, 3)

    References:
        Lezcano-Casado and Martinez-Rubio, 2019. Cheap orthogonal constraints in neural
        networks: a simple parametrization of the orthogonal and unitary group.
        https://arxiv.org/abs/1901.08428
        Helfrich, Willmott and Ye, 2018. Orthogonal recurrent neural networks with
        scaled Cayley transform. https://arxiv.org/abs/1707.09520
        Henaff, Szlam and LeCun, 2016. Recurrent orthogonal networks and long-memory
        tasks. https://arxiv.org/abs/1602.06662
    """

    hidden_size: Size
    kernel_init: Initializer = glorot_uniform
    angle_init: Initializer = cayley_angles
    offset_init: Initializer = Uniform(-0.01, 0.01)

    Params = ExpRNNParams
    Carry = HiddenCarry
    output = "h"

    def init(
        self, key: jax.Array, in_features: int, dtype: DTypeLike = float
    ) -> ExpRNNParams:
        """Return fresh parameters for inputs of `in_features` features."""
        H = self.hidden_size
        key_x, key_h, key_b = jax.random.split(key, 3)
        angles = self.angle_init(key_h, (H // 2,), dtype)
        even = 2 * jnp.arange(H // 2)
        A = jnp.zeros((H, H), dtype).at[even, even + 1].set(angles)
        return ExpRNNParams(
            kernel=self.kernel_init(key_x, (in_features, H), dtype),
            skew=A[jnp.triu_indices(H, 1)],
            offset=self.offset_init(key_b, (H,), dtype),
        )

    def prepare(self, params: ExpRNNParams) -> ExpRNNPrepared:
        r"""Return params with $U = \exp(A)$ in place of A."""
        H, dtype = self.hidden_size, params.skew.dtype
        wide = jnp.float32 if jnp.finfo(dtype).bits < 32 else dtype
        above = jnp.zeros((H, H), wide)
        above = above.at[jnp.triu_indices(H, 1)].set(params.skew.astype(wide))
        U = exp_skew(above - above.T).astype(dtype)
        return ExpRNNPrepared(params.kernel, U, params.offset)

    def project(self, params: ExpRNNPrepared, x: jax.Array) -> jax.Array:
        """Return $x W$."""
        return affine(x, params.kernel)

    def feedback(self, params: ExpRNNPrepared, carry: HiddenCarry) -> jax.Array:
        """Return $h U$."""
        return affine(carry.h, params.recurrent_kernel)

    def update(
        self, params: ExpRNNPrepared, carry: HiddenCarry, z: jax.Array, u: jax.Array
    ) -> tuple[HiddenCarry, jax.Array]:
        """Return the new hidden state, which is also the output."""
        a = z + u
        h = jnp.sign(a) * jax.nn.relu(jnp.abs(a) + expand_like(params.offset, a))
        return HiddenCarry(h), h
