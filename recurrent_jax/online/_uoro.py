# SPDX-License-Identifier: Apache-2.0
"""An unbiased gradient from a product of two vectors."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from recurrent_jax._core.vectors import to_vector
from recurrent_jax.online._influence import Move, over_rows
from recurrent_jax.online._learner import LastStep, Learner, batch_of
from recurrent_jax.online._rtrl import row_of


class RankOne(NamedTuple):
    """Two vectors whose outer product has the influence matrix as its mean."""

    of_state: jax.Array  # (*batch, S)
    of_params: Any  # (*batch, ...) like the parameters


@dataclasses.dataclass(frozen=True)
class UORO(Learner):
    r"""Unbiased online recurrent optimisation: a random product of two vectors.

    $$
    \tilde s_t = \rho_0 J_t \tilde s_{t-1} + \rho_1 \nu_t, \qquad
    \tilde\theta_t = \tilde\theta_{t-1} / \rho_0
    + \frac{\partial f}{\partial \theta}^{\!\top} \nu_t / \rho_1
    $$

    The signs $\nu$ are random. The mean of the gradient over all draws is exact at
    fixed parameters; a single one is noisy. The scales $\rho$ keep the two vectors
    alike in norm. P + S numbers are kept. `init` needs a key.

    Args:
        cell: any cell whose parameters are floats.

    Raises:
        TypeError, ValueError: if the field is not a cell, or `init` gets no key.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> cell = rj.GRU(3)
        >>> params = cell.init(jax.random.key(0), in_features=2)
        >>> learner = rj.online.UORO(cell)
        >>> state = learner.init(params, jnp.ones((5, 2)), key=jax.random.key(1))
        >>> state, y = learner.step(params, state, jnp.ones((5, 2)))
        >>> learner.gradient(state, y).kernel.shape
        (2, 9)

    References:
        Tallec and Ollivier, 2018. Unbiased online recurrent optimization.
        https://arxiv.org/abs/1702.05043
    """

    def _fixed(self, params: Any, x: Any, key: Any) -> Any:
        if key is None:
            raise ValueError(
                "UORO.init: key is None, but UORO draws random signs; pass "
                "key=jax.random.key(0)"
            )
        return key

    def _start(self, params: Any, x: Any, fixed: Any, count: jax.Array) -> RankOne:
        carry = row_of(self.cell, params, x)
        state, pull = jax.vjp(lambda p: Move(self.cell).start(p, carry), params)
        key = jax.random.fold_in(jax.random.fold_in(fixed, count), 1)
        signs = jax.random.rademacher(key, state.shape).astype(state.dtype)
        return RankOne(signs, pull(signs)[0])

    def _advance(self, last: LastStep, fixed: Any, count: jax.Array) -> RankOne:
        move, lead = Move(self.cell), batch_of(self.cell, last.x)
        vectors = to_vector(last.carry, lead)
        key = jax.random.fold_in(fixed, count)
        signs = jax.random.rademacher(key, vectors.shape).astype(vectors.dtype)

        def one(carry: Any, x: Any, memory: RankOne, signs: jax.Array) -> RankOne:
            def step(params: Any, before: jax.Array) -> jax.Array:
                return move(params, before, before, carry, x)

            before = to_vector(carry)
            moved = jax.jvp(
                lambda v: step(last.params, v), (before,), (memory.of_state,)
            )[1]
            _, pull = jax.vjp(lambda p: step(p, before), last.params)
            (direct,) = pull(signs)
            first = balance(norm(memory.of_params), norm(moved))
            second = balance(norm(direct), norm(signs))
            return RankOne(
                first * moved + second * signs,
                jax.tree.map(
                    lambda old, new: old / first + new / second,
                    memory.of_params,
                    direct,
                ),
            )

        return over_rows(one, len(lead))(last.carry, last.x, last.memory, signs)

    def _pull(self, last: LastStep, cotangent: jax.Array, fixed: Any) -> Any:
        weight = jnp.sum(cotangent * last.memory.of_state, axis=-1)
        axes = list(range(weight.ndim))
        return jax.tree.map(
            lambda m: jnp.tensordot(weight, m, axes=(axes, axes)), last.memory.of_params
        )


def norm(tree: Any) -> jax.Array:
    """Return the Euclidean norm of all numbers of a tree."""
    leaves = jax.tree.leaves(tree)
    return jnp.sqrt(sum(jnp.sum(jnp.square(leaf)) for leaf in leaves))


def balance(of_params: jax.Array, of_state: jax.Array) -> jax.Array:
    """Return the scale that makes two norms equal, or one if one of them is zero."""
    tiny = jnp.finfo(of_state.dtype).tiny
    usable = (of_params > tiny) & (of_state > tiny)
    ratio = jnp.where(usable, of_params, 1) / jnp.where(usable, of_state, 1)
    return jnp.sqrt(ratio)
