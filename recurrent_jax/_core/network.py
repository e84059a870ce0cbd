# SPDX-License-Identifier: Apache-2.0
"""The network protocol: what needs the whole sequence, and so is not a cell."""

import abc
import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from recurrent_jax import _checks
from recurrent_jax._core.cell import Cell
from recurrent_jax._core.tracing import output


class Options(NamedTuple):
    """What `unroll` was asked for besides params and inputs; it explains each."""

    carry: Any = None
    lengths: Any = None
    mask: Any = None
    resets: Any = None
    reset_carry: Any = None
    reverse: bool = False
    time_axis: int = 0
    key: Any = None
    backward: Any = None


@dataclasses.dataclass(frozen=True)
class Network(abc.ABC):
    """Cells that together read a whole sequence, and run by `unroll` like one cell.

    A network has no `step`: a layer of it may look at later inputs, or want all
    outputs of the layer before. Its fields, parameters and carry follow the rules of
    a cell.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> network = rj.Deep((rj.Bidirectional(rj.LSTM(3)), rj.GRU(4)))
        >>> isinstance(network, rj.Network)
        True
        >>> params = network.init(jax.random.key(0), in_features=2)
        >>> carry, ys = rj.unroll(network, params, jnp.ones((7, 5, 2)))
        >>> ys.shape
        (7, 5, 4)
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        # Set before @dataclass looks, so that it keeps this repr.
        if "__repr__" not in vars(cls):
            cls.__repr__ = Cell.__repr__  # type: ignore[method-assign, assignment]

    def __post_init__(self) -> None:
        _checks.fields(self)

    @abc.abstractmethod
    def init(self, key: jax.Array, in_features: int, dtype: DTypeLike = float) -> Any:
        """Return fresh parameters."""

    @abc.abstractmethod
    def initial_carry(
        self, batch_shape: tuple[int, ...] = (), dtype: DTypeLike = float
    ) -> Any:
        """Return the carry that a sequence starts from."""

    @abc.abstractmethod
    def out_features(self, in_features: int) -> int:
        """Return the number of features of an output."""

    @abc.abstractmethod
    def run(self, params: Any, xs: Any, options: Options) -> tuple[Any, Any]:
        """Return the final carry and all outputs: `unroll` after its dispatch."""

    __reduce__ = Cell.__reduce__  # type: ignore[assignment]


def out_features(layer: Cell | Network, in_features: int) -> int:
    """Return the number of features that a layer gives for so many that it takes."""
    if isinstance(layer, Network):
        return layer.out_features(in_features)
    return _cell_out_features(layer, in_features)


@functools.lru_cache
def _cell_out_features(cell: Cell, in_features: int) -> int:
    state = jax.tree.leaves(jax.eval_shape(cell.initial_carry))[0].shape
    image = state[: cell.feature_axes - 1]
    try:
        x = jax.ShapeDtypeStruct((*image, in_features), jnp.result_type(float))
        y = output(cell, x)
    except (TypeError, ValueError):
        # It reads more than one array, or another image; its state comes first.
        return int(state[-1])
    return int(y.shape[-1])


def per_part(argument: str, given: Any, count: int) -> Any:
    """Return one carry for each part, or as many times None."""
    if given is None:
        return (None,) * count
    _checks.parts("unroll", argument, given, count)
    return given
