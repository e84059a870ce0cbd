# SPDX-License-Identifier: Apache-2.0
"""Mamba-2, a matrix state whose decay and writing share a learned time step."""

import dataclasses
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from recurrent_jax._core.arrays import affine, expand_like
from recurrent_jax._core.types import Activation, Initializer, Positive, Size
from recurrent_jax.cells._heads import (
    HeadsCell,
    by_head,
    side_by_side,
)
from recurrent_jax.initializers import glorot_uniform
from recurrent_jax.scans import MatrixCarry, Outer


class Mamba2Params(NamedTuple):
    """Parameters of `Mamba2`, with N heads, and G groups of K key channels."""

    query_kernel: jax.Array  # (in, G K), for C in the paper
    key_kernel: jax.Array  # (in, G K), for B in the paper
    value_kernel: jax.Array  # (in, H), for X in the paper
    step_kernel: jax.Array  # (in, N)
    step_bias: jax.Array  # (N,)
    log_rate: jax.Array  # (N,), the logarithm of -A in the paper
    skip: jax.Array  # (N,), D in the paper


class Selected(NamedTuple):
    """The query, key, value and time step of a step."""

    q: jax.Array  # (*lead, G, K)
    k: jax.Array  # (*lead, G, K)
    v: jax.Array  # (*lead, N, H / N)
    dt: jax.Array  # (*lead, N)


@dataclasses.dataclass(frozen=True)
class Mamba2(HeadsCell[Mamba2Params, MatrixCarry]):
    r"""The state space model of Mamba-2 (SSD), whose time steps depend on the input.

    $$
    \begin{aligned}
    q_t &= \phi(x_t W_q), \qquad k_t = \phi(x_t W_k), \qquad v_t = \phi(x_t W_v) \\
    \Delta_t &= \mathrm{softplus}(x_t W_\Delta + b) \\
    S_t &= e^{-\Delta_t e^{a}} S_{t-1} + k_t (\Delta_t v_t)^\top \\
    y_t &= S_t^\top q_t + D v_t
    \end{aligned}
    $$

    for each head. In the paper q, k and v are C, B and X, and $-e^a$ is A. A small time
    step ignores the input and keeps the state; a large one forgets the state and takes
    the input. The heads of a group share their query and key.

    Args:
        hidden_size: H, the number of output features, H / N of each head.
        heads: N, the number of heads, a divisor of H. The paper has 64 features a head.
        key_size: K, the number of key channels, which the paper calls the state size.
            None takes H / N. The paper has 64 to 256.
        groups: G, the number of groups, a divisor of N.
        min_step_size: the least time step that `init` draws, for an input of zeros.
        max_step_size: the greatest time step that `init` draws, for an input of zeros.
        activation: $\phi$, for queries, keys and values.
        kernel_init: initialiser of each W.

    Raises:
        TypeError, ValueError: if a field has the wrong type or is out of range, or if
            the heads do not divide the units, or the groups the heads.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> cell = rj.Mamba2(hidden_size=8, heads=2, key_size=3)
        >>> params = cell.init(jax.random.key(0), in_features=2)
        >>> carry, ys = rj.unroll(cell, params, jnp.ones((7, 5, 2)))
        >>> ys.shape, carry.S.shape
        ((7, 5, 8), (5, 2, 3, 4))

    References:
        Dao and Gu, 2024. Transformers are SSMs: generalized models and efficient
        algorithms through structured state space duality.
        https://arxiv.org/abs/2405.21060

    In the paper a short convolution comes before the activation, and an output gate, a
    norm and a projection follow. They belong to the block and are not part of the cell.
    The authors' state is the transpose of this one. As in their code, the rates $e^a$
    start uniform between 1 and 16, the logarithms of the time steps uniform, and D
    at 1. In transformers the rates start at 1, 2, ..., N.
    """

    hidden_size: Size
    heads: Size = 4
    key_size: Size | None = None
    groups: Size = 1
    min_step_size: Positive = 0.001
    max_step_size: Positive = 0.1
    activation: Activation = jax.nn.silu
    kernel_init: Initializer = glorot_uniform

    Params = Mamba2Params
    Carry = MatrixCarry
    output = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.heads % self.groups:
            raise ValueError(
                f"Mamba2: groups must divide heads={self.heads}, got {self.groups}; "
                "groups=1 always does"
            )
        if self.min_step_size > self.max_step_size:
            raise ValueError(
                f"Mamba2: min_step_size must be at most max_step_size="
                f"{self.max_step_size}, got {self.min_step_size}"
            )

    def init(
        self, key: jax.Array, in_features: int, dtype: DTypeLike = float
    ) -> Mamba2Params:
        """Return fresh parameters for inputs of `in_features` features."""
        N, K, _ = self.sizes
        channels = self.groups * K
        widths = channels, channels, self.hidden_size, N
        k_a, k_b, *keys = jax.random.split(key, 2 + len(widths))
        low, high = math.log(self.min_step_size), math.log(self.max_step_size)
        dt = jnp.exp(jax.random.uniform(k_b, (N,), dtype, low, high))
        return Mamba2Params(
            *(
                self.kernel_init(k, (in_features, width), dtype)
                for k, width in zip(keys, widths, strict=True)
            ),
            step_bias=dt + jnp.log(-jnp.expm1(-dt)),  # softplus of it is dt
            log_rate=jnp.log(jax.random.uniform(k_a, (N,), dtype, 1, 16)),
            skip=jnp.ones(N, dtype),
        )

    def project(self, params: Mamba2Params, x: jax.Array) -> Selected:
        """Return what each step writes and reads, and its time step."""
        q, k, v = (self.activation(affine(x, kernel)) for kernel in params[:3])
        dt = jax.nn.softplus(affine(x, params.step_kernel, params.step_bias))
        G = self.groups
        return Selected(by_head(q, G), by_head(k, G), by_head(v, self.heads), dt)

    def element(self, params: Mamba2Params, z: Selected) -> Outer:
        """Return the decay of each head, and what the step writes."""
        g = -expand_like(jnp.exp(params.log_rate), z.dt) * z.dt
        return Outer(g, self._shared(z.k), z.dt[..., None] * z.v)

    def query(self, params: Mamba2Params, z: Selected) -> jax.Array:
        """Return the queries."""
        return self._shared(z.q)

    def finish(self, params: Mamba2Params, read: jax.Array, z: Selected) -> jax.Array:
        """Return the values that the heads have read, side by side, and the skip."""
        D = expand_like(params.skip[:, None], z.v)
        return side_by_side(read + D * z.v)

    def _shared(self, a: jax.Array) -> jax.Array:
        """Return the keys or queries of groups for each of their heads."""
        return jnp.repeat(a, self.heads // self.groups, axis=-2)
