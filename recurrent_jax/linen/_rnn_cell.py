# SPDX-License-Identifier: Apache-2.0
"""Use a cell of this library as a cell of Flax Linen."""

from typing import Any

import flax.linen as nn
import jax

from recurrent_jax import _checks
from recurrent_jax._core.kinds import OneCell
from recurrent_jax._flax import adapters
from recurrent_jax.linen._module import Module


class RNNCell(Module, nn.RNNCellBase):
    """Wrap a cell as a Flax cell, for `flax.linen.RNN` or your own loop.

    Args:
        cell: a cell, of this library or your own.

    The other fields are those of `RNN`. A cell that draws random numbers needs
    `split_rngs={"params": False, "dropout": True}` in `flax.linen.RNN`. With
    `"dropout": False`, it draws once for the whole sequence.

    Example:
        >>> import flax.linen as nn
        >>> import jax, jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> rnn = nn.RNN(rj.linen.RNNCell(rj.LSTM(hidden_size=3)))
        >>> ys, variables = rnn.init_with_output(
        ...     jax.random.key(0), jnp.ones((5, 7, 2)))
        >>> ys.shape
        (5, 7, 3)
    """

    cell: OneCell

    def __call__(
        self, carry: Any, inputs: Any, *, deterministic: bool | None = None
    ) -> tuple[Any, Any]:
        """Return `(carry, y)` after one step, in Flax's order of arguments."""
        _checks.order("RNNCell", self.cell, carry, inputs, "(carry, inputs)")
        features = adapters.in_features("RNNCell", inputs, self.in_features)
        params = self._params(self.cell, features)
        carry = _checks.arrays("RNNCell", "carry", carry)
        inputs = _checks.arrays("RNNCell", "inputs", inputs)
        params, carry, x = adapters.promote(self.dtype, params, carry, inputs)
        key = self._key(self.cell, features, deterministic)
        return adapters.step(self.cell, params, carry, x, key)

    @nn.nowrap
    def initialize_carry(self, rng: jax.Array, input_shape: tuple[int, ...]) -> Any:
        """Return the initial carry of a sequence. `rng` is not used.

        An unbound module has no parameters, so its initial carry cannot be learned.
        """
        dtype = self.param_dtype if self.dtype is None else self.dtype
        batch_shape = tuple(input_shape[: -self.num_feature_axes])
        if self.scope is None:
            return self.cell.initial_carry(batch_shape, dtype)
        params = self._params(self.cell, self.in_features or input_shape[-1])
        (params,) = adapters.promote(dtype, params)
        return self.cell.initial_carry(batch_shape, dtype, params)

    @property
    def num_feature_axes(self) -> int:
        """The number of trailing axes of an input that are features, not batch."""
        return self.cell.feature_axes
