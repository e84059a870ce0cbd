# SPDX-License-Identifier: Apache-2.0
"""Use a cell of Flax NNX as a cell of this library."""

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
    """Wrap a cell of Flax NNX as a cell of this library.

    The state of the module is the parameters. The result works with every strategy and
    network, and satisfies every law. For a module that already exists,
    `nnx.state(module)` returns the parameters, and `nnx.update(module, params)` writes
    them back.

    Args:
        make: a function that is called as `make(in_features, param_dtype=...,
            rngs=...)` and returns an `nnx.RNNCellBase` whose only variables are
            parameters, such as `functools.partial(nnx.LSTMCell, hidden_features=4)`.
            `nnx.SimpleCell` computes in float32 unless you pass `dtype=None`.

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
        """Return the state of a new module."""
        wide = adapters.at_least_float32(dtype)
        module = self.make(in_features, param_dtype=wide, rngs=nnx.Rngs(key))
        return adapters.promote(jnp.zeros((), dtype).dtype, nnx.state(module))[0]

    def initial_carry(
        self,
        batch_shape: tuple[int, ...] = (),
        dtype: DTypeLike = float,
        params: Any = None,
    ) -> Any:
        """Return the initial carry of the module."""
        carry = self._module(1).initialize_carry((*batch_shape, 1), nnx.Rngs(0))
        return adapters.promote(jnp.zeros((), dtype).dtype, carry)[0]

    def recur(self, params: Any, carry: Any, z: Any) -> tuple[Any, Any]:
        """Return `(carry, y)` after one step of the module."""
        graph = nnx.graphdef(self._module(z.shape[-1]))
        return nnx.merge(graph, params)(carry, z)  # type: ignore[no-any-return]

    def _module(self, in_features: int) -> Any:
        """Return the module with shapes in place of its parameters."""
        return nnx.eval_shape(
            lambda: self.make(in_features, param_dtype=jnp.float32, rngs=nnx.Rngs(0))
        )
