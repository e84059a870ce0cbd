# SPDX-License-Identifier: Apache-2.0
"""Kinds of values: each is a check, and the words for its message and for the docs.

A kind stands in an annotation, `Annotated[int, Integer(least=1)]`, which type checkers
read as a plain `int`. `declared.kind_of` finds it there, for a field or an argument.
"""

import abc
import dataclasses
import difflib
import math
from typing import Any

import jax
import numpy as np

from recurrent_jax._checks.words import given, is_class

_TOO_LARGE = 2**63  # no size of an array, nor an index


@dataclasses.dataclass(frozen=True)
class Kind(abc.ABC):
    """What a value may be. `str` gives it in words.

    Attributes:
        hint: the likely fix, for the end of a message.
    """

    hint: str = dataclasses.field(default="", kw_only=True)

    @abc.abstractmethod
    def words(self) -> tuple[str, str]:
        """Return the type and the range in words, such as `a number` and `above 0`."""

    @abc.abstractmethod
    def has_type(self, value: Any) -> bool:
        """Say whether the value is of this kind, in or out of range."""

    def in_range(self, value: Any) -> bool:
        """Say whether a value of this kind lies in range."""
        return True

    def check(self, where: str, argument: str, value: Any) -> None:
        """Raise TypeError for another kind of value, ValueError if out of range."""
        if not self.has_type(value):
            raise TypeError(self._message(where, argument, self.words()[0], value))
        if not self.in_range(value):
            raise ValueError(self._message(where, argument, self.words()[1], value))

    def _message(self, where: str, argument: str, words: str, value: Any) -> str:
        got, fix = given(value)
        parts = (f"{where}: {argument} must be {words}, got {got}", fix, self.hint)
        return "; ".join(filter(None, parts))

    def __str__(self) -> str:
        return ", ".join(dict.fromkeys(filter(None, self.words())))


@dataclasses.dataclass(frozen=True)
class Integer(Kind):
    """An integer of Python or NumPy, but no bool."""

    least: int | None = None

    def words(self) -> tuple[str, str]:
        """Return `a Python integer` and the bound."""
        least = "" if self.least is None else f"at least {self.least}"
        return "a Python integer", least

    def has_type(self, value: Any) -> bool:
        """Say whether the value is an integer."""
        return isinstance(value, int | np.integer) and not isinstance(value, bool)

    def in_range(self, value: Any) -> bool:
        """Say whether it lies within the bound."""
        return self.least is None or bool(value >= self.least)

    def check(self, where: str, argument: str, value: Any) -> None:
        """Raise an error for what is no integer, out of range, or too large."""
        super().check(where, argument, value)
        if abs(int(value)) >= _TOO_LARGE:
            raise ValueError(self._message(where, argument, "below 2**63", value))


@dataclasses.dataclass(frozen=True)
class Number(Kind):
    """A finite number of Python or NumPy, but no bool."""

    least: float | None = None
    above: float | None = None
    most: float | None = None
    below: float | None = None

    def words(self) -> tuple[str, str]:
        """Return `a finite number` and the bounds."""
        limits = {
            "at least": self.least,
            "above": self.above,
            "at most": self.most,
            "below": self.below,
        }
        bounds = (f"{k} {v}" for k, v in limits.items() if v is not None)
        return "a finite number", " and ".join(bounds)

    def has_type(self, value: Any) -> bool:
        """Say whether the value is a number."""
        kinds = int | float | np.integer | np.floating
        return isinstance(value, kinds) and not isinstance(value, bool)

    def in_range(self, value: Any) -> bool:
        """Say whether it lies within the bounds."""
        return (
            (self.least is None or bool(value >= self.least))
            and (self.above is None or bool(value > self.above))
            and (self.most is None or bool(value <= self.most))
            and (self.below is None or bool(value < self.below))
        )

    def check(self, where: str, argument: str, value: Any) -> None:
        """Raise an error for what is no number, not finite, or out of range."""
        super().check(where, argument, value)
        if not _finite(value):
            raise ValueError(self._message(where, argument, self.words()[0], value))
        # JAX would not add it to an array of floats.
        largest = np.iinfo(jax.dtypes.canonicalize_dtype(np.int64)).max
        if isinstance(value, int) and abs(value) > largest:
            words = f"an integer of at most {largest}, or a float"
            raise ValueError(self._message(where, argument, words, value))


