# SPDX-License-Identifier: Apache-2.0
"""Eligibility traces: what a unit keeps by itself goes along."""

import dataclasses
from typing import Any

import jax

from recurrent_jax._checks import fields
from recurrent_jax.online._grouping import grouped
from recurrent_jax.online._influence import Dense, Grouped, Move
from recurrent_jax.online._learner import LastStep
from recurrent_jax.online._rtrl import RTRL


@dataclasses.dataclass(frozen=True)
class EProp(RTRL):
    r"""Eligibility traces, as in e-prop: the recurrent product passes no gradient back.

    $$ M_t = \frac{\partial\,\mathrm{update}}{\partial s} M_{t-1}
    + \frac{\partial f}{\partial \theta} $$

    It is `RTRL` of a cell whose recurrent product is held fixed at each step. What a
    unit keeps by itself, such as the cell state of an LSTM, is followed exactly. What
    comes back through other units is dropped, so the gradient is biased. P numbers are
    kept for each number of a unit, for cells whose update is elementwise.

    Args:
        cell: a cell with `feedback` and `update`.

    Raises:
        TypeError: if the cell has no separate recurrent product.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> cell = rj.LSTM(3)
        >>> params = cell.init(jax.random.key(0), in_features=2)
        >>> learner = rj.online.EProp(cell)
        >>> state = learner.init(params, jnp.ones((5, 2)))
        >>> state, y = learner.step(params, state, jnp.ones((5, 2)))
        >>> learner.gradient(state, y).recurrent_kernel.shape
        (3, 12)

    References:
        Bellec et al., 2020. A solution to the learning dilemma for recurrent networks
        of spiking neurons. https://doi.org/10.1038/s41467-020-17236-y
    """

    def __post_init__(self) -> None:
        fields(self)
        if not self.cell._splits:
            raise TypeError(
                f"EProp: cell {self.cell!r} defines recur, so its recurrent product is "
                "not separate; give a cell with feedback and update, or use SnAp1"
            )

    def _influence(self, params: Any, x: Any) -> Dense | Grouped:
        move = Move(self.cell, local=True)
        return grouped(move, params, x, approximate=False) or Dense(move)

    def _advance(self, last: LastStep, fixed: Any, count: jax.Array) -> Any:
        return self._influence(last.params, last.x).advance(last)
