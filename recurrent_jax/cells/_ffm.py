# SPDX-License-Identifier: Apache-2.0
"""Fast and Forgetful Memory, for reinforcement learning."""

import dataclasses
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from recurrent_jax import _checks
from recurrent_jax._core.arrays import affine, expand_like
from recurrent_jax._core.types import Initializer, Positive, Size
from recurrent_jax.cells._norm import layer_norm
from recurrent_jax.initializers import glorot_uniform, per_gate, zeros
from recurrent_jax.scans import Complex, Diagonal, LinearCell


class FFMParams(NamedTuple):
    """Parameters of `FFM`, with M traces and C contexts.

    The blocks of the kernel are in the order value, input gate, skip, output gate.
    """

    rate: jax.Array  # (M,), alpha
    frequency: jax.Array  # (C,), omega
    kernel: jax.Array  # (in, 2M + 2H)
    bias: jax.Array  # (2M + 2H,)
    output_kernel: Complex  # (M C, H) each
    output_bias: jax.Array  # (H,)


class FFMCarry(NamedTuple):
    """State of `FFM`, as its real and imaginary part."""

    real: jax.Array  # (*batch, M, C)
    imag: jax.Array  # (*batch, M, C)


@dataclasses.dataclass(frozen=True)
class FFM(LinearCell[FFMParams, FFMCarry]):
    r"""The FFM: each trace decays at its own rate, in several rhythms at once.

    $$
    \begin{aligned}
    \tilde x_t &= (x_t W_1 + b_1) \odot \sigma(x_t W_2 + b_2) && \text{trace} \\
    S_t &= \gamma \odot S_{t-1} + \tilde x_t 1^\top, \qquad
        \gamma_{mc} = \exp(-|\alpha_m| + i \omega_c) \\
    z_t &= \mathrm{Re}(S_t) \cdot W_3 + \mathrm{Im}(S_t) \cdot W_4 + b_3 \\
    g_t &= \sigma(x_t W_5 + b_5) && \text{output gate} \\
    y_t &= g_t \odot \mathrm{LN}(z_t) + (1 - g_t) \odot (x_t W_6 + b_6)
    \end{aligned}
    $$

    S is a matrix of M traces and C contexts, read as one long vector by $W_3$ and
    $W_4$. A context turns by $\omega_c$ in every step, so the angle of an entry tells
    how long ago an input was. LN has no scale and no shift.

    Args:
        hidden_size: H, the number of output features.
        trace_size: M, the number of rates of decay.
        context_size: C, the number of rhythms.
        min_period: the least number of steps of a turn, $2 \pi / \omega$, in `init`.
        max_period: the greatest number of steps of a turn. The slowest trace keeps 1 %
            of an input for so long.
        max_rate: the greatest $|\alpha|$ in `init`.
        epsilon: a constant added to the variance in LN.
        kernel_init: initialiser of each W.
        bias_init: initialiser of each b.

    Raises:
        TypeError, ValueError: if a field has the wrong type or is out of range.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> cell = rj.FFM(hidden_size=3, trace_size=8)
        >>> params = cell.init(jax.random.key(0), in_features=2)
        >>> carry, ys = rj.unroll(cell, params, jnp.ones((7, 5, 2)))
        >>> ys.shape, carry.real.shape
        ((7, 5, 3), (5, 8, 4))

    References:
        Morad et al., 2023. Reinforcement learning with fast and forgetful memory.
        https://arxiv.org/abs/2310.04128

    As in the authors' PyTorch code, rates and periods are spaced evenly at first. Their
    parallel form divides by powers of $\gamma$, which overflow, so it needs float64 and
    a bound on $|\alpha|$ that depends on the length. No power is inverted here. In
    their JAX code, LN is of $g_t \odot z_t$.
    """

    hidden_size: Size
    trace_size: Size = 32
    context_size: Size = 4
    min_period: Positive = 1.0
    max_period: Positive = 1024.0
    max_rate: Positive = 0.67
    epsilon: Positive = 1e-5
    kernel_init: Initializer = glorot_uniform
    bias_init: Initializer = zeros

    Params = FFMParams
    Carry = FFMCarry
    output = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.min_period > self.max_period:
            raise ValueError(
                f"FFM: min_period must be at most max_period={self.max_period}, got "
                f"{self.min_period}"
            )

    def init(
        self, key: jax.Array, in_features: int, dtype: DTypeLike = float
    ) -> FFMParams:
        """Return fresh parameters for inputs of `in_features` features."""
        H, M, C = self.hidden_size, self.trace_size, self.context_size
        k_x, k_y, k_z, k_a, k_b, k_c = jax.random.split(key, 6)
        kernel = (
            per_gate(self.kernel_init, k_x, (in_features, M), 2, dtype),
            per_gate(self.kernel_init, k_y, (in_features, H), 2, dtype),
        )
        bias = (
            per_gate(self.bias_init, k_a, (M,), 2, dtype),
            per_gate(self.bias_init, k_b, (H,), 2, dtype),
        )
        mix = self.kernel_init(k_z, (2 * M * C, H), dtype)
        periods = jnp.linspace(self.min_period, self.max_period, C)
        slowest = math.log(100) / self.max_period
        return FFMParams(
            rate=jnp.linspace(self.max_rate, slowest, M).astype(dtype),
            frequency=(2 * math.pi / periods).astype(dtype),
            kernel=jnp.concatenate(kernel, axis=-1),
            bias=jnp.concatenate(bias),
            output_kernel=Complex(mix[: M * C], mix[M * C :]),
            output_bias=self.bias_init(k_c, (H,), dtype),
        )

    def initial_carry(
        self,
        batch_shape: tuple[int, ...] = (),
        dtype: DTypeLike = float,
        params: Any = None,
    ) -> FFMCarry:
        """Return a state of zeros."""
        _checks.own(self, params)
        shape = (*batch_shape, self.trace_size, self.context_size)
        zero = jnp.zeros(shape, dtype)
        return FFMCarry(zero, zero)

    def project(
        self, params: FFMParams, x: jax.Array
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Return what the input adds to each trace, the skip and the output gate."""
        H, M = self.hidden_size, self.trace_size
        u = affine(x, params.kernel, params.bias)
        value, i, skip, g = jnp.split(u, (M, 2 * M, 2 * M + H), axis=-1)
        return value * jax.nn.sigmoid(i), skip, jax.nn.sigmoid(g)

    def element(self, params: FFMParams, z: Any) -> Diagonal:
        """Return the decay and turn of each entry, and what the input adds."""
        added = z[0][..., None]
        real = jnp.broadcast_to(added, (*added.shape[:-1], self.context_size))
        keep = jnp.exp(-jnp.abs(params.rate))[:, None]
        angle = params.frequency[None]
        parts = keep * jnp.cos(angle), keep * jnp.sin(angle)
        return Diagonal(
            Complex(*(expand_like(a, real) for a in parts)),
            FFMCarry(real, jnp.zeros_like(real)),
        )

    def emit(self, params: FFMParams, carry: FFMCarry, z: Any) -> jax.Array:
        """Return the gated sum of what the memory says and of the input."""
        _, skip, g = z
        W, size = params.output_kernel, self.trace_size * self.context_size
        real, imag = (a.reshape(*a.shape[:-2], size) for a in carry)
        mixed = affine(real, W.real, params.output_bias) + imag @ W.imag
        one = jnp.ones_like(params.output_bias)
        return g * layer_norm(mixed, one, epsilon=self.epsilon) + (1 - g) * skip
