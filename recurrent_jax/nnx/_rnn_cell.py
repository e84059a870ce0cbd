# SPDX-License-Identifier: Apache-2.0
"""Use a cell of this library as a cell of Flax NNX."""

from typing import Any

from flax import nnx

from recurrent_jax import _checks
from recurrent_jax._core.kinds import OneCell
from recurrent_jax._core.types import Size
from recurrent_jax._flax import adapters
from recurrent_jax.nnx._module import Module, Streams, unpack


class RNNCell(Module, nnx.RNNCellBase):
    """Wrap a cell as a Flax cell, for `nnx.RNN` or your own loop.

    Args:
        cell: a cell, of this library or your own.
        in_features: the number of features of an input.
        options: `deterministic`, `dtype`, `param_dtype`, `metadata` and `rngs`, as in
            `RNN`.

    Example:
        >>> import jax.numpy as jnp
        >>> from flax import nnx
        >>> import recurrent_jax as rj
        >>> cell = rj.nnx.RNNCell(rj.LSTM(hidden_size=3), 2, rngs=nnx.Rngs(0))
        >>> nnx.RNN(cell)(jnp.ones((5, 7, 2))).shape
        (5, 7, 3)
    """

    @_checks.checked
    def __init__(self, cell: OneCell, in_features: Size, **options: Any) -> None:
        super().__init__(cell, in_features, **options)
        self.cell = cell

    def __call__(
        self,
        carry: Any,
        inputs: Any,
        *,
        deterministic: bool | None = None,
        rngs: Streams | None = None,
    ) -> tuple[Any, Any]:
        """Return `(carry, y)` after one step, in Flax's order of arguments."""
        _checks.order("RNNCell", self.cell, carry, inputs, "(carry, inputs)")
        carry = _checks.arrays("RNNCell", "carry", carry)
        inputs = _checks.arrays("RNNCell", "inputs", inputs)
        params, carry, x = adapters.promote(self.dtype, unpack(self), carry, inputs)
        return adapters.step(
            self.cell, params, carry, x, self._key(deterministic, rngs)
        )

    def initialize_carry(
        self,
        input_shape: tuple[int, ...],
        rngs: Streams | None = None,
        carry_init: Any = None,
    ) -> Any:
        """Return the initial carry of a sequence. `rngs` is not used.

        Raises:
            ValueError: if `carry_init` is given. The cell chooses its initial carry.
        """
        if carry_init is not None:
            raise ValueError(
                "RNNCell: a start is the cell's own, so carry_init has no effect; pass "
                "initial_carry to nnx.RNN"
            )
        (params,) = adapters.promote(self.dtype, unpack(self))
        dtype = self.param_dtype if self.dtype is None else self.dtype
        batch_shape = tuple(input_shape[: -self.num_feature_axes])
        return self.cell.initial_carry(batch_shape, dtype, params)

    @property
    def num_feature_axes(self) -> int:
        """The number of trailing axes of an input that are features, not batch."""
        return self.cell.feature_axes
