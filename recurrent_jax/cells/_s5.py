# SPDX-License-Identifier: Apache-2.0
"""The S5 layer, a diagonal state space model with many inputs and outputs."""

import dataclasses
import functools
import math
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import DTypeLike

from recurrent_jax import _checks
from recurrent_jax._core.arrays import affine, expand_like
from recurrent_jax._core.types import Positive, Size
from recurrent_jax.cells._lru import ComplexCarry
from recurrent_jax.initializers import lecun_normal
from recurrent_jax.scans import Complex, Diagonal, LinearCell
from recurrent_jax.scans._wide import wide

LEAST_DECAY = 1e-4  # the real part of an eigenvalue is at most minus this


class S5Params(NamedTuple):
    """Parameters of `S5`, with N complex states. Each also stands for its conjugate."""

    eigenvalue: Complex  # (N,) each
    log_step: jax.Array  # (N,), the logarithm of the time that a step takes
    kernel: Complex  # (in, N) each
    output_kernel: Complex  # (N, H) each
    skip: jax.Array | None  # (in,)


class S5Prepared(NamedTuple):
    """What a step does: the parameters of `S5` in discrete time."""

    decay: Complex  # (N,) each
    kernel: Complex  # (in, N) each
    output_kernel: Complex  # (N, H) each
    skip: jax.Array | None  # (in,)


