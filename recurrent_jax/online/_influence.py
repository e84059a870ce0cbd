# SPDX-License-Identifier: Apache-2.0
"""The influence of each parameter on the state, dense or by groups of the state."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from recurrent_jax._core.cell import Cell
from recurrent_jax._core.partition import Partition
from recurrent_jax._core.vectors import to_carry, to_vector
from recurrent_jax.online._learner import LastStep, batch_of


@dataclasses.dataclass(frozen=True)
class Move:
    """The state vector after a step of one sequence, as a value.

    Attributes:
        cell: the cell.
        local: whether the recurrent product is held fixed, so that only what a unit
            keeps by itself counts as the state before.
    """

    cell: Cell
    local: bool = False

    def __call__(self, params: Any, vector: Any, fed: Any, carry: Any, x: Any) -> Any:
        """Return the state for a state before, and one that the product reads."""
        before = to_carry(vector, carry)
        if not self.local:
            return to_vector(self.cell.step(params, before, x)[0])
        prepared = self.cell.prepare(params)
        u = self.cell.feedback(prepared, to_carry(fed, carry))
        z = self.cell.project(prepared, x)
        return to_vector(self.cell.update(prepared, before, z, u)[0])

    def start(self, params: Any, carry: Any) -> Any:
        """Return the state at the start of a sequence."""
        dtype = jax.tree.leaves(carry)[0].dtype
        return to_vector(self.cell.initial_carry((), dtype, params))


def over_rows(function: Callable[..., Any], rank: int) -> Callable[..., Any]:
    """Return a function of one sequence as one of a batch, for equal parameters."""
    for _ in range(rank):
        function = jax.vmap(function)
    return function


def pulls(function: Callable[[Any], Any], at: Any, cotangents: Any) -> Any:
    """Return the gradients by `at` for each cotangent along the first axis."""
    _, pull = jax.vjp(function, at)
    return jax.vmap(lambda cotangent: pull(cotangent)[0])(cotangents)


class Dense:
    """All derivatives of all numbers of the state, `(*batch, S, *parameter)`."""

    def __init__(self, move: Move):
        self.move = move

    def start(self, params: Any, carry: Any) -> Any:
        """Return the influence at the start of a sequence."""
        S = self.move.start(params, carry).size
        one = jnp.eye(S, dtype=jax.tree.leaves(params)[0].dtype)
        return pulls(lambda p: self.move.start(p, carry), params, one)

    def advance(self, last: LastStep, mask: Any = None) -> Any:
        """Return the influence after a step; where `mask` is False it is zero."""

        def one(carry: Any, x: Any, memory: Any) -> Any:
            before = to_vector(carry)

            def move(both: Any) -> Any:
                return self.move(both[0], both[1], before, carry, x)

            basis = jnp.eye(before.size, dtype=before.dtype)
            direct, J = pulls(move, (last.params, before), basis)
            moved = jax.tree.map(
                lambda m, i: jnp.tensordot(J, m, axes=1) + i, memory, direct
            )
            if mask is None:
                return moved
            return jax.tree.map(lambda m, on: jnp.where(on, m, 0), moved, mask)

        rank = len(batch_of(self.move.cell, last.x))
        return over_rows(one, rank)(last.carry, last.x, last.memory)

    def pull(self, last: LastStep, cotangent: jax.Array) -> Any:
        """Return the gradient of the parameters for that of the state."""
        axes = list(range(cotangent.ndim))
        return jax.tree.map(
            lambda m: jnp.tensordot(cotangent, m, axes=(axes, axes)), last.memory
        )


class Grouped:
    """The derivatives of each parameter's own group, `(*batch, n, *parameter)`.

    Attributes:
        move: the step.
        partition: the groups of the state.
        owners: for each parameter the group that it acts on.
    """

    def __init__(self, move: Move, partition: Partition, owners: Any):
        self.move, self.partition, self.owners = move, partition, owners

    def _columns(self, dtype: Any) -> jax.Array:
        """Return, for each place in a group, the vector that is one there."""
        one = jnp.eye(self.partition.size, dtype=dtype)[:, None]
        groups = len(self.partition.index)
        shape = (self.partition.size, groups, self.partition.size)
        return self.partition.merge(jnp.broadcast_to(one, shape))

    def start(self, params: Any, carry: Any) -> Any:
        """Return the influence at the start of a sequence."""
        columns = self._columns(jax.tree.leaves(params)[0].dtype)
        return pulls(lambda p: self.move.start(p, carry), params, columns)

    def advance(self, last: LastStep) -> Any:
        """Return the influence after a step."""

        def one(carry: Any, x: Any, memory: Any) -> Any:
            before = to_vector(carry)
            columns = self._columns(before.dtype)
            direct = pulls(
                lambda p: self.move(p, before, before, carry, x), last.params, columns
            )
            blocks = self._blocks(
                lambda v: self.move(last.params, v, before, carry, x), before, columns
            )

            def along(m: jax.Array, i: jax.Array, owner: Any) -> jax.Array:
                own = jnp.moveaxis(blocks[owner], (-2, -1), (0, 1))
                return jnp.einsum("jk...,k...->j...", own, m) + i

            return jax.tree.map(along, memory, direct, self.owners)

        rank = len(batch_of(self.move.cell, last.x))
        return over_rows(one, rank)(last.carry, last.x, last.memory)

    def _blocks(self, move: Any, before: jax.Array, columns: jax.Array) -> jax.Array:
        """Return the blocks of the Jacobian on its diagonal, `(groups, n, n)`."""
        if self.partition.exact:
            _, push = jax.linearize(move, before)
            return jax.vmap(
                lambda column: self.partition.split(push(column)), out_axes=-1
            )(columns)
        index = np.asarray(self.partition.index)
        J = jax.jacrev(move)(before)
        return J[index[:, :, None], index[:, None, :]]

    def pull(self, last: LastStep, cotangent: jax.Array) -> Any:
        """Return the gradient of the parameters for that of the state."""
        parts = self.partition.split(cotangent)
        batch = parts.ndim - 2

        def one(m: jax.Array, owner: Any) -> jax.Array:
            own = jnp.moveaxis(jnp.take(parts, owner, axis=batch), -1, batch)
            return jnp.sum(own * m, axis=tuple(range(batch + 1)))

        return jax.tree.map(one, last.memory, self.owners)
