# SPDX-License-Identifier: Apache-2.0
"""The cells of Flax where ours are expected."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

from recurrent_jax._core.cell import Cell
from recurrent_jax._flax import adapters


@dataclasses.dataclass(frozen=True)
class FromFlax(Cell):
    """A cell of Flax NNX as a cell of ours, with its state as the parameters.

    Every law, strategy and network then holds for it. `nnx.state(module)` are the
    parameters of a module that there is already, and `nnx.update(module, params)`
    gives them back.

    Args:
        make: called as `make(in_features, param_dtype=..., rngs=...)`, returns an
            `nnx.RNNCellBase` whose only variables are parameters:
            `functools.partial(nnx.LSTMCell, hidden_features=4)`. `nnx.SimpleCell`
            computes in float32 unless it is told `dtype=None`.

    Example:
        >>> import functools
        >>> import jax, jax.numpy as jnp
        >>> from flax import nnx
        >>> import recurrent_jax as rj
        >>> cell = rj.nnx.FromFlax(functools.partial(nnx.GRUCell, hidden_features=3))
        >>> params = cell.init(jax.random.key(0), in_features=2)
        >>> carry, ys = rj.unroll(cell, params, jnp.ones((7, 5, 2)))
        >>> ys.shape
        (7, 5, 3)
    """

    make: Callable[..., Any]

    def init(self, key: jax.Array, in_features: int, dtype: DTypeLike = float) -> Any:
        """Return the state of a fresh module."""
        wide = adapters.at_least_float32(dtype)
        module = self.make(in_features, param_dtype=wide, rngs=nnx.Rngs(key))
        return adapters.promote(jnp.zeros((), dtype).dtype, nnx.state(module))[0]

    def initial_carry(
        self,
        batch_shape: tuple[int, ...] = (),
        dtype: DTypeLike = float,
        params: Any = None,
    ) -> Any:
        """Return the carry that the module makes."""
        carry = self._module(1).initialize_carry((*batch_shape, 1), nnx.Rngs(0))
        return adapters.promote(jnp.zeros((), dtype).dtype, carry)[0]

    def recur(self, params: Any, carry: Any, z: Any) -> tuple[Any, Any]:
        """Return `(carry, y)` after one step of the module."""
        graph = nnx.graphdef(self._module(z.shape[-1]))
        return nnx.merge(graph, params)(carry, z)  # type: ignore[no-any-return]

    def _module(self, in_features: int) -> Any:
        """Return the module with shapes for parameters."""
        return nnx.eval_shape(
            lambda: self.make(in_features, param_dtype=jnp.float32, rngs=nnx.Rngs(0))
        )
