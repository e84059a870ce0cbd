# SPDX-License-Identifier: Apache-2.0
"""The cell protocol. Read this file first.

A cell is a frozen dataclass. Its fields are hyperparameters: numbers and functions that
change shapes or control flow. Values that you would differentiate, anneal or `vmap` are
parameters, not fields. They live in the pytree that `init` returns.
"""

import abc
import dataclasses
import inspect
from typing import (
    TYPE_CHECKING,
    Any,
    ClassVar,
    Generic,
    NamedTuple,
    NoReturn,
    TypeVar,
    final,
)

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from recurrent_jax import _checks
from recurrent_jax._checks import attributes
from recurrent_jax._core import serial, tracing
from recurrent_jax._core.arrays import apart
from recurrent_jax._core.names import pickled, spell
from recurrent_jax._core.value import settle

P = TypeVar("P")  # parameters, as `init` returns them
C = TypeVar("C")  # a carry
if TYPE_CHECKING:
    import typing_extensions  # Python has defaults since 3.13

    Y = typing_extensions.TypeVar("Y", default=jax.Array)  # an output
else:
    Y = TypeVar("Y")


class Sampled(NamedTuple):
    """An input and the random numbers drawn for it, as `Cell.sample` returns them."""

    x: Any
    noise: Any


class HiddenCarry(NamedTuple):
    """The carry of a cell whose only state is a hidden state."""

    h: jax.Array  # (*batch, H)


class HiddenCellCarry(NamedTuple):
    """The carry of a cell with a hidden state and a cell state, such as an LSTM."""

    h: jax.Array  # (*batch, H)
    c: jax.Array  # (*batch, H)


