# SPDX-License-Identifier: Apache-2.0
"""Modules that read a whole sequence."""

from typing import Any, Literal, Unpack

from recurrent_jax import _checks
from recurrent_jax import networks as core
from recurrent_jax._core.cell import Cell
from recurrent_jax._core.kinds import Part
from recurrent_jax._core.network import Network
from recurrent_jax._core.types import Rate, Size
from recurrent_jax._flax import adapters
from recurrent_jax._flax.names import Options
from recurrent_jax._loop.loop import Backward, Method
from recurrent_jax._loop.unroll import unroll
from recurrent_jax.nnx._module import Module, Streams, unpack


class Sequence(Module):
    """A module that reads a whole sequence."""

    @_checks.checked
    def __init__(
        self,
        network: Cell | Network,
        in_features: int,
        *,
        reverse: bool = False,
        time_axis: int = 1,
        method: Method | None = None,
        backward: Backward | None = None,
        **options: Any,
    ) -> None:
        if method is not None:
            _checks.method(type(self).__name__, method)
        if backward is not None:
            _checks.strategy(type(self).__name__, backward)
        super().__init__(network, in_features, **options)
        self.reverse = reverse
        self.time_axis = time_axis
        self.method = method
        self.backward = backward

    def __call__(
        self,
        xs: Any,
        *,
        deterministic: bool | None = None,
        rngs: Streams | None = None,
        **options: Unpack[Options],
    ) -> tuple[Any, Any]:
        """Return the final carry and the outputs, as `unroll` does.

        Args:
            xs: the inputs, `(batch, time, features)` unless `time_axis` says otherwise.
            deterministic: True evaluates, False draws; as `eval` and `train` of the
                model have set it if None.
            rngs: keys to draw with; the module's own if None.
            **options: what `unroll` takes by name, those below.
            carry: the state to start from.
            lengths: integers, `(batch,)`: the valid steps of right-padded sequences.
            mask: bool, laid out like `xs`: False skips a step anywhere.
            resets: bool, laid out like `xs`: True starts afresh before that step.
            reset_carry: the state that a reset starts from.

        Returns:
            The carry after the last valid step, and the outputs with time where `xs`
            has it.
        """
        params, xs, given = adapters.arguments(self, unpack(self), xs, options)
        key = self._key(deterministic, rngs)
        return unroll(self.network, params, xs, key=key, **given)


class RNN(Sequence):
    """A cell or a network over a sequence: `unroll` as a module.

    Unlike `nnx.RNN` it always returns `(carry, ys)`, leaves the outputs of a reversed
    run at their inputs' places, and makes them zero beyond `lengths`.

    Args:
        cell: a cell or network, of this library or your own.
        in_features: the number of features of an input.
        reverse: run from the last step to the first.
        time_axis: the axis of time.
        method: how time is run; that of `unroll` if None.
        backward: how the gradient is made; that of `unroll` if None.
        deterministic: True evaluates, False draws from the stream `dropout`; `eval` and
            `train` of a model set it.
        dtype: to compute in; what parameters and inputs promote to if None.
        param_dtype: of the parameters.
        metadata: from a parameter's name (`kernel`, or its path `0/kernel`) to what its
            `nnx.Param` is told, such as `{"out_sharding": (None, "model")}`.
        rngs: the streams `params` and, for what draws, `dropout`.

    Raises:
        TypeError, ValueError: as `unroll` does.

    Example:
        >>> import jax.numpy as jnp
        >>> from flax import nnx
        >>> import recurrent_jax as rj
        >>> rnn = rj.nnx.RNN(rj.LSTM(hidden_size=3), in_features=2, rngs=nnx.Rngs(0))
        >>> xs = jnp.ones((5, 7, 2))  # N x T x D
        >>> carry, ys = rnn(xs, lengths=jnp.array([7, 2, 0, 1, 4]))
        >>> carry.h.shape, ys.shape
        ((5, 3), (5, 7, 3))
        >>> rnn.params.kernel.shape
        (2, 12)
    """

    @_checks.checked
    def __init__(self, cell: Part, in_features: Size, **options: Any) -> None:
        super().__init__(cell, in_features, **options)


class Deep(Sequence):
    """Layers that each run over the whole sequence: `RNN` of a `Deep` network.

    Args:
        layers: cells or networks.
        in_features: the number of features of an input.
        residual: add to every layer's output what it took.
        skip: every layer but the first sees the input as well.
        dropout: between layers, drawn from the stream `dropout`.
        options: the others of `RNN`.

    Example:
        >>> import jax.numpy as jnp
        >>> from flax import nnx
        >>> import recurrent_jax as rj
        >>> layers = rj.LSTM(3), rj.GRU(4)
        >>> deep = rj.nnx.Deep(layers, 2, dropout=0.2, rngs=nnx.Rngs(0))
        >>> carry, ys = deep(jnp.ones((5, 7, 2)), deterministic=True)
        >>> ys.shape, deep.params["0"].kernel.shape
        ((5, 7, 4), (2, 12))
    """

    @_checks.checked
    def __init__(
        self,
        layers: tuple[Part, ...],
        in_features: Size,
        *,
        residual: bool = False,
        skip: bool = False,
        dropout: Rate = 0.0,
        **options: Any,
    ) -> None:
        network = core.Deep(layers, residual, skip, dropout)
        super().__init__(network, in_features, **options)


class Bidirectional(Sequence):
    """Two cells from both ends: `RNN` of a `Bidirectional` network.

    Args:
        forward_cell: a cell or network.
        in_features: the number of features of an input.
        backward_cell: another; one like the first if None.
        merge: how two outputs become one.
        options: the others of `RNN`.

    Example:
        >>> import jax.numpy as jnp
        >>> from flax import nnx
        >>> import recurrent_jax as rj
        >>> both = rj.nnx.Bidirectional(rj.GRU(3), 2, rngs=nnx.Rngs(0))
        >>> carry, ys = both(jnp.ones((5, 7, 2)))
        >>> ys.shape, both.params.forward.kernel.shape
        ((5, 7, 6), (2, 9))
    """

    @_checks.checked
    def __init__(
        self,
        forward_cell: Part,
        in_features: Size,
        *,
        backward_cell: Part | None = None,
        merge: Literal["concatenate", "sum", "mean", "product"] | None = "concatenate",
        **options: Any,
    ) -> None:
        network = core.Bidirectional(forward_cell, backward_cell, merge)
        super().__init__(network, in_features, **options)
