# SPDX-License-Identifier: Apache-2.0
"""Mamba, a diagonal state space model whose steps depend on the input."""

import dataclasses
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from recurrent_jax import _checks
from recurrent_jax._core.arrays import affine, expand_like
from recurrent_jax._core.types import Activation, Initializer, Positive, Size
from recurrent_jax.initializers import Uniform, glorot_uniform
from recurrent_jax.scans import Diagonal, LinearCell


class MambaParams(NamedTuple):
    """Parameters of `Mamba`, with N states for each of H features, and rank R."""

    value_kernel: jax.Array  # (in, H)
    key_kernel: jax.Array  # (H, N), for B in the paper
    query_kernel: jax.Array  # (H, N), for C in the paper
    step_down: jax.Array  # (H, R)
    step_up: jax.Array  # (R, H)
    step_bias: jax.Array  # (H,)
    log_rate: jax.Array  # (H, N), the logarithm of -A in the paper
    skip: jax.Array  # (H,), D in the paper


class MambaCarry(NamedTuple):
    """The carry of a `Mamba`."""

    h: jax.Array  # (*batch, H, N)


class SelectedChannels(NamedTuple):
    """The features of a step, its B and C, and its time step for each feature."""

    u: jax.Array  # (*lead, H)
    B: jax.Array  # (*lead, N)
    C: jax.Array  # (*lead, N)
    dt: jax.Array  # (*lead, H)


@dataclasses.dataclass(frozen=True)
class Mamba(LinearCell[MambaParams, MambaCarry]):
    r"""The state space model of Mamba (S6), whose time steps depend on the input.

    $$
    \begin{aligned}
    u_t &= \phi(x_t W) \\
    B_t &= u_t W_B, \qquad C_t = u_t W_C \\
    \Delta_t &= \mathrm{softplus}(u_t W_1 W_2 + b) \\
    h_t &= e^{\Delta_t A} \odot h_{t-1} + (\Delta_t \odot u_t) B_t^\top,
        \qquad A = -e^a \\
    y_t &= h_t C_t + D \odot u_t
    \end{aligned}
    $$

    h is a matrix of H features and N states. Each entry decays at its own rate, times
    the time step of its feature. A small time step ignores the feature and keeps its
    states; a large one forgets them and takes the feature. B and C say which states are
    written and read.

    `Mamba2` has one rate for each head in place of H times N. Its chunks are products
    of matrices. Here, `Chunked` and `Associative` compute all states of a chunk.

    Args:
        hidden_size: H, the number of output features. The paper has twice as many as
            inputs.
        state_size: N, the number of states of a feature.
        rank: R, the rank of the product for time steps. None takes H / 32, rounded up,
            as the paper has for twice as many features as inputs.
        min_step_size: the least time step that `init` draws, for an input of zeros.
        max_step_size: the greatest time step that `init` draws, for an input of zeros.
        activation: $\phi$.
        kernel_init: initialiser of each W, but for $W_2$, which is drawn uniform
            between $-R^{-1/2}$ and $R^{-1/2}$.

    Raises:
        TypeError, ValueError: if a field has the wrong type or is out of range.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> cell = rj.Mamba(hidden_size=8, state_size=3)
        >>> params = cell.init(jax.random.key(0), in_features=2)
        >>> carry, ys = rj.unroll(cell, params, jnp.ones((7, 5, 2)))
        >>> ys.shape, carry.h.shape
        ((7, 5, 8), (5, 8, 3))

    References:
        Gu and Dao, 2023. Mamba: linear-time sequence modeling with selective state
        spaces. https://arxiv.org/abs/2312.00752

    In the paper a short convolution comes before the activation, and an output gate and
    a projection follow. They belong to the block and are not part of the cell. As in
    the authors' code, a state takes $\Delta$ times its input, and not what an input
    that is held for the step would give. The rates $e^a$ of a feature start at 1, 2,
    ..., N, the logarithms of the time steps uniform, and D at 1.
    """

    hidden_size: Size
    state_size: Size = 16
    rank: Size | None = None
    min_step_size: Positive = 0.001
    max_step_size: Positive = 0.1
    activation: Activation = jax.nn.silu
    kernel_init: Initializer = glorot_uniform

    Params = MambaParams
    Carry = MambaCarry
    output = None
    chunked = False  # on a CPU, a loop over its steps is faster

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.min_step_size > self.max_step_size:
            raise ValueError(
                f"Mamba: min_step_size must be at most max_step_size="
                f"{self.max_step_size}, got {self.min_step_size}"
            )

    def init(
        self, key: jax.Array, in_features: int, dtype: DTypeLike = float
    ) -> MambaParams:
        """Return fresh parameters for inputs of `in_features` features."""
        H, N = self.hidden_size, self.state_size
        R = self.rank or math.ceil(H / 32)
        shapes = (in_features, H), (H, N), (H, N), (H, R)
        k_u, k_b, *keys = jax.random.split(key, 2 + len(shapes))
        low, high = math.log(self.min_step_size), math.log(self.max_step_size)
        dt = jnp.exp(jax.random.uniform(k_b, (H,), dtype, low, high))
        rates = jnp.log(jnp.arange(1, N + 1, dtype=dtype))
        return MambaParams(
            *(
                self.kernel_init(k, shape, dtype)
                for k, shape in zip(keys, shapes, strict=True)
            ),
            step_up=Uniform(-(R**-0.5), R**-0.5)(k_u, (R, H), dtype),
            step_bias=dt + jnp.log(-jnp.expm1(-dt)),  # softplus of it is dt
            log_rate=jnp.broadcast_to(rates[None], (H, N)),
            skip=jnp.ones(H, dtype),
        )

    def initial_carry(
        self,
        batch_shape: tuple[int, ...] = (),
        dtype: DTypeLike = float,
        params: Any = None,
    ) -> MambaCarry:
        """Return a state of zeros."""
        _checks.own(self, params)
        shape = *batch_shape, self.hidden_size, self.state_size
        return MambaCarry(jnp.zeros(shape, dtype))

    def project(self, params: MambaParams, x: jax.Array) -> SelectedChannels:
        """Return what each step writes and reads, and its time steps."""
        u = self.activation(affine(x, params.value_kernel))
        dt = affine(affine(u, params.step_down), params.step_up, params.step_bias)
        B, C = affine(u, params.key_kernel), affine(u, params.query_kernel)
        return SelectedChannels(u, B, C, jax.nn.softplus(dt))

    def element(self, params: MambaParams, z: SelectedChannels) -> Diagonal:
        """Return the decay of each state, and what the step writes."""
        dt = z.dt[..., None]
        decay = jnp.exp(-dt * expand_like(jnp.exp(params.log_rate), dt))
        return Diagonal(decay, MambaCarry((z.dt * z.u)[..., None] * z.B[..., None, :]))

    def emit(
        self, params: MambaParams, carry: MambaCarry, z: SelectedChannels
    ) -> jax.Array:
        """Return what each feature reads of its states, and the skip."""
        y = jnp.einsum("...hn,...n->...h", carry.h, z.C)
        return y + expand_like(params.skip, z.u) * z.u
