# SPDX-License-Identifier: Apache-2.0
"""The exponential of a skew-symmetric matrix."""

import math

import jax
import jax.numpy as jnp
from jax import lax

_SQUARINGS = 16


def exp_skew(A: jax.Array) -> jax.Array:
    r"""Return the rotation $U = \exp(A)$ of $A = -A^\top$, `(H, H)`, by products alone.

    $$
    U = \Big(\sum_{k=0}^{16} \frac{(A / 2^s)^k}{k!}\Big)^{2^s}
    $$

    `jax.scipy.linalg.expm` solves linear equations, which JAX 0.10 may never finish
    under `vmap` on a CPU. A sum of powers is not quite orthogonal, and each squaring
    doubles that error. One step of Newton's method for $U^\top U = 1$ removes it. So U
    is closer to orthogonal than with `expm`, and as close to $\exp(A)$. Where s would
    have to be above 16, all of U is NaN, as with `expm`.

    References:
        Higham, 2008. Functions of matrices: theory and computation (scaling and
        squaring in chapter 10, the step of Newton and Schulz in section 8.3).
        https://doi.org/10.1137/1.9780898717778
    """

    def dot(a: jax.Array, b: jax.Array) -> jax.Array:
        return jnp.dot(a, b, precision=lax.Precision.HIGHEST)

    def square(n: jax.Array, U: jax.Array) -> jax.Array:
        return lax.cond(n < s, lambda U: dot(U, U), lambda U: U, U)

    eye = jnp.eye(A.shape[0], dtype=A.dtype)
    A2 = dot(A, A)
    A3, A4 = dot(A2, A), dot(A2, A2)
    # The norm of A is at most this. That of its elements may be sqrt(H) times as large.
    norm = lax.stop_gradient(jnp.max(jnp.sum(jnp.abs(A4), axis=0))) ** 0.25
    s = jnp.maximum(0, jnp.ceil(jnp.log2(norm / 0.8))).astype(int)

    half = jnp.exp2(-s.astype(A.dtype))
    powers = eye, A * half, A2 * half**2, A3 * half**3
    X4 = A4 * half**4
    U = X4 * (1 / math.factorial(16))
    for k in (12, 8, 4, 0):
        U = dot(X4, U) if k < 12 else U
        U = U + sum(X * (1 / math.factorial(k + n)) for n, X in enumerate(powers))
    U, _ = lax.scan(lambda U, n: (square(n, U), None), U, jnp.arange(_SQUARINGS))
    U = U + dot(U, eye - dot(U.T, U)) / 2
    return jnp.where(s > _SQUARINGS, jnp.nan, U)
