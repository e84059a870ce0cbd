# SPDX-License-Identifier: Apache-2.0
"""Functions as values: what is built alike is equal, hashes, prints and pickles."""

import dataclasses
import functools
import inspect
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from recurrent_jax import _checks
from recurrent_jax._core.names import pickled, spell


class Value:
    """A frozen dataclass that is checked, printed and pickled by its fields."""

    def __post_init__(self) -> None:
        settle(self)
        _checks.fields(self)

    def __repr__(self) -> str:
        values = (spell(getattr(self, f.name)) for f in dataclasses.fields(self))  # type: ignore[arg-type]
        return f"{spell(type(self))}({', '.join(values)})"

    def __reduce__(self) -> tuple[Any, ...]:
        return pickled(self)


@dataclasses.dataclass(frozen=True, repr=False)
class Partial(Value):
    """A `functools.partial`, which by itself compares by identity."""

    function: Callable[..., Any]
    args: tuple[Any, ...] = ()
    keywords: tuple[tuple[str, Any], ...] = ()

    def __call__(self, *args: Any, **keywords: Any) -> Any:
        """Call the function with all arguments."""
        return self.function(*self.args, *args, **dict(self.keywords), **keywords)

    def __repr__(self) -> str:
        given = ", ".join([spell(self.function), *self._arguments()])
        return f"functools.partial({given})"

    def _arguments(self) -> list[str]:
        named = [f"{name}={spell(value)}" for name, value in self.keywords]
        return [*map(spell, self.args), *named]


@dataclasses.dataclass(frozen=True, repr=False)
class Made(Partial):
    """What a function of `jax.nn.initializers` returns, which is new at each call."""

    def __call__(self, *args: Any, **keywords: Any) -> Any:
        """Make it, and call it."""
        return self.function(**dict(self.keywords))(*args, **keywords)

    def __repr__(self) -> str:
        return f"{spell(self.function)}({', '.join(self._arguments())})"


def settle(value: Any) -> None:
    """Put values that compare as they compute into the fields of a frozen dataclass.

    Functions compare by value. A number of NumPy is equal to one of Python, but it has
    a dtype that results would take on.
    """
    for name, _, default in _checks.fields_of(type(value)):
        before = getattr(value, name, default)
        if isinstance(before, np.number | np.bool_):
            object.__setattr__(value, name, before.item())
            continue
        if before is default or not (callable(before) or type(before) is tuple):
            continue
        after = by_value(before)
        if after is not before:
            object.__setattr__(value, name, after)


def by_value(value: Any) -> Any:
    """Return a function that compares by value for one that does not, if there is."""
    if type(value) is tuple:
        parts = tuple(map(by_value, value))
        same = all(a is b for a, b in zip(parts, value, strict=True))
        return value if same else parts
    if isinstance(value, functools.partial):
        keywords = sorted(value.keywords.items())
        found = (by_value(value.func), by_value(value.args), by_value(tuple(keywords)))
        return Partial(*found) if _hashes(found) else value
    if inspect.isfunction(value) and value.__closure__:
        return _made(value) or value
    return value


def _made(function: Any) -> Made | None:
    """Return an initialiser of JAX as the call that makes it, or None."""
    name, _, inner = function.__qualname__.partition(".")
    maker: Any = getattr(jax.nn.initializers, name, None)
    if not inner or getattr(maker, "__globals__", None) is not function.__globals__:
        return None
    given = {**inspect.getclosurevars(function).nonlocals}
    if function.__defaults__ and function.__defaults__[0] is not None:
        given["dtype"] = function.__defaults__[0]
    parameters = inspect.signature(maker).parameters
    if given.keys() - parameters.keys() or not _hashes(tuple(given.values())):
        return None
    again = maker(**given)
    same = again.__code__ is function.__code__ and _inside(again) == _inside(function)
    told = {k: v for k, v in given.items() if v != parameters[k].default}
    return Made(maker, keywords=tuple(sorted(told.items()))) if same else None


def _inside(function: Any) -> tuple[Any, ...]:
    """Return all that tells apart what one maker returns."""
    cells = (cell.cell_contents for cell in function.__closure__)
    return *cells, function.__defaults__, function.__kwdefaults__


def _hashes(value: Any) -> bool:
    try:
        hash(value)
    except TypeError:
        return False
    return True
