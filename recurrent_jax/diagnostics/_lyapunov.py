# SPDX-License-Identifier: Apache-2.0
"""Lyapunov exponents: how fast nearby states move apart or together."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from recurrent_jax import _checks
from recurrent_jax._core.cell import Cell
from recurrent_jax._core.input_types import Arrays, OneCell, Params
from recurrent_jax._core.types import Count, Size
from recurrent_jax._core.vectors import to_carry, to_vector
from recurrent_jax.diagnostics._path import follow


@_checks.checked
def lyapunov_exponents(
    cell: OneCell,
    params: Params,
    xs: Arrays,
    *,
    count: Size | None = None,
    burn_in: Count = 0,
    carry: Arrays | None = None,
) -> jax.Array:
    r"""Return the Lyapunov exponents of a cell along a sequence, largest first.

    $$
    J_t Q_{t - 1} = Q_t R_t, \qquad
    \lambda_j = \frac{1}{T} \sum_{t=1}^{T} \log \left| (R_t)_{jj} \right|
    $$

    Small changes of a state grow or shrink as $e^{\lambda_1 t}$. If $\lambda_1$ is
    above zero, the cell is chaotic under this input. If all exponents are below zero,
    the cell forgets its initial state. A gradient over T backward steps scales in the
    same way, so a long `gradient_by_lag` has a slope of $\lambda_1 / \ln 10$ decades
    per step.

    Args:
        cell: any cell.
        params: what `cell.init` returned.
        xs: the inputs, `(time, *batch, features)`. Use many steps; this is a limit.
        count: number of exponents; all S if None.
        burn_in: number of first steps that change $Q$ but are not part of the mean.
        carry: the state to start from.

    Returns:
        The exponents in nats per step, `(*batch, count)`. An exponent is $-\infty$ if a
        direction is lost entirely, as with inactive ReLU units.

    Raises:
        ValueError, TypeError: if shapes or types do not fit, `burn_in` leaves no step,
            or `count` is more than S.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> from recurrent_jax.diagnostics import lyapunov_exponents
        >>> from recurrent_jax.initializers import Scaled, orthogonal
        >>> cell = rj.Elman(4, activation=lambda a: a,
        ...                 recurrent_kernel_init=Scaled(orthogonal, 2.0))
        >>> params = cell.init(jax.random.key(0), in_features=2)
        >>> print(lyapunov_exponents(cell, params, jnp.zeros((50, 2))).round(3))
        [0.693 0.693 0.693 0.693]

    References:
        Benettin et al., 1980. Lyapunov characteristic exponents for smooth dynamical
        systems. https://doi.org/10.1007/BF02128236
        Engelken, Wolf and Abbott, 2023. Lyapunov spectra of chaotic recurrent neural
        networks. https://doi.org/10.1103/PhysRevResearch.5.043044
    """
    return _exponents(cell, count, burn_in, params, xs, carry)


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _exponents(
    cell: Cell, count: int | None, burn_in: int, params: Any, xs: Any, carry: Any
) -> jax.Array:
    where = "lyapunov_exponents"
    path = follow(where, cell, params, xs, carry)
    now = jax.tree.map(lambda a: a[0], path.carries)
    vector = to_vector(now, path.batch_shape)
    time, S = jax.tree.leaves(path.zs)[0].shape[0], vector.shape[-1]
    k = S if count is None else count
    if k > S:
        raise ValueError(
            f"{where}: count must be at most {S}, the floats of a state, got {k}"
        )
    if burn_in >= time:
        raise ValueError(
            f"{where}: burn_in must be below {time}, the number of steps, got {burn_in}"
        )

    def push(carry: Any, z: Any, Q: jax.Array) -> jax.Array:
        def move(v: jax.Array) -> jax.Array:
            return to_vector(cell.recur(path.params, to_carry(v, carry), z)[0])

        _, along = jax.linearize(move, to_vector(carry))
        return jax.vmap(along, in_axes=-1, out_axes=-1)(Q)

    for _ in path.batch_shape:
        push = jax.vmap(push)

    def body(Q: jax.Array, now: Any) -> tuple[jax.Array, jax.Array]:
        carry, z = now
        Q, R = jnp.linalg.qr(push(carry, z, Q))
        return Q, jnp.log(jnp.abs(jnp.diagonal(R, axis1=-2, axis2=-1)))

    # A random direction, because an axis could miss an exponent.
    Q = jax.random.orthogonal(jax.random.key(0), S, dtype=vector.dtype)[:, :k]
    Q = jnp.broadcast_to(
        Q.reshape((1,) * len(path.batch_shape) + Q.shape), (*path.batch_shape, S, k)
    )
    _, growth = lax.scan(body, Q, (path.carries, path.zs))
    return -jnp.sort(-growth[burn_in:].mean(0), axis=-1)
