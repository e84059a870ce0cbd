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
from recurrent_jax._flax.names import Options, known
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

    @known
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
            deterministic: True runs in evaluation mode. False draws random numbers. If
                None, the value is that which `eval` or `train` of the model has set.
            rngs: the keys for random numbers. If None, the module uses its own.
            **options: keyword arguments that are passed to `unroll`, listed below.
            carry: the initial carry.
            lengths: integers, `(batch,)`: the number of valid steps of each
                right-padded sequence.
            mask: bool, with the batch and time axes of `xs`: False skips the step.
            resets: bool, with the batch and time axes of `xs`: True restarts from
                `reset_carry` before that step.
            reset_carry: the carry that a reset restarts from.

        Returns:
            The carry after the last valid step, and the outputs, with the same time
            axis as `xs`.
        """
        params, xs, given = adapters.arguments(self, unpack(self), xs, options)
        key = self._key(deterministic, rngs)
        return unroll(self.network, params, xs, key=key, **given)


class RNN(Sequence):
    """Run a cell or a network over a sequence: `unroll` as a module.

    Unlike `nnx.RNN`, it always returns `(carry, ys)`, keeps the outputs of a reversed
    run at the positions of their inputs, and sets outputs beyond `lengths` to zero.

    Args:
        cell: a cell or network, of this library or your own.
        in_features: the number of features of an input.
        reverse: whether to run from the last step to the first.
        time_axis: the time axis.
        method: how the cell is run over time. If None, it is the default of `unroll`.
        backward: how the gradient is computed. If None, it is the default of `unroll`.
        deterministic: True runs in evaluation mode. False draws random numbers from the
            stream `dropout`. `eval` and `train` of a model set it.
        dtype: the dtype of the computation. If None, parameters and inputs are promoted
            to a common dtype.
        param_dtype: the dtype of the parameters.
        metadata: a dict from the name of a parameter (`kernel`, or its path `0/kernel`)
            to the metadata of its `nnx.Param`, such as
            `{"out_sharding": (None, "model")}`. `logical_axes` names all parameters.
        rngs: the stream `params` and, if random numbers are drawn, `dropout`.

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
        residual: whether to add the input of each layer to its output.
        skip: whether every layer after the first also reads the network's input.
        dropout: the dropout rate between layers. It draws from the stream `dropout`.
        options: the other arguments of `RNN`.

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
    """Two cells that read from opposite ends: `RNN` of a `Bidirectional` network.

    Args:
        forward_cell: a cell or network that reads forward.
        in_features: the number of features of an input.
        backward_cell: a cell or network that reads backward. If None, it is one like
            `forward_cell`.
        merge: how the two outputs are combined.
        options: the other arguments of `RNN`.

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
