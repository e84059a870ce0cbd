# SPDX-License-Identifier: Apache-2.0
"""The real-gated linear recurrent unit of Griffin and RecurrentGemma."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import DTypeLike

from recurrent_jax import _checks
from recurrent_jax._core.arrays import expand_like
from recurrent_jax._core.cell import HiddenCarry
from recurrent_jax._core.types import Flag, PerGate, Positive, Share, Size
from recurrent_jax.cells._lru import ComplexCarry
from recurrent_jax.initializers import lecun_normal, per_gate, zeros
from recurrent_jax.scans import Complex, Diagonal, LinearCell

STEEPEST = 1000.0  # the bound of the gradient of the square root


class RGLRUParams(NamedTuple):
    """Parameters of `RGLRU`, with gates in the order r, i.

    There are N states: H real ones, or H / 2 complex ones.
    """

    rate: jax.Array  # (N,), the softplus of which is the rate of decay
    phase: jax.Array | None  # (N,), None for real states
    kernel: jax.Array  # (heads, H / heads, 2N / heads)
    bias: jax.Array  # (2N,)


@dataclasses.dataclass(frozen=True)
class RGLRU(LinearCell[RGLRUParams, HiddenCarry | ComplexCarry]):
    r"""The RG-LRU: states that decay by themselves, as fast as a gate says.

    $$
    \begin{aligned}
    r_t &= \sigma(x_t W_r + b_r) && \text{recurrence gate} \\
    i_t &= \sigma(x_t W_i + b_i) && \text{input gate} \\
    \log a_t &= -c\, r_t \odot \mathrm{softplus}(\Lambda) \\
    h_t &= a_t \odot h_{t-1} + \sqrt{1 - a_t^2} \odot (i_t \odot x_t),
        \qquad y_t = h_t
    \end{aligned}
    $$

    Both W are block diagonal: a head reads only its own features. There is no input
    kernel, so the input has H features. The root keeps the variance of the state near
    that of the input. Its gradient is bounded by 1000, as $a_t$ may be 1.

    With complex states, the first half of the features are real parts and the second
    half imaginary parts of H / 2 numbers, and $a_t$ is multiplied by $\exp(i r_t
    \theta)$. The root does not change.

    Args:
        hidden_size: H, the number of features of input and output.
        heads: the number of blocks of each W, a divisor of the number of states. The
            paper has 16.
        complex_state: whether the states are complex. H must then be even.
        power: c.
        min_radius: the least $e^{-\mathrm{softplus}(\Lambda)}$ that `init` draws.
        max_radius: the greatest $e^{-\mathrm{softplus}(\Lambda)}$ that `init` draws.
        max_phase: the greatest $\theta$ that `init` draws, in radians.
        kernel_init: initialiser of each block of each W, or a tuple of two.
        bias_init: initialiser of each b, or a tuple of two.

    Raises:
        TypeError, ValueError: if a field has the wrong type or is out of range, if the
            heads do not divide the states, or if `init` is given inputs that do not
            have H features.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> cell = rj.RGLRU(hidden_size=8, heads=2)
        >>> params = cell.init(jax.random.key(0), in_features=8)
        >>> carry, ys = rj.unroll(cell, params, jnp.ones((7, 5, 8)))
        >>> ys.shape, params.kernel.shape
        ((7, 5, 8), (2, 4, 8))

    References:
        De et al., 2024. Griffin: mixing gated linear recurrences with local attention
        for efficient language models. https://arxiv.org/abs/2402.19427

    The ring from which $\Lambda$ is drawn is that of the authors' code, where 0.9 to
    0.999 is the range of $e^{-\mathrm{softplus}(\Lambda)}$. In the paper it is the
    range of its power c. At the first step of a sequence the authors' code puts 1 in
    place of the root; here all steps are alike. The complex form is in their code only.
    """

    hidden_size: Size
    heads: Size = 1
    complex_state: Flag = False
    power: Positive = 8.0
    min_radius: Share = 0.9
    max_radius: Share = 0.999
    max_phase: Positive = 0.314
    kernel_init: PerGate = lecun_normal
    bias_init: PerGate = zeros

    Params = RGLRUParams
    Carry = HiddenCarry
    output = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.complex_state and self.hidden_size % 2:
            raise ValueError(
                "RGLRU: complex_state=True needs an even hidden_size, for real and "
                f"imaginary parts, got {self.hidden_size}"
            )
        if self._states % self.heads:
            raise ValueError(
                f"RGLRU: heads must divide the number of states, {self._states}, got "
                f"{self.heads}; heads=1 always does"
            )
        if not self.min_radius < self.max_radius < 1:
            raise ValueError(
                "RGLRU: the radii must have min_radius < max_radius < 1, got "
                f"min_radius={self.min_radius} and max_radius={self.max_radius}"
            )

    @property
    def _states(self) -> int:
        return self.hidden_size // 2 if self.complex_state else self.hidden_size

    def init(
        self, key: jax.Array, in_features: int, dtype: DTypeLike = float
    ) -> RGLRUParams:
        """Return fresh parameters for inputs of `hidden_size` features."""
        H, N, heads = self.hidden_size, self._states, self.heads
        if in_features != H:
            raise ValueError(
                f"RGLRU.init: in_features must be hidden_size={H}, since the cell has "
                f"no input kernel, got {in_features}; put a linear layer before it"
            )
        k_r, k_p, k_x, k_b = jax.random.split(key, 4)
        low, high = self.min_radius**2, self.max_radius**2
        # In at least float32: near 1, numbers of 16 bits lie too far apart.
        wide = jnp.float32 if jnp.finfo(dtype).bits < 32 else dtype
        squared = jax.random.uniform(k_r, (N,), wide, low, high)
        phase = None
        if self.complex_state:
            phase = self.max_phase * jax.random.uniform(k_p, (N,), dtype)
        blocks = [
            per_gate(self.kernel_init, k, (H // heads, N // heads), 2, dtype)
            for k in jax.random.split(k_x, heads)
        ]
        return RGLRUParams(
            # softplus of it is minus the logarithm of the radius.
            rate=jnp.log(jnp.expm1(-0.5 * jnp.log(squared))).astype(dtype),
            phase=phase,
            kernel=jnp.stack(blocks),
            bias=per_gate(self.bias_init, k_b, (N,), 2, dtype),
        )

    def initial_carry(
        self,
        batch_shape: tuple[int, ...] = (),
        dtype: DTypeLike = float,
        params: Any = None,
    ) -> HiddenCarry | ComplexCarry:
        """Return a state of zeros."""
        _checks.own(self, params)
        zero = jnp.zeros((*batch_shape, self._states), dtype)
        return ComplexCarry(zero, zero) if self.complex_state else HiddenCarry(zero)

    def project(self, params: RGLRUParams, x: jax.Array) -> Diagonal:
        """Return how fast each state decays, and what the input adds to it."""
        r, i = self._gates(params, x)
        log_a = -self.power * r * expand_like(jax.nn.softplus(params.rate), r)
        a = jnp.exp(log_a)
        # 1 - a^2, without the rounding near a = 1.
        scale = bounded_sqrt(-jnp.expm1(2 * log_a)) * i
        if params.phase is None:
            return Diagonal(a, HiddenCarry(scale * x))
        angle = r * expand_like(params.phase, r)
        real, imag = jnp.split(x, 2, axis=-1)
        return Diagonal(
            Complex(a * jnp.cos(angle), a * jnp.sin(angle)),
            ComplexCarry(scale * real, scale * imag),
        )

    def _gates(self, params: RGLRUParams, x: jax.Array) -> list[jax.Array]:
        """Return both gates, head by head."""
        lead, heads = x.shape[:-1], self.heads
        x = x.reshape(*lead, heads, self.hidden_size // heads)
        u = jnp.einsum("...nd,nde->...ne", x, params.kernel)
        u = u.reshape(*lead, heads, 2, self._states // heads).swapaxes(-3, -2)
        u = u.reshape(*lead, 2 * self._states)
        return jnp.split(jax.nn.sigmoid(u + expand_like(params.bias, u)), 2, axis=-1)

    def element(self, params: RGLRUParams, z: Diagonal) -> Diagonal:
        """Return the step."""
        return z

    def emit(self, params: RGLRUParams, carry: Any, z: Diagonal) -> jax.Array:
        """Return the state as the output."""
        return self.read(carry, None)

    def read(self, carry: Any, y: Any) -> jax.Array:
        """Return the state: its real parts, then its imaginary parts if it has any."""
        return jnp.concatenate(carry, axis=-1)


@jax.custom_jvp
def bounded_sqrt(a: jax.Array) -> jax.Array:
    """Return the square root, with a derivative of at most 1000."""
    return jnp.sqrt(a)


@bounded_sqrt.defjvp
def _derivative(primals: Any, tangents: Any) -> tuple[jax.Array, jax.Array]:
    (a,), (d,) = primals, tangents
    root = bounded_sqrt(a)
    return root, 0.5 * d / lax.max(root, jnp.full_like(root, 0.5 / STEEPEST))
