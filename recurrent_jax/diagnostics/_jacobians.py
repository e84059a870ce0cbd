# SPDX-License-Identifier: Apache-2.0
"""Jacobians of single steps."""

import functools
from typing import Any

import jax
import jax.numpy as jnp

from recurrent_jax import _checks
from recurrent_jax._core.cell import Cell
from recurrent_jax._core.input_types import Arrays, OneCell, Params
from recurrent_jax._core.vectors import to_carry, to_vector
from recurrent_jax.diagnostics._path import follow


@_checks.checked
def jacobians(
    cell: OneCell, params: Params, xs: Arrays, *, carry: Arrays | None = None
) -> jax.Array:
    r"""Return the Jacobian of every step along a sequence.

    $$ J_t = \frac{\partial s_t}{\partial s_{t - 1}} $$

    The state is the concatenation of all parts of the carry, $[h, c]$ for an LSTM. S is
    the number of its floats, 2 H for an LSTM.

    Args:
        cell: any cell.
        params: what `cell.init` returned.
        xs: the inputs, `(time, *batch, features)`.
        carry: the state to start from.

    Returns:
        The Jacobians, `(time, *batch, S, S)`, after by before. They take much memory,
        so use small batches.

    Raises:
        ValueError, TypeError: if shapes or types do not fit, or there is no step.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> from recurrent_jax.diagnostics import jacobians
        >>> cell = rj.LSTM(hidden_size=3)
        >>> params = cell.init(jax.random.key(0), in_features=2)
        >>> jacobians(cell, params, jnp.ones((7, 5, 2))).shape
        (7, 5, 6, 6)
    """
    return _jacobians("jacobians", cell, params, xs, carry)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _jacobians(where: str, cell: Cell, params: Any, xs: Any, carry: Any) -> jax.Array:
    path = follow(where, cell, params, xs, carry)

    def one(carry: Any, z: Any) -> jax.Array:
        def move(v: jax.Array) -> jax.Array:
            return to_vector(cell.recur(path.params, to_carry(v, carry), z)[0])

        return jax.jacfwd(move)(to_vector(carry))

    every = one
    for _ in range(1 + len(path.batch_shape)):
        every = jax.vmap(every)
    return every(path.carries, path.zs)


@_checks.checked
def singular_values(
    cell: OneCell, params: Params, xs: Arrays, *, carry: Arrays | None = None
) -> jax.Array:
    r"""Return the singular values of the Jacobian of every step, largest first.

    $$ J_t = U_t \, \mathrm{diag}(\varsigma_t) \, V_t^\top $$

    They bound how much a step can change the norm of a gradient. If all are near one,
    the cell has dynamical isometry. If all are below one, gradients must vanish.

    Args:
        cell: any cell.
        params: what `cell.init` returned.
        xs: the inputs, `(time, *batch, features)`.
        carry: the state to start from.

    Returns:
        The values $\varsigma_t$, `(time, *batch, S)`.

    Raises:
        ValueError, TypeError: if shapes or types do not fit, or there is no step.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> from recurrent_jax.diagnostics import singular_values
        >>> cell = rj.Elman(hidden_size=3)
        >>> params = cell.init(jax.random.key(0), in_features=2)
        >>> print(singular_values(cell, params, jnp.zeros((1, 2))).round(3))
        [[1. 1. 1.]]

    References:
        Saxe, McClelland and Ganguli, 2014. Exact solutions to the nonlinear dynamics of
        learning in deep linear neural networks. https://arxiv.org/abs/1312.6120
    """
    every = _jacobians("singular_values", cell, params, xs, carry)
    return jnp.linalg.svd(every, compute_uv=False)