@dataclasses.dataclass(frozen=True)
class Cell(abc.ABC, Generic[P, C, Y]):
    """One step of a recurrence, as pure functions of `(params, carry, x)`.

    A subclass is a frozen dataclass. It defines `init`, a carry, and the recurrence in
    one of two ways:

    - `recur(params, carry, z) -> (carry, y)`: any recurrence; or
    - `feedback(params, carry) -> u` and `update(params, carry, z, u) -> (carry, y)`:
      `feedback` computes the large recurrent product and `update` the elementwise rest.
      This form has the faster gradient.

    If a class or one of its bases defines `recur`, `recur` is used. Every array may
    have any number of leading batch axes, `(*batch, features)`. Computations that do
    not read the carry belong in `project`, which `unroll` calls for many steps at once.

    Attributes:
        Params: the NamedTuple that `init` returns.
        Carry: the NamedTuple of the state. `initial_carry` fills its fields with zeros
            of shape `(*batch, hidden_size)`, unless the cell overrides it.
        output: the name of the carry field that every step returns as its output, such
            as `"h"`, or None if the output is not a field of the carry. Wrappers that
            change the carry after a step, such as `Zoneout`, need it.
        feature_axes: the number of trailing axes of `x` that are features and not batch
            axes. It is 1, unless the cell works on images.
        rowwise: whether a cell that holds integers or booleans computes each row of a
            batch by itself. True makes the gradient of such a cell faster. A cell of
            floats alone must be rowwise and need not declare it.
        linear: whether the step is linear in the carry, as that of a `LinearCell` is,
            so that `Associative` and `Chunked` can run the cell.
        chunked: whether `Chunked` is the default method of a linear cell on a CPU,
            where a loop is faster for some. Elsewhere it always is.

    Example: The complete code of a leaky integrator, `h' = 0.9 h + x`:

        >>> import dataclasses
        >>> import jax, jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> @dataclasses.dataclass(frozen=True)
        ... class Leaky(rj.Cell):
        ...     hidden_size: int
        ...     decay: float = 0.9
        ...     Carry = rj.cells.HiddenCarry
        ...     output = "h"
        ...     def init(self, key, in_features, dtype=float):
        ...         return ()
        ...     def recur(self, params, carry, z):
        ...         h = self.decay * carry.h + z
        ...         return self.Carry(h), h
        >>> cell = Leaky(hidden_size=2)
        >>> carry, ys = rj.unroll(cell, (), jnp.ones((3, 2)))
        >>> print(ys[:, 0])
        [1.   1.9  2.71]
    """

    # Class attributes. Their annotations, if any, are `ClassVar`, so that dataclasses
    # do not take them for fields.
    Params: ClassVar[Any] = tuple
    Carry: ClassVar[Any]
    output: ClassVar[str | None]
    feature_axes = 1
    rowwise = False
    linear = False
    chunked = False

    # Whether the recurrence is `feedback` and `update`, and whether `output` or `read`
    # was declared for this recurrence. `__init_subclass__` sets both.
    _splits: ClassVar[bool] = True
    _declares_output: ClassVar[bool] = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        _check_recurrence(cls)
        _check_carry(cls)
        cls._splits = cls.recur is Cell.recur
        cls._declares_output = _declares(cls)
        for name, finish in (("init", _drawn), ("initial_carry", _apart)):
            if name in vars(cls):
                setattr(cls, name, _checks.protocol(vars(cls)[name], finish))
        for kind in (cls.Params, getattr(cls, "Carry", None)):
            serial.register(kind)
        # `@dataclass` keeps a repr that is set before it runs.
        if "__repr__" not in vars(cls):
            cls.__repr__ = Cell.__repr__  # type: ignore[method-assign]

    if not TYPE_CHECKING:  # which knows the arguments of each class

        def __class_getitem__(cls, types: Any) -> Any:
            return super().__class_getitem__(output_is_array(cls, types))

        def __new__(cls, *args: Any, **kwargs: Any) -> Any:
            _checks.constructor(cls, args, kwargs)
            return object.__new__(cls)

        def __getattr__(self, name: str) -> Any:
            raise attributes.of_cell(self, name)

        def __call__(self, *args: Any, **kwargs: Any) -> NoReturn:
            attributes.called_like_a_function(self, steps=True)

    def __post_init__(self) -> None:
        settle(self)
        _checks.fields(self)

    @abc.abstractmethod
    def init(self, key: jax.Array, in_features: int, dtype: DTypeLike = float) -> P:
        """Return fresh parameters: a NamedTuple of arrays, None for absent parts."""

    @_checks.protocol
    def initial_carry(
        self,
        batch_shape: tuple[int, ...] = (),
        dtype: DTypeLike = float,
        params: P | None = None,
    ) -> C:
        """Return the carry at the start of a sequence. The default is zeros.

        Args:
            batch_shape: the sizes of the batch axes, any number of them.
            dtype: the dtype of the floating-point parts.
            params: what `init` returned. `unroll` passes it. Only a cell with a learned
                initial carry reads it.
        """
        _checks.own(self, params)
        shape = (*batch_shape, self.hidden_size)  # type: ignore[attr-defined]
        carry: C = self.Carry(*(jnp.zeros(shape, dtype) for _ in self.Carry._fields))
        return carry

    def out_features(self, in_features: int) -> int:
        """Return the number of output features. The default traces a step.

        A cell whose input is not one array `(*batch, in_features)` must override it.
        """
        return tracing.out_features(self, in_features)

    @property
    def declares_output(self) -> bool:
        """Whether `read` is known to be right for the recurrence of this class."""
        return self._declares_output

    def read(self, carry: C, y: Y) -> Y:
        """Return the output for a carry that was changed after the step.

        `y` is the output that the step returned. The default returns the field that
        `output` names, or `y` if `output` is None.
        """
        return y if self.output is None else getattr(carry, self.output)

    def prepare(self, params: P) -> Any:
        """Return the parameters in the form that the steps use.

        The default returns `params`. Override it for parameters that are stored in one
        form and used in another, such as an orthogonal matrix stored as its logarithm.
        `unroll` calls it once, outside its loop. `project`, `feedback`, `update` and
        `recur` take what it returns. Every other method takes what `init` returned.
        Return a different type than `init` does, so that the two cannot be confused.
        """
        return params

    def project(self, params: Any, x: Any) -> Any:
        """Return the part of a step that does not read the carry. Default: `x`."""
        return x

    def sample(
        self, key: jax.Array, xs: Any, lead: tuple[int, ...], dtype: DTypeLike = float
    ) -> Any:
        """Return the inputs with random numbers for all steps. The default is `xs`.

        `unroll(..., key=key)` calls it once, outside its loop. A cell that draws random
        numbers returns `Sampled(xs, noise)`. The arrays of `noise` have the given
        `dtype` and the leading axes `lead = (time, *batch)` of `xs`. An input that is
        not `Sampled` means evaluation.
        """
        return xs

    def feedback(self, params: Any, carry: C) -> Any:
        """Return the recurrent product, which reads the carry but not the input."""
        raise NotImplementedError(
            f"{type(self).__name__} must define recur, or feedback and update"
        )

    def update(self, params: Any, carry: C, z: Any, u: Any) -> tuple[C, Y]:
        """Return `(carry, y)` from the projected input and the recurrent product."""
        raise NotImplementedError(
            f"{type(self).__name__} must define recur, or feedback and update"
        )

    def recur(self, params: Any, carry: C, z: Any) -> tuple[C, Y]:
        """Return `(carry, y)`: the part of the step that reads the carry."""
        return self.update(params, carry, z, self.feedback(params, carry))

    @final
    @_checks.called
    def step(self, params: P, carry: C, x: Any) -> tuple[C, Y]:
        """Return `(carry, y)` after one step: `prepare`, `project`, then `recur`.

        `functools.partial(cell.step, params)` is a body for `jax.lax.scan`.

        Args:
            params: what `init` returned.
            carry: the state before the step, `(*batch, hidden)` in each part.
            x: the input, `(*batch, features)`, in floating point and without a time
                axis.

        Returns:
            The state after the step, and the output `y` of shape `(*batch, hidden)`.

        Raises:
            ValueError: if a shape does not fit.
            TypeError: if a type or dtype does not fit.

        Example:
            >>> import jax, jax.numpy as jnp
            >>> import recurrent_jax as rj
            >>> cell = rj.LSTM(hidden_size=3)
            >>> params = cell.init(jax.random.key(0), in_features=2)
            >>> carry, y = cell.step(params, cell.initial_carry((5,)), jnp.ones((5, 2)))
            >>> y.shape
            (5, 3)
        """
        where = f"{type(self).__name__}.step"
        params, carry, x = (
            _checks.arrays(where, name, tree)
            for name, tree in (("params", params), ("carry", carry), ("x", x))
        )
        _checks.step(self, params, carry, x)
        params = self.prepare(params)
        return self.recur(params, carry, self.project(params, x))

    def __repr__(self) -> str:
        shown = (
            f"{f.name}={spell(value)}"
            for f in dataclasses.fields(self)
            if (value := getattr(self, f.name)) != f.default
        )
        return f"{type(self).__name__}({', '.join(shown)})"

    def __reduce__(self) -> tuple[Any, ...]:
        return pickled(self)


