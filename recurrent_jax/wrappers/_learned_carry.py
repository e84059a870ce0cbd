# SPDX-License-Identifier: Apache-2.0
"""A learned initial carry."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from recurrent_jax import _checks
from recurrent_jax.wrappers._wrapper import Wrapper


class LearnedCarryParams(NamedTuple):
    """Parameters of `LearnedCarry`."""

    cell: Any  # parameters of the inner cell
    carry: Any  # like `cell.initial_carry()`, without batch axes


@dataclasses.dataclass(frozen=True)
class LearnedCarry(Wrapper):
    r"""Make the initial state of a sequence a trainable parameter.

    $$ s_0 = \theta_s $$

    Every sequence starts from this state, and every reset returns to it, unless
    `unroll` is given a `carry` or a `reset_carry`. The state is stored without batch
    axes. It is initialised to the initial carry of the inner cell.

    Args:
        cell: any cell.

    Raises:
        TypeError: if `cell` is not a cell.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> cell = rj.LearnedCarry(rj.GRU(3))
        >>> params = cell.init(jax.random.key(0), in_features=2)
        >>> def loss(params):
        ...     return rj.unroll(cell, params, jnp.ones((7, 5, 2)))[1].sum()
        >>> jax.grad(loss)(params).carry.h.shape
        (3,)

    References:
        Forcada and Carrasco, 1995. Learning the initial state of a second-order
        recurrent neural network during regular-language inference.
        https://doi.org/10.1162/neco.1995.7.5.923
    """

    Params = LearnedCarryParams

    def init(
        self, key: jax.Array, in_features: int, dtype: DTypeLike = float
    ) -> LearnedCarryParams:
        """Return fresh parameters of the inner cell, and its initial carry."""
        params = self.cell.init(key, in_features, dtype)
        carry = self.cell.initial_carry((), dtype, params)
        return LearnedCarryParams(params, carry)

    def initial_carry(
        self,
        batch_shape: tuple[int, ...] = (),
        dtype: DTypeLike = float,
        params: Any = None,
    ) -> Any:
        """Return the learned state, which is part of `params`, for each sequence.

        Raises:
            TypeError: if `params` is missing or is not a `LearnedCarryParams`.
        """
        if not isinstance(params, LearnedCarryParams):
            raise TypeError(
                "LearnedCarry.initial_carry: params must be LearnedCarryParams, got "
                f"{_checks.outline(params)}; the start is learned: pass params=params"
            )
        _checks.alike(
            "LearnedCarry.initial_carry",
            "params.carry",
            self.cell.initial_carry((), dtype, params.cell),
            params.carry,
        )
        return jax.tree.map(
            lambda s: jnp.broadcast_to(s, (*batch_shape, *s.shape)), params.carry
        )

    def prepare(self, params: LearnedCarryParams) -> Any:
        """Return the parameters in the form that the inner cell uses."""
        return self.cell.prepare(params.cell)
