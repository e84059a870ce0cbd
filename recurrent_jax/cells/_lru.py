# SPDX-License-Identifier: Apache-2.0
"""The linear recurrent unit, a diagonal complex recurrence."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from recurrent_jax import _checks
from recurrent_jax._core.arrays import affine, expand_like
from recurrent_jax._core.types import Positive, Rate, Share, Size
from recurrent_jax.scans import Complex, Diagonal, LinearCell


class LRUParams(NamedTuple):
    """Parameters of `LRU`, with N complex states."""

    nu: jax.Array  # (N,), the logarithm of the rate of decay
    theta: jax.Array  # (N,), the logarithm of the phase
    log_gamma: jax.Array  # (N,), the logarithm of the scale of the input
    kernel: Complex  # (in, N) each
    output_kernel: Complex  # (N, H) each
    skip: jax.Array | None  # (in,)


class ComplexCarry(NamedTuple):
    """A complex state, as its real and imaginary part."""

    real: jax.Array  # (*batch, N)
    imag: jax.Array  # (*batch, N)


@dataclasses.dataclass(frozen=True)
class LRU(LinearCell[LRUParams, ComplexCarry]):
    r"""The LRU: complex states that rotate and decay, each by itself.

    $$
    \begin{aligned}
    \lambda &= \exp(-e^{\nu} + i e^{\theta}) \\
    h_t &= \lambda \odot h_{t-1} + e^{\gamma} \odot (x_t B) \\
    y_t &= \mathrm{Re}(h_t C) + D \odot x_t
    \end{aligned}
    $$

    $|\lambda| < 1$ for every $\nu$, so no state grows without bound. There is no
    nonlinearity; put a layer with one between two LRUs. With as many outputs as inputs
    the cell has the skip connection D, and else it has none.

    Args:
        hidden_size: H, the number of output features.
        state_size: N, the number of complex states. None takes H.
        min_radius: the least $|\lambda|$ that `init` draws.
        max_radius: the greatest $|\lambda|$ that `init` draws. Values near 1 remember
            long.
        max_phase: the greatest angle per step that `init` draws, in radians.

    Raises:
        TypeError, ValueError: if a field has the wrong type or is out of range.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> cell = rj.LRU(hidden_size=3, state_size=8)
        >>> params = cell.init(jax.random.key(0), in_features=2)
        >>> carry, ys = rj.unroll(cell, params, jnp.ones((7, 5, 2)))
        >>> ys.shape, carry.real.shape
        ((7, 5, 3), (5, 8))

    References:
        Orvieto et al., 2023. Resurrecting recurrent neural networks for long sequences.
        https://arxiv.org/abs/2303.06349
    """

    hidden_size: Size
    state_size: Size | None = None
    min_radius: Rate = 0.0
    max_radius: Share = 1.0
    max_phase: Positive = 6.28

    Params = LRUParams
    Carry = ComplexCarry
    output = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.min_radius < self.max_radius:
            raise ValueError(
                f"LRU: min_radius must be at least 0 and below max_radius="
                f"{self.max_radius}, got {self.min_radius}"
            )

    def init(
        self, key: jax.Array, in_features: int, dtype: DTypeLike = float
    ) -> LRUParams:
        """Return fresh parameters for inputs of `in_features` features."""
        N, H = self.state_size or self.hidden_size, self.hidden_size
        k_r, k_p, k_b, k_c, k_d = jax.random.split(key, 5)
        low, high = self.min_radius**2, self.max_radius**2
        # In at least float32: near 1, numbers of 16 bits lie too far apart. And not
        # exactly 0 or 1, whose logarithms are infinite.
        wide = jnp.float32 if jnp.finfo(dtype).bits < 32 else dtype
        u = jax.random.uniform(k_r, (N,), wide, 1e-3, 1 - 1e-3)
        squared = u * (high - low) + low
        phase = jax.random.uniform(k_p, (N,), dtype, 1e-3) * self.max_phase
        B = jax.random.normal(k_b, (2, in_features, N), dtype)
        C = jax.random.normal(k_c, (2, N, H), dtype)
        skip = None
        if in_features == H:
            skip = jax.random.normal(k_d, (H,), dtype)
        return LRUParams(
            nu=jnp.log(-0.5 * jnp.log(squared)).astype(dtype),
            theta=jnp.log(phase),
            log_gamma=(0.5 * jnp.log1p(-squared)).astype(dtype),
            kernel=Complex(*(B / (2 * in_features) ** 0.5)),
            output_kernel=Complex(*(C / N**0.5)),
            skip=skip,
        )

    def initial_carry(
        self,
        batch_shape: tuple[int, ...] = (),
        dtype: DTypeLike = float,
        params: Any = None,
    ) -> ComplexCarry:
        """Return a state of zeros."""
        _checks.own(self, params)
        N = self.state_size or self.hidden_size
        zero = jnp.zeros((*batch_shape, N), dtype)
        return ComplexCarry(zero, zero)

    def project(
        self, params: LRUParams, x: jax.Array
    ) -> tuple[ComplexCarry, jax.Array | None]:
        """Return what the input adds to the states, and x if the output needs it."""
        gamma = jnp.exp(params.log_gamma)[None]
        B = params.kernel
        added = ComplexCarry(affine(x, gamma * B.real), affine(x, gamma * B.imag))
        return added, x if params.skip is not None else None

    def element(self, params: LRUParams, z: Any) -> Diagonal:
        """Return the rotation and decay of each state, and what the input adds."""
        added, _ = z
        radius, phase = jnp.exp(-jnp.exp(params.nu)), jnp.exp(params.theta)
        parts = radius * jnp.cos(phase), radius * jnp.sin(phase)
        return Diagonal(Complex(*(expand_like(a, added.real) for a in parts)), added)

    def emit(self, params: LRUParams, carry: ComplexCarry, z: Any) -> jax.Array:
        r"""Return $\mathrm{Re}(h C) + D x$."""
        _, x = z
        C = params.output_kernel
        y = carry.real @ C.real - carry.imag @ C.imag
        D = params.skip
        return y if D is None else y + expand_like(D, x) * x