@dataclasses.dataclass(frozen=True)
class S5(LinearCell[S5Params, ComplexCarry]):
    r"""The S5: a linear differential equation, solved exactly from step to step.

    $$
    \begin{aligned}
    \dot s &= \Lambda \odot s + x B, \qquad z = \Lambda \odot \Delta \\
    s_t &= e^{z} \odot s_{t-1}
        + \Delta \odot \frac{e^{z} - 1}{z} \odot (x_t B) \\
    y_t &= 2\, \mathrm{Re}(s_t C) + D \odot x_t
    \end{aligned}
    $$

    with $(1 + z/2) / (1 - z/2)$ in place of $e^z$ and $1 / (1 - z/2)$ in place of
    $(e^z - 1) / z$ in the bilinear form. A state is complex and stands for itself and
    its conjugate, so y is twice a real part. There is no nonlinearity; put a layer with
    one between two S5s. With as many outputs as inputs the cell has the skip connection
    D, and else it has none.

    At first, $\Lambda$ are the eigenvalues of the normal part of the HiPPO-LegS matrix,
    of which there is one for each block. They have the real part -1/2.

    Args:
        hidden_size: H, the number of output features.
        state_size: N, the number of complex states, half of P in the paper. None takes
            H.
        blocks: the number of HiPPO matrices, a divisor of N; J in the paper.
        discretization: `"zoh"`, which holds an input for the whole step, or
            `"bilinear"`.
        min_step: the least $\Delta$ that `init` draws.
        max_step: the greatest $\Delta$ that `init` draws.
        step_scale: a factor of every $\Delta$. For inputs sampled half as often as
            those in training, take 2.

    Raises:
        TypeError, ValueError: if a field has the wrong type or is out of range, or if
            the blocks do not divide the states.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> cell = rj.S5(hidden_size=3, state_size=8, blocks=2)
        >>> params = cell.init(jax.random.key(0), in_features=2)
        >>> carry, ys = rj.unroll(cell, params, jnp.ones((7, 5, 2)))
        >>> ys.shape, carry.real.shape
        ((7, 5, 3), (5, 8))

    References:
        Smith, Warrington and Linderman, 2023. Simplified state space layers for
        sequence modeling. https://arxiv.org/abs/2208.04933

    The real part of $\Lambda$ is kept at or below -0.0001, so no state grows without
    bound. This is an option of the authors' code, and off by default there. `init`
    draws B with a variance of one over the number of inputs, their code with one over
    the number of states.
    """

    hidden_size: Size
    state_size: Size | None = None
    blocks: Size = 1
    discretization: Literal["zoh", "bilinear"] = "zoh"
    min_step: Positive = 0.001
    max_step: Positive = 0.1
    step_scale: Positive = 1.0

    Params = S5Params
    Carry = ComplexCarry
    output = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self._states % self.blocks:
            raise ValueError(
                f"S5: blocks must divide the number of states, {self._states}, got "
                f"{self.blocks}; blocks=1 always does"
            )
        if self.min_step > self.max_step:
            raise ValueError(
                f"S5: min_step must be at most max_step={self.max_step}, got "
                f"{self.min_step}"
            )

    @property
    def _states(self) -> int:
        return self.state_size or self.hidden_size

    def init(
        self, key: jax.Array, in_features: int, dtype: DTypeLike = float
    ) -> S5Params:
        """Return fresh parameters for inputs of `in_features` features."""
        N, H, D = self._states, self.hidden_size, in_features
        k_s, k_b, k_r, k_i, k_d = jax.random.split(key, 5)
        # In at least float32: in half precision the eigenvectors are not orthogonal.
        at_least = jnp.float32 if jnp.finfo(dtype).bits < 32 else dtype
        values, vectors = legendre(N // self.blocks)

        def in_eigenvectors(a: jax.Array) -> tuple[jax.Array, jax.Array]:
            """Return the product of each block of rows with its eigenvectors."""
            blocks = a.reshape(self.blocks, -1, a.shape[-1])
            products = (
                jnp.einsum("pn,jpf->jnf", jnp.asarray(v, at_least), blocks)
                for v in (vectors.real, vectors.imag)
            )
            re, im = (product.reshape(N, a.shape[-1]) for product in products)
            return re, im

        B = in_eigenvectors(lecun_normal(k_b, (D, 2 * N), at_least).T)
        C_re = in_eigenvectors(lecun_normal(k_r, (2 * N, H), at_least))
        C_im = in_eigenvectors(lecun_normal(k_i, (2 * N, H), at_least))
        low, high = math.log(self.min_step), math.log(self.max_step)
        params = S5Params(
            eigenvalue=Complex(
                jnp.tile(jnp.asarray(values.real, at_least), self.blocks),
                jnp.tile(jnp.asarray(values.imag, at_least), self.blocks),
            ),
            log_step=jax.random.uniform(k_s, (N,), at_least, low, high),
            # The inverse of the eigenvectors is their conjugate transpose.
            kernel=Complex(B[0].T, -B[1].T),
            output_kernel=Complex(C_re[0] - C_im[1], C_re[1] + C_im[0]),
            skip=jax.random.normal(k_d, (H,), at_least) if D == H else None,
        )
        return jax.tree.map(lambda a: a.astype(dtype), params)

    def initial_carry(
        self,
        batch_shape: tuple[int, ...] = (),
        dtype: DTypeLike = float,
        params: Any = None,
    ) -> ComplexCarry:
        """Return a state of zeros."""
        _checks.own(self, params)
        zero = jnp.zeros((*batch_shape, self._states), dtype)
        return ComplexCarry(zero, zero)

    def prepare(self, params: S5Params) -> S5Prepared:
        """Return the recurrence in discrete time."""
        # In at least float32: the squares of eigenvalues overflow in float16.
        (real, imag), log_step, B, C, skip = wide(params)
        step = self.step_scale * jnp.exp(log_step)
        decay, held = DISCRETIZATIONS[self.discretization](
            lax.complex(jnp.minimum(real, -LEAST_DECAY) * step, imag * step)
        )
        re, im = (step * held.real)[None], (step * held.imag)[None]
        kernel = Complex(re * B.real - im * B.imag, re * B.imag + im * B.real)
        twice = Complex(2 * C.real, 2 * C.imag)
        prepared = S5Prepared(Complex(decay.real, decay.imag), kernel, twice, skip)
        return jax.tree.map(lambda a: a.astype(params.log_step.dtype), prepared)

    def project(
        self, params: S5Prepared, x: jax.Array
    ) -> tuple[ComplexCarry, jax.Array | None]:
        """Return what the input adds to the states, and x if the output needs it."""
        B = params.kernel
        added = ComplexCarry(affine(x, B.real), affine(x, B.imag))
        return added, x if params.skip is not None else None

    def element(self, params: S5Prepared, z: Any) -> Diagonal:
        """Return the rotation and decay of each state, and what the input adds."""
        added, _ = z
        return Diagonal(
            Complex(*(expand_like(a, added.real) for a in params.decay)), added
        )

    def emit(self, params: S5Prepared, carry: ComplexCarry, z: Any) -> jax.Array:
        r"""Return $2 \mathrm{Re}(s C) + D x$."""
        _, x = z
        C = params.output_kernel
        y = carry.real @ C.real - carry.imag @ C.imag
        return y if params.skip is None else y + expand_like(params.skip, x) * x


def zero_order_hold(z: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return what a step of the equation keeps of a state, and takes of an input."""
    # expm1 is exp(z) - 1 without the rounding near zero.
    return jnp.exp(z), jnp.expm1(z) / z


def bilinear(z: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return what a step of the trapezoidal rule keeps of a state, and takes."""
    half = 1 / (1 - z / 2)
    return (1 + z / 2) * half, half


DISCRETIZATIONS = {"zoh": zero_order_hold, "bilinear": bilinear}


@functools.cache
def legendre(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Return half of the eigenvalues of a matrix of size 2n, and their eigenvectors.

    It is the normal part of HiPPO-LegS: -1/2 plus an antisymmetric matrix. The
    eigenvalues come in conjugate pairs, of which these have a positive imaginary part.
    """
    root = np.sqrt(2 * np.arange(2 * n) + 1)
    lower = np.tril(np.outer(root, root), -1) / 2
    # i times an antisymmetric matrix is Hermitian. Its eigenvalues are in order.
    imag, vectors = np.linalg.eigh(1j * (lower - lower.T))
    imag, vectors = imag[n:], vectors[:, n:]
    # An eigenvector may have any factor of length one. This one makes its first number
    # positive, so that every machine draws the same parameters.
    return -0.5 + 1j * imag, vectors * (np.abs(vectors[0]) / vectors[0])
