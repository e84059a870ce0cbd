# SPDX-License-Identifier: Apache-2.0
"""DeltaNet, a matrix state that replaces the value of a key."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from recurrent_jax._core.arrays import affine
from recurrent_jax._core.types import Activation, Flag, Initializer, Size
from recurrent_jax.cells._heads import (
    HeadsCell,
    by_head,
    replace,
    scaled,
    unit,
)
from recurrent_jax.initializers import glorot_uniform
from recurrent_jax.scans import MatrixCarry, Query


class DeltaNetParams(NamedTuple):
    """Parameters of `DeltaNet`, with N heads of K key channels."""

    query_kernel: jax.Array  # (in, N K)
    key_kernel: jax.Array  # (in, N K)
    value_kernel: jax.Array  # (in, H)
    strength_kernel: jax.Array  # (in, N)


@dataclasses.dataclass(frozen=True)
class DeltaNet(HeadsCell[DeltaNetParams, MatrixCarry]):
    r"""A linear memory that writes by the delta rule.

    $$
    \begin{aligned}
    q_t &= K^{-1/2}\, \mathrm{unit}(\phi(x_t W_q)), \qquad
        k_t = \mathrm{unit}(\phi(x_t W_k)), \qquad v_t = \phi(x_t W_v) \\
    \beta_t &= \sigma(x_t W_\beta) \\
    S_t &= S_{t-1} + k_t \left(\beta_t (v_t - S_{t-1}^\top k_t)\right)^\top \\
    y_t &= S_t^\top q_t
    \end{aligned}
    $$

    for each head, with $\mathrm{unit}(a) = a / \sqrt{\|a\|^2 + 10^{-6}}$. The state has
    a value for the key already. A step moves it towards the new value by the share
    $\beta$, and leaves what other, orthogonal keys hold as it is. Nothing decays.

    `Chunked` inverts a triangular matrix for each chunk, by products. In float32 on a
    CPU, with 64 units and 4,096 steps, its outputs were within 6e-7 of those in
    float64, relative to the largest. Those of `Sequential` were within 5e-7.

    Args:
        hidden_size: H, the number of output features, H / N of each head.
        heads: N, the number of heads, a divisor of H.
        key_size: K, the number of key channels of a head. None takes H / N.
        negative_eigenvalues: whether $\beta$ is doubled, so that it reaches 2. A step
            can then turn the value of a key around, and the cell can track states such
            as a parity.
        activation: $\phi$, for queries, keys and values.
        kernel_init: initialiser of each W.

    Raises:
        TypeError, ValueError: if a field has the wrong type or is out of range, or if
            the heads do not divide the units.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> cell = rj.DeltaNet(hidden_size=8, heads=2, key_size=3)
        >>> params = cell.init(jax.random.key(0), in_features=2)
        >>> carry, ys = rj.unroll(cell, params, jnp.ones((7, 5, 2)))
        >>> ys.shape, carry.S.shape
        ((7, 5, 8), (5, 2, 3, 4))

    References:
        Schlag, Irie and Schmidhuber, 2021. Linear transformers are secretly fast weight
        programmers. https://arxiv.org/abs/2102.11174
        Yang et al., 2024. Parallelizing linear transformers with the delta rule over
        sequence length. https://arxiv.org/abs/2406.06484
        Grazzi et al., 2025. Unlocking state-tracking in linear RNNs through negative
        eigenvalues. https://arxiv.org/abs/2411.12537

    In the paper a short convolution comes before the activation, and a norm and an
    output projection follow. They belong to the block and are not part of the cell.
    """

    hidden_size: Size
    heads: Size = 4
    key_size: Size | None = None
    negative_eigenvalues: Flag = False
    activation: Activation = jax.nn.silu
    kernel_init: Initializer = glorot_uniform

    Params = DeltaNetParams
    Carry = MatrixCarry
    output = None

    def init(
        self, key: jax.Array, in_features: int, dtype: DTypeLike = float
    ) -> DeltaNetParams:
        """Return fresh parameters for inputs of `in_features` features."""
        N, K, _ = self.sizes
        widths = N * K, N * K, self.hidden_size, N
        keys = jax.random.split(key, len(widths))
        return DeltaNetParams(
            *(
                self.kernel_init(k, (in_features, width), dtype)
                for k, width in zip(keys, widths, strict=True)
            )
        )

    def project(self, params: DeltaNetParams, x: jax.Array) -> Query:
        """Return the query of a step, and what the step does to the state."""
        q, k, v = (
            by_head(self.activation(affine(x, kernel)), self.heads)
            for kernel in params[:3]
        )
        beta = jax.nn.sigmoid(affine(x, params.strength_kernel))
        if self.negative_eigenvalues:
            beta = 2 * beta
        no_decay = jnp.zeros_like(beta)
        return Query(scaled(unit(q)), replace(no_decay, beta, unit(k), v))