@dataclasses.dataclass(frozen=True)
class Plain(Kind):
    """Any value of a Python type, or of NumPy's counterpart.

    Attributes:
        name: of the type, in words.
        types: which types it may have.
    """

    name: str
    types: tuple[type, ...]

    def words(self) -> tuple[str, str]:
        """Return the name."""
        return self.name, ""

    def has_type(self, value: Any) -> bool:
        """Say whether the value has one of the types; a bool is no number."""
        is_bool = isinstance(value, bool) and bool not in self.types
        return isinstance(value, self.types) and not is_bool


# What an annotation without a kind stands for.
PLAIN: dict[Any, Plain] = {
    bool: Plain("a Python bool", (bool, np.bool_)),
    int: Plain("a Python integer", (int, np.integer)),
    float: Plain("a number", (int, float, np.integer, np.floating)),
    str: Plain("a string", (str,)),
    type(None): Plain("None", (type(None),)),
}


@dataclasses.dataclass(frozen=True)
class Function(Kind):
    """A function, or an object that is called like one.

    Attributes:
        classes: whether a class will do, whose call makes an object.
    """

    classes: bool = False

    def words(self) -> tuple[str, str]:
        """Return `a function`."""
        return "a function", ""

    def has_type(self, value: Any) -> bool:
        """Say whether the value can be called; a cell answers with an error."""
        if isinstance(value, type):
            return self.classes
        return callable(value) and not hasattr(value, "initial_carry")

    def check(self, where: str, argument: str, value: Any) -> None:
        """Raise an error for what is no function, or the class of one."""
        if isinstance(value, type) and not self.classes:
            raise TypeError(is_class(where, argument, value, "{}(...)"))
        super().check(where, argument, value)


@dataclasses.dataclass(frozen=True)
class Choice(Kind):
    """One of a few values."""

    options: tuple[Any, ...]

    def words(self) -> tuple[str, str]:
        """Return the options."""
        words = f"one of {list(self.options)}"
        return words, words

    def has_type(self, value: Any) -> bool:
        """Say whether the value has the type of an option."""
        return any(PLAIN[type(option)].has_type(value) for option in self.options)

    def in_range(self, value: Any) -> bool:
        """Say whether it is an option."""
        return value in self.options

    def check(self, where: str, argument: str, value: Any) -> None:
        """Raise an error that names the option that is meant."""
        names = [o for o in self.options if isinstance(o, str) and len(o) > 2]
        close = difflib.get_close_matches(str(value), names, 1)
        hint = f"did you mean {close[0]!r}?" if close and not self.hint else self.hint
        super(Choice, dataclasses.replace(self, hint=hint)).check(
            where, argument, value
        )


@dataclasses.dataclass(frozen=True)
class Parts(Kind):
    """A tuple of at least one part, all of one kind."""

    part: Kind

    def words(self) -> tuple[str, str]:
        """Return what each part is."""
        words = f"a tuple of at least one part, each {self.part}"
        return words, words

    def has_type(self, value: Any) -> bool:
        """Say whether the value is a tuple of such parts."""
        return isinstance(value, tuple) and all(map(self.part.has_type, value))

    def in_range(self, value: Any) -> bool:
        """Say whether all parts lie in range."""
        return bool(value) and all(map(self.part.in_range, value))


@dataclasses.dataclass(frozen=True)
class AnyOf(Kind):
    """One of several kinds, such as a number or None."""

    kinds: tuple[Kind, ...]

    def words(self) -> tuple[str, str]:
        """Return all kinds."""
        return " or ".join(kind.words()[0] for kind in self.kinds), ""

    def has_type(self, value: Any) -> bool:
        """Say whether one kind fits."""
        return any(kind.has_type(value) for kind in self.kinds)

    def check(self, where: str, argument: str, value: Any) -> None:
        """Raise the error of the kind that comes nearest."""
        for kind in self.kinds:
            if kind.has_type(value):
                kind.check(where, argument, value)
                return
        hints = (kind.hint for kind in self.kinds if kind.hint)
        raise TypeError(
            dataclasses.replace(self, hint=next(hints, ""))._message(
                where, argument, self.words()[0], value
            )
        )

    def __str__(self) -> str:
        return ", or ".join(map(str, self.kinds))


def _finite(value: Any) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer that no float holds
        return False
