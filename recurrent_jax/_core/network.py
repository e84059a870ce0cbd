# SPDX-License-Identifier: Apache-2.0
"""The network protocol, for models that need the whole sequence at once."""

import abc
import dataclasses
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, NoReturn

import jax
from jax.typing import DTypeLike

from recurrent_jax import _checks
from recurrent_jax._checks import attributes
from recurrent_jax._core.cell import C, Cell, P, Y, output_is_array
from recurrent_jax._core.value import settle


class Options(NamedTuple):
    """The keyword arguments of `unroll`, passed on to a network. See `unroll`."""

    carry: Any = None
    lengths: Any = None
    mask: Any = None
    resets: Any = None
    reset_carry: Any = None
    reverse: bool = False
    time_axis: int = 0
    key: Any = None
    method: Any = None
    backward: Any = None


@dataclasses.dataclass(frozen=True)
class Network(abc.ABC, Generic[P, C, Y]):
    """Cells that together read a whole sequence. `unroll` runs them like one cell.

    A network has no `step`, since one of its layers may read later inputs, or need all
    outputs of the layer before. Its fields, parameters and carry follow the rules of a
    cell.

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
        for name in ("init", "initial_carry"):
            if name in vars(cls):
                setattr(cls, name, _checks.protocol(vars(cls)[name]))
        # `@dataclass` keeps a repr that is set before it runs.
        if "__repr__" not in vars(cls):
            cls.__repr__ = Cell.__repr__  # type: ignore[method-assign, assignment]

    if not TYPE_CHECKING:  # which knows the arguments of each class
        __new__ = Cell.__new__

        def __class_getitem__(cls, types: Any) -> Any:
            return super().__class_getitem__(output_is_array(cls, types))

        def __getattr__(self, name: str) -> Any:
            raise attributes.of_cell(self, name)

        def __call__(self, *args: Any, **kwargs: Any) -> NoReturn:
            attributes.called_like_a_function(self, steps=False)

    def __post_init__(self) -> None:
        settle(self)
        _checks.fields(self)

    @abc.abstractmethod
    def init(self, key: jax.Array, in_features: int, dtype: DTypeLike = float) -> P:
        """Return fresh parameters."""

    @abc.abstractmethod
    def initial_carry(
        self,
        batch_shape: tuple[int, ...] = (),
        dtype: DTypeLike = float,
        params: P | None = None,
    ) -> C:
        """Return the carry at the start of a sequence. See `Cell.initial_carry`."""

    @abc.abstractmethod
    def out_features(self, in_features: int) -> int:
        """Return the number of output features."""

    @abc.abstractmethod
    def run(self, params: P, xs: Any, options: Options) -> tuple[C, Y]:
        """Return the final carry and all outputs. `unroll` calls this method."""

    __reduce__ = Cell.__reduce__  # type: ignore[assignment]


def per_part(where: str, argument: str, given: Any, count: int) -> Any:
    """Return the given carry or params of each part, or None for each part."""
    if given is None:
        return (None,) * count
    _checks.parts(where, argument, given, count)
    return given
