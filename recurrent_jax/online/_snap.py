# SPDX-License-Identifier: Apache-2.0
"""Sparse approximations of real-time recurrent learning."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from recurrent_jax._core.vectors import to_vector
from recurrent_jax.online._grouping import grouped
from recurrent_jax.online._influence import Dense, Grouped, Move, pulls
from recurrent_jax.online._learner import LastStep, Learner, batch_of
from recurrent_jax.online._rtrl import row_of

_PROBES = 3


def reached(move: Move, params: Any, x: Any, steps: int) -> Any:
    """Return which states each parameter reaches within some steps, `(S, *parameter)`.

    A derivative that is zero at several random states and inputs counts as zero always.
    The sparsity of the recurrent kernel counts, if it has zeros.
    """
    carry = row_of(move.cell, params, x)
    one = jax.tree.map(lambda a: a[(0,) * len(batch_of(move.cell, x))], x)
    found: Any = None
    basis = jnp.eye(to_vector(carry).size, dtype=to_vector(carry).dtype)
    for n in range(_PROBES):
        vector, x_n = _drawn(jax.random.key(n), (to_vector(carry), one))

        def step(both: Any, x_n: Any = x_n) -> Any:
            return move(both[0], both[1], both[1], carry, x_n)

        direct, J = pulls(step, (params, vector), basis)
        hit = jax.tree.map(lambda a: a != 0, (direct, J))
        found = hit if found is None else jax.tree.map(jnp.logical_or, found, hit)
    mask, moves = found
    start = jax.tree.map(
        lambda a: a != 0, pulls(lambda p: move.start(p, carry), params, basis)
    )
    mask = jax.tree.map(jnp.logical_or, mask, start)
    for _ in range(steps - 1):
        mask = jax.tree.map(
            lambda m: m | (jnp.tensordot(moves.astype(int), m.astype(int), 1) > 0), mask
        )
    return mask


def _drawn(key: jax.Array, tree: Any) -> Any:
    """Return a tree like another one, with random numbers for its floats."""
    leaves, structure = jax.tree.flatten(tree)
    keys = jax.random.split(key, len(leaves))
    return structure.unflatten(
        [
            jax.random.normal(k, a.shape, a.dtype)
            if jnp.issubdtype(a.dtype, jnp.floating)
            else a
            for k, a in zip(keys, leaves, strict=True)
        ]
    )


@dataclasses.dataclass(frozen=True)
class SnAp1(Learner):
    r"""The influence of a parameter on the states that it reaches within one step.

    $$ M_t = K \odot \left(J_t M_{t-1} + \frac{\partial f}{\partial \theta}\right) $$

    K is one where the last term can be other than zero. In most cells a parameter acts
    on one unit, so that P numbers are kept for each number of a unit. Otherwise the
    dense matrix is kept and masked. It is exact for one layer whose units do not read
    each other, such as an `IndRNN`, and biased for most other cells. In a `Stack`, a
    parameter reaches the layers above within the same step. So a stack needs the dense
    matrix. It is exact if a unit has one number, as in a `DiagonalGRU`, and approximate
    if it has two, as in a `DiagonalLSTM` or an `LRU`, and one is reached a step later.

    Args:
        cell: any cell whose parameters are floats.

    Raises:
        TypeError: if the field is not a cell.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> cell = rj.GRU(3)
        >>> params = cell.init(jax.random.key(0), in_features=2)
        >>> learner = rj.online.SnAp1(cell)
        >>> state = learner.init(params, jnp.ones((5, 2)))
        >>> state, y = learner.step(params, state, jnp.ones((5, 2)))
        >>> learner.gradient(state, y).recurrent_kernel.shape
        (3, 9)

    References:
        Menick et al., 2021. A practical sparse approximation for real time recurrent
        learning. https://arxiv.org/abs/2006.07232
    """

    def _influence(self, params: Any, x: Any) -> Dense | Grouped:
        move = Move(self.cell)
        return grouped(move, params, x, approximate=True) or Dense(move)

    def _fixed(self, params: Any, x: Any, key: Any) -> Any:
        if isinstance(self._influence(params, x), Grouped):
            return None
        return reached(Move(self.cell), params, x, steps=1)

    def _start(self, params: Any, x: Any, fixed: Any, count: jax.Array) -> Any:
        return self._influence(params, x).start(params, row_of(self.cell, params, x))

    def _advance(self, last: LastStep, fixed: Any, count: jax.Array) -> Any:
        influence = self._influence(last.params, last.x)
        if isinstance(influence, Grouped):
            return influence.advance(last)
        return influence.advance(last, fixed)

    def _pull(self, last: LastStep, cotangent: jax.Array, fixed: Any) -> Any:
        return self._influence(last.params, last.x).pull(last, cotangent)


@dataclasses.dataclass(frozen=True)
class SnAp2(SnAp1):
    r"""The influence of a parameter on the states that it reaches within two steps.

    As `SnAp1`, with a mask that is found once, by `init`, from the Jacobians at random
    states. It saves time and memory over `RTRL` only where the recurrent kernel is
    sparse, and here none: the dense matrix is kept. With a dense kernel it is `RTRL`.

    Args:
        cell: any cell whose parameters are floats.

    Raises:
        TypeError: if the field is not a cell.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> wiring = rj.operators.Masked(rj.operators.RandomWiring(0.3))
        >>> cell = rj.Structured(rj.Elman(5), wiring)
        >>> params = cell.init(jax.random.key(0), in_features=2)
        >>> learner = rj.online.SnAp2(cell)
        >>> state = learner.init(params, jnp.ones(2))
        >>> state, y = learner.step(params, state, jnp.ones(2))
        >>> y.shape
        (5,)

    References:
        Menick et al., 2021. A practical sparse approximation for real time recurrent
        learning. https://arxiv.org/abs/2006.07232
    """

    def _influence(self, params: Any, x: Any) -> Dense:
        return Dense(Move(self.cell))

    def _fixed(self, params: Any, x: Any, key: Any) -> Any:
        return reached(Move(self.cell), params, x, steps=2)
