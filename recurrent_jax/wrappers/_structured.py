# SPDX-License-Identifier: Apache-2.0
"""Recurrent matrices stored in a structured form."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from recurrent_jax import _checks
from recurrent_jax._checks.input_kinds import OneArray, Tree
from recurrent_jax.operators._operators import Operator
from recurrent_jax.wrappers._wrapper import Wrapper

_STORED = Tree(OneArray("floating-point", least=1, axes="(gates, ...)"))


class StructuredParams(NamedTuple):
    """Parameters of `Structured`."""

    cell: Any  # parameters of the inner cell, without a recurrent kernel
    recurrent_kernel: Any  # what the operator stores, stacked over gates


@dataclasses.dataclass(frozen=True)
class Structured(Wrapper):
    r"""Store the recurrent matrix of each gate in a structured form.

    $$ U_k = \mathrm{dense}(\theta_k) \qquad \text{for every gate } k $$

    The parameters are those of the cell without its recurrent kernel, and what the
    operator stores, stacked over gates along the first axis. `prepare` builds the dense
    matrices outside the loop: once per `unroll`, and once per `step`. A constraint is
    therefore satisfied exactly, and there are fewer numbers to train. A step still
    multiplies by a dense matrix.

    Args:
        cell: a cell with a `recurrent_kernel` of square gates, `(H, gates * H)`.
        operator: an operator of `recurrent_jax.operators`, or your own subclass of
            `Operator`.

    Raises:
        TypeError, ValueError: if `cell` is not a cell or has no such kernel, or if the
            operator does not fit its size.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> cell = rj.Structured(rj.LSTM(6), rj.operators.LowRank(rank=2))
        >>> params = cell.init(jax.random.key(0), in_features=2)
        >>> params.recurrent_kernel.left.shape
        (4, 6, 2)
        >>> carry, ys = rj.unroll(cell, params, jnp.ones((7, 5, 2)))
        >>> cell.prepare(params).recurrent_kernel.shape, ys.shape
        ((6, 24), (7, 5, 6))
    """

    operator: Operator

    Params = StructuredParams

    def __post_init__(self) -> None:
        if not isinstance(self.operator, Operator):
            raise TypeError(
                "Structured: operator must be one such as "
                f"rj.operators.LowRank(rank=2), got {self.operator!r}"
            )
        super().__post_init__()

    def init(
        self, key: jax.Array, in_features: int, dtype: DTypeLike = float
    ) -> StructuredParams:
        """Return fresh parameters. Those of the operator replace the kernel."""
        params = self.cell.init(key, in_features, dtype)
        kernel: Any = getattr(params, "recurrent_kernel", None)
        is_matrix = getattr(kernel, "ndim", 0) == 2
        size, width = kernel.shape if is_matrix else (1, 1)
        if not is_matrix or width % size:
            raise ValueError(
                f"Structured: {self.cell!r} has no recurrent_kernel of shape "
                "(H, gates * H); wrap the cell that has it, and other wrappers around"
            )
        # `fold_in` makes these draws independent of those of the cell.
        keys = jax.random.split(jax.random.fold_in(key, 1), width // size)
        stored = [self.operator.init(k, size, dtype) for k in keys]
        stored = jax.tree.map(lambda *gates: jnp.stack(gates), *stored)
        return StructuredParams(params._replace(recurrent_kernel=None), stored)

    def initial_carry(
        self,
        batch_shape: tuple[int, ...] = (),
        dtype: DTypeLike = float,
        params: StructuredParams | None = None,
    ) -> Any:
        """Return the initial carry of the inner cell."""
        _checks.own(self, params)
        inner = None if params is None else params.cell
        return self.cell.initial_carry(batch_shape, dtype, inner)

    def prepare(self, params: StructuredParams) -> Any:
        """Return the inner cell's parameters, with dense matrices."""
        if not isinstance(params, StructuredParams):
            raise TypeError(
                "Structured.prepare: params must be StructuredParams, as init returns "
                f"them, got {_checks.outline(params)}"
            )
        stored = params.recurrent_kernel
        _STORED.check("Structured.prepare", "params.recurrent_kernel", stored)
        gates = jax.vmap(self.operator.dense)(stored)
        kernel = jnp.concatenate(list(gates), axis=-1)
        return self.cell.prepare(params.cell._replace(recurrent_kernel=kernel))
