# SPDX-License-Identifier: Apache-2.0
"""Gated linear attention, a matrix state with a learned decay for each key channel."""

import dataclasses
from typing import NamedTuple

import jax
from jax.typing import DTypeLike

from recurrent_jax._core.arrays import affine
from recurrent_jax._core.types import Initializer, Positive, Size
from recurrent_jax.cells._heads import (
    HeadsCell,
    by_head,
    scaled,
)
from recurrent_jax.initializers import glorot_uniform, zeros
from recurrent_jax.scans import MatrixCarry, Outer, Query


class GatedLinearAttentionParams(NamedTuple):
    """Parameters of `GatedLinearAttention`, with N heads of K key channels, rank R."""

    query_kernel: jax.Array  # (in, N K)
    key_kernel: jax.Array  # (in, N K)
    value_kernel: jax.Array  # (in, H)
    decay_down: jax.Array  # (in, R)
    decay_up: jax.Array  # (R, N K)
    decay_bias: jax.Array  # (N K,)


@dataclasses.dataclass(frozen=True)
class GatedLinearAttention(HeadsCell[GatedLinearAttentionParams, MatrixCarry]):
    r"""A linear memory with a forget gate for each key channel.

    $$
    \begin{aligned}
    q_t &= K^{-1/2}\, x_t W_q, \qquad k_t = x_t W_k, \qquad v_t = x_t W_v \\
    g_t &= \tfrac{1}{\tau} \log \sigma(x_t W_1 W_2 + b) \\
    S_t &= \mathrm{diag}(e^{g_t}) S_{t-1} + k_t v_t^\top \\
    y_t &= S_t^\top q_t
    \end{aligned}
    $$

    for each head. The gates read only the input, through R numbers. The temperature
    $\tau$ keeps them near 1: where the product is zero they are $2^{-1/16} = 0.96$.

    Args:
        hidden_size: H, the number of output features, H / N of each head.
        heads: N, the number of heads, a divisor of H.
        key_size: K, the number of key channels of a head. None takes H / N. In the
            paper it is half of that.
        rank: R, the rank of the product for the gates.
        temperature: $\tau$. Larger values forget more slowly.
        kernel_init: initialiser of each W.
        decay_bias_init: initialiser of b.

    Raises:
        TypeError, ValueError: if a field has the wrong type or is out of range, or if
            the heads do not divide the units.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> cell = rj.GatedLinearAttention(hidden_size=8, heads=2, key_size=3)
        >>> params = cell.init(jax.random.key(0), in_features=2)
        >>> carry, ys = rj.unroll(cell, params, jnp.ones((7, 5, 2)))
        >>> ys.shape, carry.S.shape
        ((7, 5, 8), (5, 2, 3, 4))

    References:
        Yang et al., 2024. Gated linear attention transformers with hardware-efficient
        training. https://arxiv.org/abs/2312.06635

    In the paper the output of each head is normalised, and a swish gate and a
    projection follow. They belong to the block and are not part of the cell. The
    parallel form of the paper divides keys by products of gates. `Chunked` sums the
    logarithms of the gates between two steps in its place, so no gate is too small.
    """

    hidden_size: Size
    heads: Size = 4
    key_size: Size | None = None
    rank: Size = 16
    temperature: Positive = 16.0
    kernel_init: Initializer = glorot_uniform
    decay_bias_init: Initializer = zeros

    Params = GatedLinearAttentionParams
    Carry = MatrixCarry
    output = None

    def init(
        self, key: jax.Array, in_features: int, dtype: DTypeLike = float
    ) -> GatedLinearAttentionParams:
        """Return fresh parameters for inputs of `in_features` features."""
        N, K, _ = self.sizes
        D, R, channels = in_features, self.rank, N * K
        shapes = (D, channels), (D, channels), (D, self.hidden_size)
        shapes = *shapes, (D, R), (R, channels)
        k_b, *keys = jax.random.split(key, 1 + len(shapes))
        return GatedLinearAttentionParams(
            *(
                self.kernel_init(k, shape, dtype)
                for k, shape in zip(keys, shapes, strict=True)
            ),
            decay_bias=self.decay_bias_init(k_b, (channels,), dtype),
        )

    def project(self, params: GatedLinearAttentionParams, x: jax.Array) -> Query:
        """Return the query of a step, and what the step does to the state."""
        q, k, v = (by_head(affine(x, kernel), self.heads) for kernel in params[:3])
        low = affine(x, params.decay_down)
        g = jax.nn.log_sigmoid(affine(low, params.decay_up, params.decay_bias))
        g = by_head(g / self.temperature, self.heads)
        return Query(scaled(q), Outer(g, k, v))
