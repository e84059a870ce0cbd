# SPDX-License-Identifier: Apache-2.0
"""Kimi delta attention, a gated DeltaNet with a decay for each key channel."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from recurrent_jax._core.arrays import affine, expand_like
from recurrent_jax._core.types import Activation, Flag, Initializer, Size
from recurrent_jax.cells._heads import (
    HeadsCell,
    by_head,
    replace,
    scaled,
    unit,
)
from recurrent_jax.initializers import Uniform, glorot_uniform
from recurrent_jax.scans import MatrixCarry, Query


class KDAParams(NamedTuple):
    """Parameters of `KDA`, with N heads of K key channels, and rank R."""

    query_kernel: jax.Array  # (in, N K)
    key_kernel: jax.Array  # (in, N K)
    value_kernel: jax.Array  # (in, H)
    strength_kernel: jax.Array  # (in, N)
    decay_down: jax.Array  # (in, R)
    decay_up: jax.Array  # (R, N K)
    decay_bias: jax.Array  # (N K,)
    log_rate: jax.Array  # (N,), the logarithm of the rate of decay


@dataclasses.dataclass(frozen=True)
class KDA(HeadsCell[KDAParams, MatrixCarry]):
    r"""Kimi delta attention: a linear memory whose key channels decay by themselves.

    $$
    \begin{aligned}
    q_t &= K^{-1/2}\, \mathrm{unit}(\phi(x_t W_q)), \qquad
        k_t = \mathrm{unit}(\phi(x_t W_k)), \qquad v_t = \phi(x_t W_v) \\
    \beta_t &= \sigma(x_t W_\beta), \qquad
        g_t = -e^{a}\, \mathrm{softplus}(x_t W_1 W_2 + b) \\
    S'_t &= \mathrm{diag}(e^{g_t}) S_{t-1} \\
    S_t &= S'_t + k_t \left(\beta_t (v_t - S_t'^\top k_t)\right)^\top \\
    y_t &= S_t^\top q_t
    \end{aligned}
    $$

    for each head, with $\mathrm{unit}(a) = a / \sqrt{\|a\|^2 + 10^{-6}}$. g has a
    number for each key channel, and a one for each head. In a `GatedDeltaNet` a head
    decays as a whole.

    Args:
        hidden_size: H, the number of output features, H / N of each head.
        heads: N, the number of heads, a divisor of H.
        key_size: K, the number of key channels of a head. None takes H / N.
        rank: R, the rank of the product for the decays. None takes H / N.
        negative_eigenvalues: whether $\beta$ is doubled, so that it reaches 2. A step
            can then turn the value of a key around, and the cell can track states such
            as a parity.
        activation: $\phi$, for queries, keys and values.
        kernel_init: initialiser of each W.
        decay_bias_init: initialiser of b.

    Raises:
        TypeError, ValueError: if a field has the wrong type or is out of range, or if
            the heads do not divide the units.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> cell = rj.KDA(hidden_size=8, heads=2, key_size=3)
        >>> params = cell.init(jax.random.key(0), in_features=2)
        >>> carry, ys = rj.unroll(cell, params, jnp.ones((7, 5, 2)))
        >>> ys.shape, carry.S.shape
        ((7, 5, 8), (5, 2, 3, 4))

    References:
        Kimi Team, 2025. Kimi Linear: an expressive, efficient attention architecture.
        https://arxiv.org/abs/2510.26692
        Grazzi et al., 2025. Unlocking state-tracking in linear RNNs through negative
        eigenvalues. https://arxiv.org/abs/2411.12537

    In the paper a short convolution comes before the activation, and a norm, an output
    gate and a projection follow. They belong to the block and are not part of the cell.
    The rates $e^a$ start uniform between 1 and 16. $\mathrm{softplus}(b)$ starts
    between 0.001 and 0.1, evenly in its logarithm, as in the authors' code.
    """

    hidden_size: Size
    heads: Size = 4
    key_size: Size | None = None
    rank: Size | None = None
    negative_eigenvalues: Flag = False
    activation: Activation = jax.nn.silu
    kernel_init: Initializer = glorot_uniform
    decay_bias_init: Initializer = Uniform(-6.9, -2.25)

    Params = KDAParams
    Carry = MatrixCarry
    output = None
    chunked = False  # on a CPU, a loop over its steps is faster

    def init(
        self, key: jax.Array, in_features: int, dtype: DTypeLike = float
    ) -> KDAParams:
        """Return fresh parameters for inputs of `in_features` features."""
        N, K, V = self.sizes
        D, R = in_features, self.rank or V
        shapes = (D, N * K), (D, N * K), (D, N * V), (D, N), (D, R), (R, N * K)
        k_a, k_b, *keys = jax.random.split(key, 2 + len(shapes))
        return KDAParams(
            *(
                self.kernel_init(k, shape, dtype)
                for k, shape in zip(keys, shapes, strict=True)
            ),
            decay_bias=self.decay_bias_init(k_b, (N * K,), dtype),
            log_rate=jnp.log(jax.random.uniform(k_a, (N,), dtype, 1, 16)),
        )

    def project(self, params: KDAParams, x: jax.Array) -> Query:
        """Return the query of a step, and what the step does to the state."""
        q, k, v = (
            by_head(self.activation(affine(x, kernel)), self.heads)
            for kernel in params[:3]
        )
        beta = jax.nn.sigmoid(affine(x, params.strength_kernel))
        if self.negative_eigenvalues:
            beta = 2 * beta
        low = affine(x, params.decay_down)
        g = jax.nn.softplus(affine(low, params.decay_up, params.decay_bias))
        g = by_head(g, self.heads)
        g = -expand_like(jnp.exp(params.log_rate)[:, None], g) * g
        return Query(scaled(unit(q)), replace(g, beta, unit(k), v))