def output_is_array(cls: Any, types: Any) -> Any:
    """Return the types of a generic class, of which the last may be left out.

    `Cell[Params, Carry]` is a cell whose output is an array.
    """
    given = types if isinstance(types, tuple) else (types,)
    short = len(given) + 1 == len(getattr(cls, "__parameters__", ()))
    return (*given, jax.Array) if short else types


def feedback(cell: Cell[Any, Any, Any], params: Any, carry: Any) -> Any:
    """Return a cell's recurrent product, or `()` if the cell defines `recur`."""
    return cell.feedback(params, carry) if cell._splits else ()


def update(
    cell: Cell[Any, Any, Any], params: Any, carry: Any, z: Any, u: Any
) -> tuple[Any, Any]:
    """Return the rest of a step, or the whole step if the cell defines `recur`."""
    if cell._splits:
        return cell.update(params, carry, z, u)
    return cell.recur(params, carry, z)


def _drawn(params: Any, cell: Any, given: dict[str, Any]) -> Any:
    """Return what `init` returned, after checks of functions that the user chose."""
    if "in_features" in given:  # a cell of a user may call it otherwise
        _checks.drawn(cell, params, given["in_features"], given.get("dtype", float))
        _checks.activations(cell, params, (given["in_features"],))
    return apart(params)


def _apart(carry: Any, cell: Any, given: dict[str, Any]) -> Any:
    """Return what `initial_carry` returned, with no array twice."""
    return apart(carry)


def _declares(cls: type[Cell[Any, Any, Any]]) -> bool:
    """Return whether `output` or `read` is declared for the recurrence of a class.

    A declaration in a base class of the recurrence may not be true of it.
    """
    for base in cls.__mro__[: cls.__mro__.index(Cell)]:
        if "output" in vars(base) or "read" in vars(base):
            return True
        if {"recur", "feedback", "update", "outer"} & vars(base).keys():
            return False
    return False


def _check_recurrence(cls: type[Cell[Any, Any, Any]]) -> None:
    """Check that a class defines one form of the recurrence, and not `step`."""
    if cls.step is not Cell.step:
        raise TypeError(
            f"{cls.__name__}: `step` is final (recur after project); "
            "define project, recur, or feedback and update instead"
        )
    parts = [name for name in ("feedback", "update") if name in vars(cls)]
    if "recur" in vars(cls) and parts:
        raise TypeError(
            f"{cls.__name__} defines recur as well as {' and '.join(parts)}; "
            "define either recur, or feedback and update"
        )


def _check_carry(cls: type[Cell[Any, Any, Any]]) -> None:
    """Check that `initial_carry` takes `params`, which `unroll` passes."""
    taken = inspect.signature(cls.initial_carry).parameters
    if "params" not in taken and not any(
        p.kind is p.VAR_KEYWORD for p in taken.values()
    ):
        raise TypeError(
            f"{cls.__name__}: initial_carry must take params, which is None unless the "
            "start is learned: initial_carry(self, batch_shape=(), dtype=float, "
            "params=None)"
        )
