# SPDX-License-Identifier: Apache-2.0
"""Comparison of cells and initialisations."""

from collections.abc import Mapping
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp

from recurrent_jax import _checks
from recurrent_jax._checks.input_kinds import Named
from recurrent_jax._core.cell import Cell
from recurrent_jax._core.input_types import CELL, FloatArrays
from recurrent_jax._core.types import Key, Size
from recurrent_jax.diagnostics._gradients import decades, gradient_by_lag
from recurrent_jax.diagnostics._lyapunov import lyapunov_exponents

Cells = Annotated[Mapping[str, Cell], Named(CELL, least=1)]


class Comparison(NamedTuple):
    """The diagnostics of one cell."""

    gradient: jax.Array  # (time, *batch), what gradient_by_lag returns
    decades: jax.Array  # (), per 100 steps
    exponents: jax.Array  # (*batch, count), what lyapunov_exponents returns


@_checks.checked
def compare(
    cells: Cells, xs: FloatArrays, *, key: Key, count: Size = 8
) -> dict[str, Comparison]:
    """Return gradients by lag and Lyapunov exponents of new cells, on the same input.

    All are initialised from the same key.

    Args:
        cells: by name. Two cells may differ only in their initialisers.
        xs: the inputs, `(time, *batch, features)`, of two steps or more.
        key: of the initialisation.
        count: number of exponents; fewer if a state has fewer floats.

    Returns:
        A `Comparison` for each name; `plot_comparison` draws them.

    Raises:
        ValueError, TypeError: if shapes or types do not fit, or there is no step.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> from recurrent_jax.diagnostics import compare
        >>> cells = {"Elman": rj.Elman(4), "LSTM": rj.LSTM(4)}
        >>> found = compare(cells, jnp.ones((20, 3, 2)), key=jax.random.key(0))
        >>> found["LSTM"].gradient.shape, found["LSTM"].exponents.shape
        ((20, 3), (3, 8))
    """
    found: dict[str, Comparison] = {}
    first = _steps("compare", xs)
    for name, cell in cells.items():
        params = cell.init(key, first.shape[-1], first.dtype)
        curve = gradient_by_lag(cell, params, xs)
        state = jax.tree.leaves(cell.initial_carry(params=params))
        most = min(count, sum(part.size for part in state))
        exponents = lyapunov_exponents(cell, params, xs, count=most)
        found[name] = Comparison(curve, decades(curve), exponents)
    return found


def _steps(where: str, xs: Any) -> jax.Array:
    """Return the first input, checked to have two steps and features."""
    first = jnp.asarray(jax.tree.leaves(xs)[0])
    if first.ndim < 2 or len(first) < 2:
        raise ValueError(
            f"{where}: xs must be (time, *batch, features), of two steps or more; got "
            f"{_checks.describe(first)}"
        )
    return first
