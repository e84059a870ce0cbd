# SPDX-License-Identifier: Apache-2.0
"""FastGRNN: a gated RNN with one pair of kernels."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from recurrent_jax._core.arrays import affine, expand_like
from recurrent_jax._core.cell import Cell, HiddenCarry
from recurrent_jax._core.types import Activation, Initializer, PerGate, Real, Size
from recurrent_jax.initializers import glorot_uniform, orthogonal, per_gate, zeros


class FastGRNNParams(NamedTuple):
    """Parameters of `FastGRNN`, with zeta and nu as logits."""

    kernel: jax.Array  # (in, H), shared by gate and candidate
    recurrent_kernel: jax.Array  # (H, H), shared by both
    bias: jax.Array | None  # (2H,), in the order z, n
    zeta_logit: jax.Array  # ()
    nu_logit: jax.Array  # ()


class FastGRNNPrepared(NamedTuple):
    """Parameters of `FastGRNN` in the form that its steps use."""

    kernel: jax.Array  # (in, H)
    recurrent_kernel: jax.Array  # (H, H)
    bias: jax.Array | None  # (2H,)
    zeta: jax.Array  # ()
    nu: jax.Array  # ()


@dataclasses.dataclass(frozen=True)
class FastGRNN(Cell[FastGRNNParams, HiddenCarry]):
    r"""FastGRNN: gate and candidate share their kernels, and differ only in the bias.

    $$
    \begin{aligned}
    a_t &= x_t W + h_{t-1} U \\
    z_t &= \sigma(a_t + b_z) && \text{gate} \\
    n_t &= \phi(a_t + b_n) && \text{candidate} \\
    h_t &= (\zeta (1 - z_t) + \nu) \odot n_t + z_t \odot h_{t-1}, \qquad y_t = h_t
    \end{aligned}
    $$

    This is a gated cell with the parameters of `Elman`, a second bias and two numbers.
    $\zeta$ and $\nu$ are sigmoids of the stored numbers, as in the authors' code. The
    paper also uses low-rank, sparse and quantised kernels, which are not part of this
    cell.

    Args:
        hidden_size: H, the number of units.
        activation: $\phi$, for the candidate.
        gate_activation: $\sigma$, for the gate.
        use_bias: whether to add biases. Without them, gate and candidate are two
            activations of the same number.
        zeta_logit: the initial value of $\zeta$ before the sigmoid.
        nu_logit: the initial value of $\nu$ before the sigmoid.
        kernel_init: initialiser of W.
        recurrent_kernel_init: initialiser of U.
        bias_init: initialiser of each b. The authors' code uses ones.

    Raises:
        TypeError, ValueError: if a field has the wrong type or is out of range.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> cell = rj.FastGRNN(hidden_size=3)
        >>> params = cell.init(jax.random.key(0), in_features=2)
        >>> carry, ys = rj.unroll(cell, params, jnp.ones((7, 5, 2)))
        >>> ys.shape
        (7, 5, 3)

    References:
        Kusupati et al., 2018. FastGRNN: a fast, accurate, stable and tiny kilobyte
        sized gated recurrent neural network. https://arxiv.org/abs/1901.02358
    """

    hidden_size: Size
    activation: Activation = jnp.tanh
    gate_activation: Activation = jax.nn.sigmoid
    use_bias: bool = True
    zeta_logit: Real = 1.0
    nu_logit: Real = -4.0
    kernel_init: Initializer = glorot_uniform
    recurrent_kernel_init: Initializer = orthogonal
    bias_init: PerGate = zeros

    Params = FastGRNNParams
    Carry = HiddenCarry
    output = "h"

    def init(
        self, key: jax.Array, in_features: int, dtype: DTypeLike = float
    ) -> FastGRNNParams:
        """Return fresh parameters for inputs of `in_features` features."""
        H = self.hidden_size
        key_x, key_h, key_b = jax.random.split(key, 3)
        bias = None
        if self.use_bias:
            bias = per_gate(self.bias_init, key_b, (H,), 2, dtype)
        return FastGRNNParams(
            kernel=self.kernel_init(key_x, (in_features, H), dtype),
            recurrent_kernel=self.recurrent_kernel_init(key_h, (H, H), dtype),
            bias=bias,
            zeta_logit=jnp.full((), self.zeta_logit, dtype),
            nu_logit=jnp.full((), self.nu_logit, dtype),
        )

    def prepare(self, params: FastGRNNParams) -> FastGRNNPrepared:
        """Return the parameters with zeta and nu after the sigmoid."""
        W, U, b, zeta, nu = params
        return FastGRNNPrepared(W, U, b, jax.nn.sigmoid(zeta), jax.nn.sigmoid(nu))

    def project(self, params: FastGRNNPrepared, x: jax.Array) -> jax.Array:
        """Return $x W + b$ for z and n."""
        a = affine(x, params.kernel)
        z = jnp.concatenate([a, a], axis=-1)
        return z if params.bias is None else z + expand_like(params.bias, z)

    def feedback(self, params: FastGRNNPrepared, carry: HiddenCarry) -> jax.Array:
        """Return $h U$, which z and n share."""
        return affine(carry.h, params.recurrent_kernel)

    def update(
        self, params: FastGRNNPrepared, carry: HiddenCarry, z: jax.Array, u: jax.Array
    ) -> tuple[HiddenCarry, jax.Array]:
        """Return the new hidden state, which is also the output."""
        z, n = jnp.split(z, 2, axis=-1)
        z = self.gate_activation(z + u)
        n = self.activation(n + u)
        h = (params.zeta * (1 - z) + params.nu) * n + z * carry.h
        return HiddenCarry(h), h
