# SPDX-License-Identifier: Apache-2.0
"""The S4D layer, a diagonal state space model of each feature."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import DTypeLike

from recurrent_jax import _checks
from recurrent_jax._core.arrays import expand_like
from recurrent_jax._core.types import Positive, Size
from recurrent_jax.cells._lru import ComplexCarry
from recurrent_jax.cells._s5 import DISCRETIZATIONS, legendre
from recurrent_jax.scans import Complex, Diagonal, LinearCell
from recurrent_jax.scans._wide import wide


class S4DParams(NamedTuple):
    """Parameters of `S4D`, with N complex states for each of H features."""

    log_rate: jax.Array  # (H, N), the logarithm of minus the real part of A
    frequency: jax.Array  # (H, N), the imaginary part of A
    log_step: jax.Array  # (H,), the logarithm of the time that a step takes
    output_kernel: Complex  # (H, N) each, C in the paper
    skip: jax.Array  # (H,), D in the paper


class S4DPrepared(NamedTuple):
    """What a step does: the parameters of `S4D` in discrete time."""

    decay: Complex  # (H, N) each
    kernel: Complex  # (H, N) each, what a state takes of its feature
    output_kernel: Complex  # (H, N) each
    skip: jax.Array  # (H,)


@dataclasses.dataclass(frozen=True)
class S4D(LinearCell[S4DParams, ComplexCarry]):
    r"""The S4D: N complex states for each feature, which read that feature alone.

    $$
    \begin{aligned}
    \dot s &= A \odot s + x 1^\top, \qquad z = \Delta A \\
    s_t &= e^{z} \odot s_{t-1}
        + \Delta \frac{e^{z} - 1}{z} \odot x_t 1^\top \\
    y_t &= 2\, \mathrm{Re}\Big(\sum_n C_n \odot s_{t,n}\Big) + D \odot x_t
    \end{aligned}
    $$

    s is a matrix of H features and N states. $\Delta$, one number for each feature, is
    the time of a step. A state is complex and stands for itself and its conjugate, so y
    is twice a real part. In the bilinear form, $(1 + z/2) / (1 - z/2)$ is in place of
    $e^z$ and $1 / (1 - z/2)$ in place of $(e^z - 1) / z$. There is no input kernel, so
    the input has H features. Nothing mixes them, and nothing is nonlinear: put a layer
    that does both after it.

    Args:
        hidden_size: H, the number of features of input and output.
        state_size: N, the number of complex states of a feature, half of the N in the
            paper.
        spectrum: the imaginary parts of A that `init` makes, with real parts of -1/2:
            `"lin"` takes $\pi n$, `"inv"` takes $\frac{2N}{\pi}(\frac{2N}{2n+1} - 1)$,
            and `"legs"` the eigenvalues of the normal part of HiPPO-LegS.
        discretization: `"zoh"`, which holds an input for the whole step, or
            `"bilinear"`.
        min_step: the least $\Delta$ that `init` draws.
        max_step: the greatest $\Delta$ that `init` draws.
        step_scale: a factor of every $\Delta$. For inputs sampled half as often as
            those in training, take 2.

    Raises:
        TypeError, ValueError: if a field has the wrong type or is out of range, or if
            `init` is given inputs that do not have H features.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> cell = rj.S4D(hidden_size=3, state_size=8)
        >>> params = cell.init(jax.random.key(0), in_features=3)
        >>> carry, ys = rj.unroll(cell, params, jnp.ones((7, 5, 3)))
        >>> ys.shape, carry.real.shape
        ((7, 5, 3), (5, 3, 8))

    References:
        Gu et al., 2022. On the parameterization and initialization of diagonal state
        space models. https://arxiv.org/abs/2206.11893

    The paper has an input vector B beside C. Only their product matters, so B is one
    here, as in the authors' code. The paper computes all outputs by one convolution;
    here they come from the states, so that sequences can go on, stop and start again.
    """

    hidden_size: Size
    state_size: Size = 32
    spectrum: Literal["lin", "inv", "legs"] = "lin"
    discretization: Literal["zoh", "bilinear"] = "zoh"
    min_step: Positive = 0.001
    max_step: Positive = 0.1
    step_scale: Positive = 1.0

    Params = S4DParams
    Carry = ComplexCarry
    output = None
    chunked = False  # on a CPU, a loop over its steps is faster

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.min_step > self.max_step:
            raise ValueError(
                f"S4D: min_step must be at most max_step={self.max_step}, got "
                f"{self.min_step}"
            )

    def init(
        self, key: jax.Array, in_features: int, dtype: DTypeLike = float
    ) -> S4DParams:
        """Return fresh parameters for inputs of `hidden_size` features."""
        H, N = self.hidden_size, self.state_size
        if in_features != H:
            raise ValueError(
                f"S4D.init: in_features must be hidden_size={H}, since the cell has "
                f"no input kernel, got {in_features}; put a linear layer before it"
            )
        k_s, k_c, k_d = jax.random.split(key, 3)
        imag = jnp.asarray(SPECTRA[self.spectrum](N), dtype)
        low, high = math.log(self.min_step), math.log(self.max_step)
        # A complex normal draw of variance one.
        C = jax.random.normal(k_c, (2, H, N), dtype) * 0.5**0.5
        return S4DParams(
            log_rate=jnp.full((H, N), math.log(0.5), dtype),
            frequency=jnp.broadcast_to(imag[None], (H, N)),
            log_step=jax.random.uniform(k_s, (H,), dtype, low, high),
            output_kernel=Complex(C[0], C[1]),
            skip=jax.random.normal(k_d, (H,), dtype),
        )

    def initial_carry(
        self,
        batch_shape: tuple[int, ...] = (),
        dtype: DTypeLike = float,
        params: Any = None,
    ) -> ComplexCarry:
        """Return a state of zeros."""
        _checks.own(self, params)
        zero = jnp.zeros((*batch_shape, self.hidden_size, self.state_size), dtype)
        return ComplexCarry(zero, zero)

    def prepare(self, params: S4DParams) -> S4DPrepared:
        """Return the recurrence in discrete time."""
        # In at least float32: the squares of frequencies overflow in float16.
        log_rate, frequency, log_step, C, skip = wide(params)
        step = self.step_scale * jnp.exp(log_step)[:, None]
        decay, held = DISCRETIZATIONS[self.discretization](
            lax.complex(-jnp.exp(log_rate) * step, frequency * step)
        )
        prepared = S4DPrepared(
            decay=Complex(decay.real, decay.imag),
            kernel=Complex(step * held.real, step * held.imag),
            output_kernel=Complex(2 * C.real, 2 * C.imag),
            skip=skip,
        )
        return jax.tree.map(lambda a: a.astype(params.log_step.dtype), prepared)

    def element(self, params: S4DPrepared, z: jax.Array) -> Diagonal:
        """Return the rotation and decay of each state, and what it takes of z, or x."""
        x, B = z[..., None], params.kernel
        added = ComplexCarry(*(expand_like(b, x) * x for b in B))
        return Diagonal(Complex(*(expand_like(a, x) for a in params.decay)), added)

    def emit(self, params: S4DPrepared, carry: ComplexCarry, z: jax.Array) -> jax.Array:
        r"""Return $2 \mathrm{Re}(\sum C s) + D x$."""
        real, imag = (expand_like(c, carry.real) for c in params.output_kernel)
        y = jnp.sum(real * carry.real - imag * carry.imag, axis=-1)
        return y + expand_like(params.skip, z) * z


# The imaginary parts of A, for N states.
SPECTRA: dict[str, Callable[[int], np.ndarray]] = {
    "lin": lambda N: np.pi * np.arange(N),
    "inv": lambda N: 2 * N / np.pi * (2 * N / (2 * np.arange(N) + 1) - 1),
    "legs": lambda N: legendre(N)[0].imag,
}
