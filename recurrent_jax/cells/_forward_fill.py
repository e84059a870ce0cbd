# SPDX-License-Identifier: Apache-2.0
"""The last observed value of each variable, and the time since then."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from recurrent_jax import _checks
from recurrent_jax._core.cell import Cell
from recurrent_jax._core.types import Size
from recurrent_jax.cells._timed import part


class Observed(NamedTuple):
    """A raw series with missing values, the input of `ForwardFill`."""

    x: jax.Array  # (*lead, in), with any value where missing, NaN included
    mask: jax.Array  # (*lead, in), bool: True where observed
    elapsed: jax.Array  # (*lead,), the time since the step before


class Filled(NamedTuple):
    """A series with its last observed values, the input of `GRUD`."""

    x: jax.Array  # (*lead, in)
    mask: jax.Array  # (*lead, in), bool: True where observed
    elapsed: jax.Array  # (*lead, in), the time since the variable was last observed


class ForwardFillCarry(NamedTuple):
    """State of `ForwardFill`."""

    last: jax.Array  # (*batch, in)
    age: jax.Array  # (*batch, in)


@dataclasses.dataclass(frozen=True)
class ForwardFill(Cell[tuple[()], ForwardFillCarry, Any]):
    r"""A cell without parameters that keeps the last observed value of each variable.

    $$
    \begin{aligned}
    \delta_t &= \Delta_t + a_{t-1} && \text{time since the last observation} \\
    x'_t &= m_t \odot x_t + (1 - m_t) \odot x'_{t-1} && \text{last observed value} \\
    a_t &= (1 - m_t) \odot \delta_t, \qquad y_t = (x'_t, m_t, \delta_t)
    \end{aligned}
    $$

    It prepares a series for `GRUD`. Since it is a cell, resets, lengths and runs in
    chunks work as they do for the cell that follows. Pass the same ones to both. A
    variable that was never observed is 0, and its time is measured from the start.

    Args:
        in_features: the number of variables.

    Raises:
        TypeError, ValueError: if the size is not a positive integer, or if an input is
            not `Observed`.

    Example:
        >>> import jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> xs = jnp.array([[5.0], [jnp.nan], [jnp.nan], [6.0]])
        >>> raw = rj.cells.Observed(xs, mask=~jnp.isnan(xs), elapsed=jnp.ones(4))
        >>> carry, filled = rj.unroll(rj.ForwardFill(in_features=1), (), raw)
        >>> print(filled.x[:, 0], filled.elapsed[:, 0])
        [5. 5. 5. 6.] [1. 1. 2. 3.]

    References:
        Che, Purushotham, Cho, Sontag and Liu, 2018. Recurrent neural networks for
        multivariate time series with missing values. https://arxiv.org/abs/1606.01865
    """

    in_features: Size

    Carry = ForwardFillCarry
    output = None
    rowwise = True

    def init(
        self, key: jax.Array, in_features: int, dtype: DTypeLike = float
    ) -> tuple[()]:
        """Return no parameters."""
        return ()

    def initial_carry(
        self,
        batch_shape: tuple[int, ...] = (),
        dtype: DTypeLike = float,
        params: Any = None,
    ) -> ForwardFillCarry:
        """Return zeros, since nothing was observed yet."""
        zero = jnp.zeros((*batch_shape, self.in_features), dtype)
        return ForwardFillCarry(last=zero, age=zero)

    def out_features(self, in_features: int) -> int:
        """Return the number of variables."""
        return self.in_features

    def project(self, params: tuple[()], x: Observed) -> Observed:
        """Return the input."""
        _check_parts(self, x, Observed, self.in_features, None)
        return x

    def recur(
        self, params: tuple[()], carry: ForwardFillCarry, z: Observed
    ) -> tuple[ForwardFillCarry, Filled]:
        """Return the new state, and the input with its last observed values."""
        delta = z.elapsed[..., None] + carry.age
        last = jnp.where(z.mask, z.x, carry.last)
        age = jnp.where(z.mask, jnp.zeros_like(delta), delta)
        return ForwardFillCarry(last, age), Filled(last, z.mask, delta)


def check_filled(cell: Any, inputs: Any, kernel: jax.Array) -> None:
    """Check that an input is `Filled` and fits the kernel, `(in, out)`."""
    _check_parts(cell, inputs, Filled, kernel.shape[0], kernel.dtype)


def _check_parts(cell: Any, inputs: Any, kind: Any, size: int, dtype: Any) -> None:
    name = type(cell).__name__
    if not isinstance(inputs, kind):
        hint = (
            "; rj.ForwardFill makes it of rj.cells.Observed" if kind is Filled else ""
        )
        raise TypeError(
            f"{name}: the input must be {kind.__name__}(x, mask, elapsed), got "
            f"{_checks.outline(inputs)}{hint}"
        )
    shape = (*inputs.x.shape[:-1], size)
    dtype = inputs.x.dtype if dtype is None else dtype
    part(name, "x", inputs.x, shape, dtype)
    part(name, "mask", inputs.mask, shape, bool)
    part(
        name,
        "elapsed",
        inputs.elapsed,
        shape[:-1] if kind is Observed else shape,
        dtype,
    )
