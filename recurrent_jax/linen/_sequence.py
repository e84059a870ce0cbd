# SPDX-License-Identifier: Apache-2.0
"""Modules that read a whole sequence."""

from typing import Any, Literal, Unpack

from recurrent_jax import _checks
from recurrent_jax import networks as core
from recurrent_jax._core.cell import Cell
from recurrent_jax._core.kinds import Part
from recurrent_jax._core.network import Network
from recurrent_jax._core.types import Rate
from recurrent_jax._flax import adapters
from recurrent_jax._flax.names import Options, known
from recurrent_jax._loop.loop import Backward, Method
from recurrent_jax._loop.unroll import unroll
from recurrent_jax.linen._module import Module


class Sequence(Module, kw_only=True):
    """A module that reads a whole sequence."""

    reverse: bool = False
    time_axis: int = 1
    method: Method | None = None
    backward: Backward | None = None

    def __post_init__(self) -> None:
        if self.method is not None:
            _checks.method(type(self).__name__, self.method)
        if self.backward is not None:
            _checks.strategy(type(self).__name__, self.backward)
        super().__post_init__()

    @property
    def network(self) -> Cell | Network:
        """The cell or network that the module runs."""
        raise NotImplementedError

    @known
    def __call__(
        self,
        xs: Any,
        *,
        deterministic: bool | None = None,
        **options: Unpack[Options],
    ) -> tuple[Any, Any]:
        """Return the final carry and the outputs, as `unroll` does.

        Args:
            xs: the inputs, `(batch, time, features)` unless `time_axis` says otherwise.
            deterministic: False draws random numbers from the stream `dropout`. A cell
                or network that draws random numbers requires it, here or as a field.
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
        features = adapters.in_features(type(self).__name__, xs, self.in_features)
        params = self._params(self.network, features)
        params, xs, given = adapters.arguments(self, params, xs, options)
        key = self._key(self.network, features, deterministic)
        return unroll(self.network, params, xs, key=key, **given)


class RNN(Sequence):
    """Run a cell or a network over a sequence: `unroll` as a module.

    Unlike `flax.linen.RNN`, it always returns `(carry, ys)`, keeps the outputs of a
    reversed run at the positions of their inputs, and sets outputs beyond `lengths` to
    zero.

    Args:
        cell: a cell or network, of this library or your own.
        reverse: whether to run from the last step to the first.
        time_axis: the time axis.
        method: how the cell is run over time. If None, it is the default of `unroll`.
        backward: how the gradient is computed. If None, it is the default of `unroll`.
        deterministic: True runs in evaluation mode. False draws random numbers. It may
            be passed to the call instead.
        dtype: the dtype of the computation. If None, parameters and inputs are promoted
            to a common dtype.
        param_dtype: the dtype of the parameters.
        in_features: the number of input features. It is required if the input consists
            of several arrays.
        partition: a dict from the name of a parameter (`kernel`, or its path
            `0/kernel`) to a function that wraps its initialiser:
            `functools.partial(nn.with_partitioning, names=(None, "model"))`, or
            `nn.with_logical_partitioning`. `logical_axes` names all parameters.

    Raises:
        TypeError, ValueError: as `unroll` does.

    Example:
        >>> import flax.linen as nn
        >>> import jax, jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> rnn = rj.linen.RNN(rj.LSTM(hidden_size=3))
        >>> xs = jnp.ones((5, 7, 2))  # N x T x D
        >>> variables = rnn.init(jax.random.key(0), xs)
        >>> carry, ys = rnn.apply(variables, xs, lengths=jnp.array([7, 2, 0, 1, 4]))
        >>> carry.h.shape, ys.shape
        ((5, 3), (5, 7, 3))
        >>> sorted(variables["params"])
        ['bias', 'kernel', 'recurrent_kernel']
    """

    cell: Part

    @property
    def network(self) -> Cell | Network:
        """The cell."""
        return self.cell


class Deep(Sequence):
    """Layers that each run over the whole sequence: `RNN` of a `Deep` network.

    Args:
        layers: cells or networks.
        residual: whether to add the input of each layer to its output.
        skip: whether every layer after the first also reads the network's input.
        dropout: the dropout rate between layers. It draws from the stream `dropout`.

    The other fields are those of `RNN`.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> deep = rj.linen.Deep((rj.LSTM(3), rj.GRU(4)), dropout=0.2)
        >>> (carry, ys), variables = deep.init_with_output(
        ...     jax.random.key(0), jnp.ones((5, 7, 2)), deterministic=True)
        >>> ys.shape, sorted(variables["params"])
        ((5, 7, 4), ['0', '1'])
    """

    layers: tuple[Part, ...]
    residual: bool = False
    skip: bool = False
    dropout: Rate = 0.0

    @property
    def network(self) -> Network:
        """The layers as one network."""
        return core.Deep(self.layers, self.residual, self.skip, self.dropout)


class Bidirectional(Sequence):
    """Two cells that read from opposite ends: `RNN` of a `Bidirectional` network.

    Args:
        forward_cell: a cell or network that reads forward.
        backward_cell: a cell or network that reads backward. If None, it is one like
            `forward_cell`.
        merge: how the two outputs are combined.

    The other fields are those of `RNN`.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> both = rj.linen.Bidirectional(rj.GRU(3))
        >>> (carry, ys), variables = both.init_with_output(
        ...     jax.random.key(0), jnp.ones((5, 7, 2)))
        >>> ys.shape, sorted(variables["params"])
        ((5, 7, 6), ['backward', 'forward'])
    """

    forward_cell: Part
    backward_cell: Part | None = None
    merge: Literal["concatenate", "sum", "mean", "product"] | None = "concatenate"

    @property
    def network(self) -> Network:
        """Both cells as one network."""
        return core.Bidirectional(self.forward_cell, self.backward_cell, self.merge)
