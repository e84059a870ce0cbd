# SPDX-License-Identifier: Apache-2.0
"""The base class of all Linen modules."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.core import FrozenDict

from recurrent_jax import _checks
from recurrent_jax._checks.kinds import PLAIN
from recurrent_jax._core.cell import Cell
from recurrent_jax._core.kinds import Named
from recurrent_jax._core.network import Network
from recurrent_jax._core.types import DType, Size
from recurrent_jax._flax import adapters
from recurrent_jax._flax.names import known


class Module(nn.Module, kw_only=True):
    """The base class: dtypes, parameters, and keys for random numbers."""

    deterministic: bool | None = None
    dtype: DType | None = None
    param_dtype: DType = jnp.float32
    in_features: Size | None = None
    partition: Named = FrozenDict()

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        cls.__init__ = known(cls.__init__)  # type: ignore[method-assign]

    def __post_init__(self) -> None:
        _checks.fields(self, hashable=False)
        # A plain dict would not hash.
        object.__setattr__(self, "partition", FrozenDict(self.partition))
        super().__post_init__()

    @nn.nowrap
    def _params(self, part: Cell | Network, features: int) -> Any:
        """Return the parameters. Missing ones are drawn during initialisation."""
        where, like = type(self).__name__, _checks.fresh(part, features)
        names = list(adapters.nest(like))
        absent = [name for name in names if not self.has_variable("params", name)]
        if absent and self.is_mutable_collection("params"):
            boxes = adapters.named(where, self.partition, like)
            drawn = part.init(self.make_rng("params"), features, self.param_dtype)
            tree = adapters.nest(drawn, lambda path, p: _boxed(boxes.get(path), p))
            for name in absent:
                self.put_variable("params", name, tree[name])
        tree = nn.meta.unbox(self.variables.get("params", {}))
        return adapters.unnest(where, tree, like)

    @nn.nowrap
    def _key(self, part: Cell | Network, features: int, flag: bool | None) -> Any:
        """Return a key from the stream `dropout`, or None for evaluation mode."""
        if flag is not None:
            PLAIN[bool].check(type(self).__name__, "deterministic", flag)
        if not adapters.draws(part, features):
            return None
        evaluate = nn.merge_param("deterministic", self.deterministic, flag)
        return None if evaluate else self.make_rng("dropout")


def _boxed(wrap: Callable[..., Any] | None, param: jax.Array) -> Any:
    return param if wrap is None else wrap(lambda: param)()
