# SPDX-License-Identifier: Apache-2.0
"""Use a cell of Flax Linen as a cell of this library."""

import dataclasses
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from recurrent_jax._core.cell import Cell
from recurrent_jax._core.types import Size
from recurrent_jax._flax import adapters


@dataclasses.dataclass(frozen=True)
class FromFlax(Cell):
    """Wrap a cell of Flax Linen as a cell of this library.

    The variables of the module are the parameters. The result works with every
    strategy and network, and satisfies every law. Its gradient is that of plain
    autodiff, since the step of a Flax cell cannot be split.

    Args:
        module: a `flax.linen.RNNCellBase` whose only variables are parameters, such as
            `nn.LSTMCell(features=4)`.
        feature_shape: the shape of an input that is an image,
            `(height, width, channels)`.

    Raises:
        TypeError: if `module` is not a cell of Flax Linen.

    Example:
        >>> import flax.linen as nn
        >>> import jax, jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> cell = rj.linen.FromFlax(nn.GRUCell(features=3))
        >>> params = cell.init(jax.random.key(0), in_features=2)
        >>> carry, ys = rj.unroll(cell, params, jnp.ones((7, 5, 2)))
        >>> ys.shape
        (7, 5, 3)
    """

    module: nn.RNNCellBase
    feature_shape: tuple[Size, ...] | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.module, nn.RNNCellBase):
            raise TypeError(
                "FromFlax: module must be a flax.linen.RNNCellBase such as "
                f"nn.LSTMCell(features=4), got {self.module!r}"
            )
        # A module that is built inside another module would become its submodule.
        object.__setattr__(self, "module", self.module.clone(parent=None))
        super().__post_init__()

    @property
    def feature_axes(self) -> int:  # type: ignore[override]
        """How many trailing axes of an input are features and not batch."""
        return self.module.num_feature_axes

    def init(self, key: jax.Array, in_features: int, dtype: DTypeLike = float) -> Any:
        """Return fresh variables of the module."""
        shape = self._shape(in_features)
        wide = adapters.at_least_float32(dtype)
        module = self._typed(wide)
        carry = module.initialize_carry(jax.random.key(0), shape)
        params = module.init(key, carry, jnp.zeros(shape, wide))["params"]
        return adapters.promote(jnp.zeros((), dtype).dtype, params)[0]

    def initial_carry(
        self,
        batch_shape: tuple[int, ...] = (),
        dtype: DTypeLike = float,
        params: Any = None,
    ) -> Any:
        """Return the initial carry of the module. Cells of Flax draw none at random."""
        shape = (*batch_shape, *self._shape(1))
        return self._typed(dtype).initialize_carry(jax.random.key(0), shape)

    def recur(self, params: Any, carry: Any, z: Any) -> tuple[Any, Any]:
        """Return `(carry, y)` after one step of the module."""
        return self.module.apply({"params": params}, carry, z)  # type: ignore[return-value]

    def _typed(self, dtype: DTypeLike) -> nn.RNNCellBase:
        return self.module.clone(param_dtype=jnp.zeros((), dtype).dtype)

    def _shape(self, in_features: int) -> tuple[int, ...]:
        if self.feature_shape is None and self.feature_axes > 1:
            raise ValueError(
                f"FromFlax: {type(self.module).__name__} reads {self.feature_axes} "
                "axes of features; pass their sizes as feature_shape=..."
            )
        return (in_features,) if self.feature_shape is None else self.feature_shape
