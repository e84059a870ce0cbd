# SPDX-License-Identifier: Apache-2.0
"""The cell protocol: read this file first.

A cell is a frozen dataclass. Its fields are hyper-parameters: numbers and functions
that change shapes or control flow. What you would differentiate, anneal or `vmap` is
not a field but a parameter, and lives in the pytree that `init` returns.
"""

import abc
import dataclasses
from typing import Any, NamedTuple, final

import jax
from jax.typing import DTypeLike

from recurrent_jax import _checks
from recurrent_jax._core.names import pickled, spell


class Sampled(NamedTuple):
    """An input with what was drawn for it: what `Cell.sample` returns."""

    x: Any
    noise: Any


@dataclasses.dataclass(frozen=True)
class Cell(abc.ABC):
    """One step of a recurrence, as pure functions of `(params, carry, x)`.

    A subclass is a frozen dataclass that defines `init`, `initial_carry` and the
    recurrence, in one of two ways:

    - `recur(params, carry, z) -> (carry, y)`: any recurrence; or
    - `feedback(params, carry) -> u` and `update(params, carry, z, u) -> (carry, y)`:
      the same recurrence cut in two, the big recurrent product apart from the
      elementwise rest, which makes gradients faster.

    Every array has any number of leading batch axes, `(*batch, features)`. What does
    not read the carry goes into `project`, which `unroll` lifts out of its loop.

    Attributes:
        feature_axes: how many trailing axes of `x` are features and not batch: 1,
            unless the cell works on images.

    Example:
        A leaky integrator, `h' = 0.9 h + x`, from first line to last:

        >>> import dataclasses
        >>> from typing import NamedTuple
        >>> import jax, jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> class Carry(NamedTuple):
        ...     h: jax.Array
        >>> @dataclasses.dataclass(frozen=True)
        ... class Leaky(rj.Cell):
        ...     hidden_size: int
        ...     decay: float = 0.9
        ...     def init(self, key, in_features, dtype=float):
        ...         return ()
        ...     def initial_carry(self, batch_shape=(), dtype=float):
        ...         return Carry(jnp.zeros((*batch_shape, self.hidden_size), dtype))
        ...     def recur(self, params, carry, z):
        ...         h = self.decay * carry.h + z
        ...         return Carry(h), h
        >>> cell = Leaky(hidden_size=2)
        >>> carry, ys = rj.unroll(cell, (), jnp.ones((3, 2)))
        >>> print(ys[:, 0])
        [1.   1.9  2.71]
    """

    feature_axes = 1  # not annotated: a fact about the class, not a field

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if cls.step is not Cell.step:
            raise TypeError(
                f"{cls.__name__}: `step` is final (recur after project); "
                "define project, recur, or feedback and update instead"
            )
        # Set before @dataclass looks, so that it keeps this repr.
        if "__repr__" not in vars(cls):
            cls.__repr__ = Cell.__repr__  # type: ignore[method-assign]

    def __post_init__(self) -> None:
        _checks.fields(self)

    @abc.abstractmethod
    def init(self, key: jax.Array, in_features: int, dtype: DTypeLike = float) -> Any:
        """Return fresh parameters: a NamedTuple of arrays, absent parts None."""

    @abc.abstractmethod
    def initial_carry(
        self, batch_shape: tuple[int, ...] = (), dtype: DTypeLike = float
    ) -> Any:
        """Return the carry that a sequence starts from: a NamedTuple of arrays."""

    def prepare(self, params: Any) -> Any:
        """Return the parameters as the steps use them. Default: `params`.

        For what is stored in one form and used in another, such as an orthogonal
        matrix stored as its logarithm. Called once for a sequence, outside of the
        loop: `project`, `feedback`, `update` and `recur` are given what this returns,
        all else what `init` returned.
        """
        return params

    def project(self, params: Any, x: Any) -> Any:
        """Return all of the step that does not read the carry. Default: `x`."""
        return x

    def start(
        self, params: Any, batch_shape: tuple[int, ...], dtype: DTypeLike = float
    ) -> Any:
        """Return the carry that `unroll` starts from. Default: `initial_carry`.

        Not the same where the start is learned, and so a parameter.
        """
        return self.initial_carry(batch_shape, dtype)

    def sample(
        self, key: jax.Array, xs: Any, lead: tuple[int, ...], dtype: DTypeLike = float
    ) -> Any:
        """Return inputs with all that is random beside them. Default: `xs`.

        Called by `unroll(..., key=key)`, once for a sequence and outside of its loop.
        A cell that draws returns `Sampled(xs, noise)`, with `noise` arrays of `dtype`
        that have the leading axes `lead = (time, *batch)` as `xs` has, and takes plain
        `x`, without noise, for evaluation.
        """
        return xs

    def feedback(self, params: Any, carry: Any) -> Any:
        """Return the recurrent product, which reads the carry but not the input."""
        raise NotImplementedError(
            f"{type(self).__name__} must define recur, or feedback and update"
        )

    def update(self, params: Any, carry: Any, z: Any, u: Any) -> tuple[Any, Any]:
        """Return `(carry, y)` from the projected input and the recurrent product."""
        raise NotImplementedError(
            f"{type(self).__name__} must define recur, or feedback and update"
        )

    def recur(self, params: Any, carry: Any, z: Any) -> tuple[Any, Any]:
        """Return `(carry, y)`: the part of the step that reads the carry."""
        return self.update(params, carry, z, self.feedback(params, carry))

    @final
    def step(self, params: Any, carry: Any, x: Any) -> tuple[Any, Any]:
        """Return `(carry, y)` after one step: `prepare`, `project`, then `recur`.

        `functools.partial(cell.step, params)` is a body for `jax.lax.scan`.

        Args:
            params: what `init` returned.
            carry: the state before the step, `(*batch, hidden)` in each part.
            x: the input, `(*batch, features)`, floating point, no time axis.

        Returns:
            The state after the step, and the output `y`, `(*batch, hidden)`.

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

    @property
    def splits(self) -> bool:
        """Whether the recurrence is given as `feedback` and `update`."""
        cls = type(self)
        return cls.update is not Cell.update and cls.recur is Cell.recur

    def __repr__(self) -> str:
        shown = (
            f"{f.name}={spell(value)}"
            for f in dataclasses.fields(self)
            if (value := getattr(self, f.name)) != f.default
        )
        return f"{type(self).__name__}({', '.join(shown)})"

    def __reduce__(self) -> tuple[Any, ...]:
        return pickled(self)
