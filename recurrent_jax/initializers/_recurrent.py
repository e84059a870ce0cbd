# SPDX-License-Identifier: Apache-2.0
"""Initialisers of recurrent kernels, which control how signals grow or fade."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from recurrent_jax import _checks
from recurrent_jax._checks import protocol
from recurrent_jax._core.names import spell
from recurrent_jax._core.types import (
    Activation,
    Initializer,
    NonNegative,
    Positive,
    Real,
    Size,
)
from recurrent_jax._core.value import Value
from recurrent_jax.initializers._basic import lecun_normal, orthogonal


@dataclasses.dataclass(frozen=True, repr=False)
class Scaled(Value):
    """The draw of another initialiser, multiplied by a gain.

    Example:
        >>> import recurrent_jax as rj
        >>> from recurrent_jax.initializers import Scaled, identity
        >>> cell = rj.Elman(3, recurrent_kernel_init=Scaled(identity, 0.5))
    """

    initializer: Initializer
    gain: Real

    @protocol
    def __call__(
        self, key: jax.Array, shape: tuple[int, ...], dtype: DTypeLike
    ) -> jax.Array:
        """Return the scaled draw."""
        draw = self.initializer(key, shape, dtype)
        return draw * jnp.asarray(self.gain, dtype)


@_checks.checked
def critical_gain(activation: Activation, variance: NonNegative) -> float:
    r"""Return the gain at which signals neither grow nor fade: the edge of chaos.

    $$
    \sigma^2 \, \mathbb{E}_{z \sim \mathcal{N}(0, 1)}
        \left[\phi'\!\left(\sqrt{q}\, z\right)^2\right] = 1
    $$

    For a recurrence $h' = \phi(h U + \ldots)$ with pre-activations of variance q, the
    mean squared singular value of the Jacobian of a step is then one. With an
    orthogonal U, all singular values are as near to one as $\phi$ allows. This is
    called dynamical isometry.

    Args:
        activation: $\phi$, differentiable almost everywhere.
        variance: q, the variance of the pre-activations, input and bias included.

    Returns:
        $\sigma$, the gain of `Scaled(orthogonal, gain)`. For tanh it is 1 at a variance
        of zero, and grows with the variance.

    Raises:
        ValueError: if the variance is negative, or if the activation is flat
            everywhere.

    Example:
        >>> import jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> from recurrent_jax.initializers import Scaled, critical_gain, orthogonal
        >>> gain = critical_gain(jnp.tanh, variance=1.0)
        >>> print(f"{gain:.3f}")
        1.467
        >>> cell = rj.Elman(64, recurrent_kernel_init=Scaled(orthogonal, gain))

    References:
        Chen, Pennington and Schoenholz, 2018. Dynamical isometry and a mean field
        theory of RNNs: gating enables signal propagation in recurrent neural networks.
        https://arxiv.org/abs/1806.05394
        Poole et al., 2016. Exponential expressivity in deep neural networks through
        transient chaos. https://arxiv.org/abs/1606.05340
    """
    # Gauss-Hermite quadrature: the mean over a normal z is a weighted sum.
    z, weights = np.polynomial.hermite_e.hermegauss(100)
    with jax.ensure_compile_time_eval():  # a number even inside jit
        at = jnp.asarray(np.sqrt(variance) * z, float)
        slope = jax.vmap(jax.grad(activation))(at)
    mean = np.sum(weights * np.asarray(slope) ** 2) / np.sum(weights)
    if not mean > 0:
        raise ValueError(
            f"critical_gain: {spell(activation)} is flat at a variance of {variance}, "
            "so no gain keeps a signal"
        )
    return float(mean**-0.5)


@dataclasses.dataclass(frozen=True, repr=False)
class SpectralRadius(Value):
    """A square draw of another initialiser, scaled to a given spectral radius.

    The spectral radius is the largest magnitude of an eigenvalue. It decides whether a
    linear recurrence decays (below one) or explodes (above one). Echo state networks
    use a radius below one. The radius is computed by repeated squaring of the matrix,
    which runs on every device and in any transformation.

    Args:
        radius: the spectral radius of the result.
        initializer: the initialiser of the matrix before scaling.

    Example:
        >>> import recurrent_jax as rj
        >>> init = rj.initializers.SpectralRadius(0.9)
        >>> cell = rj.Elman(64, recurrent_kernel_init=init)

    References:
        Jaeger, 2001. The "echo state" approach to analysing and training recurrent
        neural networks. GMD report 148.
    """

    radius: Positive
    initializer: Initializer = lecun_normal

    @protocol
    def __call__(
        self, key: jax.Array, shape: tuple[int, ...], dtype: DTypeLike
    ) -> jax.Array:
        """Return the scaled draw. A draw of radius zero is returned unchanged."""
        _checks.square("SpectralRadius", shape)
        wide = jnp.float32 if jnp.finfo(dtype).bits < 32 else dtype
        draw = self.initializer(key, shape, wide)
        found = _spectral_radius(draw)
        scale = jnp.where(found > 0, self.radius / jnp.where(found > 0, found, 1), 1)
        return (draw * scale.astype(wide)).astype(dtype)


def _spectral_radius(A: jax.Array, squarings: int = 20) -> jax.Array:
    """Return the n-th root of the norm of the n-th power of A (Gelfand's formula)."""

    def square(k: int, state: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, ...]:
        power, log_norm = state
        power = power @ power
        norm = jnp.linalg.norm(power)
        safe = jnp.where(norm > 0, norm, 1)
        return power / safe, 2 * log_norm + jnp.log(norm)

    norm = jnp.linalg.norm(A)
    start = A / jnp.where(norm > 0, norm, 1), jnp.log(norm)
    _, log_norm = jax.lax.fori_loop(0, squarings, square, start)
    return jnp.exp(log_norm / 2**squarings)


@dataclasses.dataclass(frozen=True, repr=False)
class BlockDiagonal(Value):
    """A block-diagonal square draw. Training may change the zeros outside the blocks.

    `rj.Structured(cell, rj.operators.BlockDiagonal(blocks))` keeps them at zero.

    Args:
        blocks: the number of blocks, a divisor of the size.
        initializer: the initialiser of each block.

    Example:
        >>> import recurrent_jax as rj
        >>> init = rj.initializers.BlockDiagonal(4)
        >>> cell = rj.LSTM(64, recurrent_kernel_init=init)
    """

    blocks: Size
    initializer: Initializer = orthogonal

    @protocol
    def __call__(
        self, key: jax.Array, shape: tuple[int, ...], dtype: DTypeLike
    ) -> jax.Array:
        """Return the draw."""
        _checks.square("BlockDiagonal", shape)
        _checks.blocks("BlockDiagonal", self.blocks, shape[0])
        n = shape[0] // self.blocks
        keys = jax.random.split(key, self.blocks)
        drawn = [self.initializer(k, (n, n), dtype) for k in keys]
        return jax.scipy.linalg.block_diag(*drawn)
