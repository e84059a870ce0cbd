# SPDX-License-Identifier: Apache-2.0
"""The base class of all NNX modules."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any

import jax.numpy as jnp
from flax import nnx

from recurrent_jax import _checks
from recurrent_jax._checks.kinds import PLAIN, Plain
from recurrent_jax._core.cell import Cell
from recurrent_jax._core.kinds import Named
from recurrent_jax._core.network import Network
from recurrent_jax._core.types import DType
from recurrent_jax._flax import adapters
from recurrent_jax._flax.names import known

NONE: Mapping[str, Mapping[str, Any]] = MappingProxyType({})
Streams = nnx.Rngs | nnx.RngStream
Rngs = Annotated[nnx.Rngs, Plain("streams of keys such as nnx.Rngs(0)", (nnx.Rngs,))]
_STREAMS = Plain(
    "streams of keys such as nnx.Rngs(dropout=0)", (nnx.Rngs, nnx.RngStream)
)


class Module(nnx.Module):
    """The base class: dtypes, parameters, and a stream of keys for random numbers."""

    @known
    @_checks.checked
    def __init__(
        self,
        network: Cell | Network,
        in_features: int,
        *,
        deterministic: bool = False,
        dtype: DType | None = None,
        param_dtype: DType = jnp.float32,
        metadata: Named = NONE,
        rngs: Rngs,
    ) -> None:
        self.network = network
        self.in_features = in_features
        self.deterministic = deterministic
        self.dtype = dtype
        self.param_dtype = param_dtype
        drawn = network.init(rngs.params(), in_features, param_dtype)
        said = adapters.named(type(self).__name__, metadata, drawn)
        self.params = _variables(
            adapters.nest(drawn, lambda path, p: nnx.Param(p, **said.get(path, {})))
        )
        # If nothing draws random numbers, there is no stream. Its state would prevent
        # users from splitting a model into parameters and nothing else.
        self.draws = adapters.draws(network, in_features)
        self.rngs: Any = self._stream(rngs) if self.draws else nnx.data(None)

    def set_view(self, deterministic: bool | None = None) -> None:
        """Set whether random numbers are drawn. `flax.nnx.view` calls it."""
        if deterministic is not None:
            PLAIN[bool].check(type(self).__name__, "deterministic", deterministic)
            self.deterministic = deterministic

    def _stream(self, rngs: nnx.Rngs) -> nnx.RngStream:
        """Return a stream of keys of its own for dropout."""
        try:
            return rngs["dropout"].fork()
        except KeyError:
            raise ValueError(
                f"{type(self).__name__}: rngs has no stream dropout, of which random "
                "numbers are drawn; pass nnx.Rngs(0), or nnx.Rngs(params=0, dropout=1)"
            ) from None

    def _key(self, flag: bool | None, given: Streams | None) -> Any:
        """Return a key from the stream `dropout`, or None for evaluation mode."""
        where = type(self).__name__
        if flag is not None:
            PLAIN[bool].check(where, "deterministic", flag)
        if given is not None:
            _STREAMS.check(where, "rngs", given)
        evaluate = self.deterministic if flag is None else flag
        if evaluate or not self.draws:
            return None
        stream: Streams = self.rngs if given is None else given
        return (stream.dropout if isinstance(stream, nnx.Rngs) else stream)()


AnyModule = Annotated[
    Module, Plain("a module of recurrent_jax.nnx such as RNN", (Module,))
]


def _variables(tree: Any) -> Any:
    if not isinstance(tree, dict):
        return tree
    return nnx.Dict({name: _variables(part) for name, part in tree.items()})


@_checks.checked
def unpack(module: AnyModule) -> Any:
    """Return the parameters of a module in the form that its cell or network uses.

    Example:
        >>> from flax import nnx
        >>> import recurrent_jax as rj
        >>> rnn = rj.nnx.RNN(rj.LSTM(hidden_size=3), 2, rngs=nnx.Rngs(0))
        >>> params = rj.nnx.unpack(rnn)
        >>> params.kernel.shape
        (2, 12)
    """
    tree = nnx.to_pure_dict(nnx.state(module.params))
    like = _checks.fresh(module.network, module.in_features)
    return adapters.unnest(type(module).__name__, tree, like)
