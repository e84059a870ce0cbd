# SPDX-License-Identifier: Apache-2.0
"""Real-time recurrent learning: the exact gradient, carried forward."""

import dataclasses
from typing import Any

import jax

from recurrent_jax.online._grouping import grouped
from recurrent_jax.online._influence import Dense, Grouped, Move
from recurrent_jax.online._learner import LastStep, Learner


def row_of(cell: Any, params: Any, x: Any) -> Any:
    """Return a carry of one sequence."""
    dtype = jax.tree.leaves((params, x))[0].dtype
    return cell.initial_carry((), dtype, params)


@dataclasses.dataclass(frozen=True)
class RTRL(Learner):
    r"""The exact gradient: the derivative of the state by the parameters goes along.

    $$
    M_t = J_t M_{t-1} + \frac{\partial f}{\partial \theta}(s_{t-1}, x_t), \qquad
    \bar\theta_t = \frac{\partial y_t}{\partial \theta}^{\!\top} \bar y_t
    + M_{t-1}^\top \frac{\partial y_t}{\partial s_{t-1}}^{\!\top} \bar y_t
    $$

    At fixed parameters, the sum of the gradients of all steps is that of
    back-propagation through the whole sequence, for any cell. M has S P numbers and a
    step costs $S^2 P$ operations, so it is for small cells.

    If the state falls into groups that do not read each other, and each parameter acts
    on one group, only its own group is kept: P numbers for an `IndRNN`, 2 P for an
    `LRU`. That is found from the cell and is exact too. It holds for one layer. In a
    `Stack`, the second layer reads the first, so the dense form is used.

    Args:
        cell: any cell whose parameters are floats.

    Raises:
        TypeError: if the field is not a cell.

    Example: The gradient of a sum over a sequence, in memory that does not grow:

        >>> import jax, jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> cell = rj.GRU(3)
        >>> params = cell.init(jax.random.key(0), in_features=2)
        >>> learner, xs = rj.online.RTRL(cell), jnp.ones((7, 2))
        >>> def body(state, x):
        ...     state, y = learner.step(params, state, x)
        ...     return state, learner.gradient(state, jnp.ones_like(y))
        >>> _, slopes = jax.lax.scan(body, learner.init(params, xs[0]), xs)
        >>> want = jax.grad(lambda p: rj.unroll(cell, p, xs)[1].sum())(params)
        >>> bool(jnp.allclose(slopes.kernel.sum(0), want.kernel, atol=1e-5))
        True

    References:
        Williams and Zipser, 1989. A learning algorithm for continually running fully
        recurrent neural networks. https://doi.org/10.1162/neco.1989.1.2.270
        Zucchet et al., 2023. Online learning of long-range dependencies.
        https://arxiv.org/abs/2305.15947
    """

    def _influence(self, params: Any, x: Any) -> Dense | Grouped:
        move = Move(self.cell)
        return grouped(move, params, x, approximate=False) or Dense(move)

    def _start(self, params: Any, x: Any, fixed: Any, count: jax.Array) -> Any:
        carry = row_of(self.cell, params, x)
        return self._influence(params, x).start(params, carry)

    def _advance(self, last: LastStep, fixed: Any, count: jax.Array) -> Any:
        return self._influence(last.params, last.x).advance(last)

    def _pull(self, last: LastStep, cotangent: jax.Array, fixed: Any) -> Any:
        return self._influence(last.params, last.x).pull(last, cotangent)
