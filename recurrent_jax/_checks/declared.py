# SPDX-License-Identifier: Apache-2.0
"""Checks that follow from annotations: of the fields of a class, of arguments."""

import collections.abc
import dataclasses
import functools
import inspect
import sys
import types
import typing
from collections.abc import Callable
from typing import Annotated, Any, Literal, NamedTuple, ParamSpec, TypeVar, Union, cast

import jax

from recurrent_jax._checks.array_kinds import FloatType, OneKey, Shape
from recurrent_jax._checks.kinds import (
    PLAIN,
    AnyOf,
    Choice,
    Function,
    Integer,
    Kind,
    Parts,
    Plain,
)
from recurrent_jax._checks.names import fit

P = ParamSpec("P")
R = TypeVar("R")
_ABSENT: Any = object()
_ANY_FUNCTION = Function(classes=True)


def kind_of(hint: Any) -> Kind | None:
    """Return the kind that an annotation stands for, or None if it may be anything."""
    hint = getattr(hint, "__value__", hint)  # type X = ...
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        kinds = (k for k in hint.__metadata__ if isinstance(k, Kind))
        return next(kinds, None) or kind_of(arguments[0])
    if origin is Literal:
        return Choice(arguments)
    if origin in (Union, types.UnionType):
        return _any_of([kind_of(each) for each in arguments])
    if origin is tuple and arguments[1:] == (...,):
        part = kind_of(arguments[0])
        # Of plain parts nothing is asked: an author's own annotation may be loose.
        return None if part is None or isinstance(part, Plain) else Parts(part)
    if collections.abc.Callable in (origin, hint):
        return _ANY_FUNCTION
    if isinstance(hint, type) and hasattr(hint, "_fields"):
        return Plain(hint.__name__, (hint,))
    return PLAIN.get(hint) if isinstance(hint, type) else None


def _any_of(kinds: list[Kind | None]) -> Kind | None:
    known = tuple(kind for kind in kinds if kind is not None)
    if len(known) < len(kinds):
        return None
    first, nothing = known[0], PLAIN[type(None)]
    if isinstance(first, Choice) and known[1:] == (nothing,):
        return Choice((*first.options, None))
    return AnyOf(known)


class Field(NamedTuple):
    """What is known of a field: `default` is not checked again."""

    name: str
    kind: Kind | None
    default: Any

    @property
    def has_default(self) -> bool:
        """Whether the field may be left out."""
        return self.default is not _ABSENT


def fields(value: Any, hashable: bool = True) -> None:
    """Check the fields of a frozen dataclass: of their kinds, and hashable."""
    where = type(value).__name__
    if hashable:
        compared(where, value)
    for name, kind, default in fields_of(type(value)):
        field = getattr(value, name, default)
        if field is default:
            continue
        if hashable and not _hashes(field):
            _unhashable(where, name, kind, field)
        if kind is not None:
            kind.check(where, name, field)


def compared(where: str, value: Any) -> None:
    """Check that all that a dataclass holds takes part in its comparisons."""
    if type(value).__hash__ is object.__hash__:  # it is equal to itself alone
        return
    of_fields, known = _names(type(value))
    held = getattr(value, "__dict__", {})  # a class with slots has none
    for name in held.keys() - known:
        member = getattr(type(value), name, None)
        is_cached = isinstance(member, functools.cached_property)
        if not is_cached and not name.startswith("__"):
            raise TypeError(
                f"{where}: {name} is no field, so two that differ in it count as "
                "equal, and one would run the compiled program of the other; make "
                f"{where} a frozen dataclass with this field, without an __init__ of "
                "its own"
            )
    for name in known - of_fields:
        raise TypeError(
            f"{where}: the field {name} has compare=False, so two that differ in it "
            "would share a compiled program; leave compare=False out"
        )


@functools.lru_cache(maxsize=1024)
def _names(cls: Any) -> tuple[frozenset[str], frozenset[str]]:
    """Return the fields that are compared, and all fields."""
    each = dataclasses.fields(cls)
    of_fields = frozenset(field.name for field in each if field.compare)
    return of_fields, frozenset(field.name for field in each)


def _hashes(field: Any) -> bool:
    try:
        hash(field)
    except TypeError:
        return False
    return True


def _unhashable(where: str, name: str, kind: Kind | None, field: Any) -> None:
    if kind is not None and isinstance(field, jax.Array) and field.ndim == 0:
        kind.check(where, name, field)  # it says more: to make it static
    else:
        raise TypeError(
            f"{where}: {name} holds a {type(field).__name__}, which does not hash, so "
            "jit could not tell one cell from another; fields are numbers, strings, "
            "functions and tuples of them. An array belongs into the parameters that "
            "init returns"
        )


@functools.lru_cache(maxsize=1024)
def fields_of(cls: Any) -> tuple[Field, ...]:
    """Return the fields of a dataclass, with the kind of each."""
    hints = _hints(cls)
    found: list[Field] = []
    for field in dataclasses.fields(cls):
        kind: Kind | None = kind_of(hints.get(field.name))
        if kind is None and callable(field.default):
            kind = _ANY_FUNCTION
        if field.name == "hidden_size" and kind in (None, PLAIN[int]):
            kind = Integer(least=1)
        if kind == _ANY_FUNCTION and field.name.endswith("_init"):
            kind = AnyOf((_ANY_FUNCTION, Parts(_ANY_FUNCTION)))  # or one for each gate
        default = _ABSENT if field.default is dataclasses.MISSING else field.default
        found.append(Field(field.name, kind, default))
    return tuple(found)


def _hints(cls: type) -> dict[str, Any]:
    """Return the annotations of a class, without those that cannot be resolved."""
    try:
        return typing.get_type_hints(cls, include_extras=True)
    except Exception:  # one name is not there at run time: go on with the others
        return {name: hint for base in cls.__mro__[::-1] for name, hint in _each(base)}


def _each(base: type) -> list[tuple[str, Any]]:
    resolved = []
    names = {**vars(sys.modules[base.__module__]), **vars(base)}
    for name, hint in inspect.get_annotations(base).items():
        try:
            hint = eval(hint, names) if isinstance(hint, str) else hint
        except Exception:
            hint = Any
        resolved.append((name, hint))
    return resolved


def called(function: Callable[P, R]) -> Callable[P, R]:
    """Check the names of the arguments, and how many go by position, at each call."""
    return _checking(function, {})


def checked(function: Callable[P, R]) -> Callable[P, R]:
    """Check the arguments of a function at each call, by the kinds it declares.

    Example:
        >>> from recurrent_jax._checks import checked
        >>> from recurrent_jax._core.types import Size
        >>> @checked
        ... def double(size: Size) -> int:
        ...     return 2 * size
        >>> double(0)
        Traceback (most recent call last):
        ValueError: double: size must be at least 1, got 0
    """
    hints = typing.get_type_hints(function, include_extras=True)
    kinds = {name: kind_of(hint) for name, hint in hints.items() if name != "return"}
    return _checking(function, {n: kind for n, kind in kinds.items() if kind})


def protocol(
    function: Callable[P, R], finish: Callable[..., R] | None = None
) -> Callable[P, R]:
    """Check a key, a dtype and shapes by their names, however they are annotated.

    For `init` and `initial_carry`, also of cells by users, and for initialisers.
    `finish` makes the result of what the function returned, from it, the first argument
    and all arguments by name.
    """
    return _checking(function, _PROTOCOL, finish)


_PROTOCOL: dict[str, Kind] = {
    "key": OneKey(),
    "in_features": Integer(least=1),
    "dtype": FloatType(),
    "batch_shape": Shape(),
    "shape": Shape(),
    "size": Integer(least=1),
}


def _checking(
    function: Callable[P, R],
    kinds: dict[str, Kind],
    finish: Callable[..., R] | None = None,
) -> Callable[P, R]:
    """Return the function, with a check of each argument that has a kind."""
    parameters = inspect.signature(function).parameters
    names, where = tuple(parameters), functools.partial(_where, function)
    kinds = {name: kind for name, kind in kinds.items() if name in parameters}
    defaults = {name: parameters[name].default for name in kinds}
    check_names = fit  # a variable, see below
    fitting: set[Any] = set()  # names and counts that were checked before

    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        names_given = (len(args), *kwargs)
        if names_given not in fitting:
            check_names(where(args), parameters, args, kwargs)
            fitting.add(names_given)
        for name, value in (*zip(names, args, strict=False), *kwargs.items()):
            if name in kinds and value is not defaults[name]:
                kinds[name].check(where(args), name, value)
        result = function(*args, **kwargs)
        if finish is None:
            return result
        return finish(
            result, args[0], {**dict(zip(names, args, strict=False)), **kwargs}
        )

    # Of the module of the function, where doctest looks for its examples, so that
    # `call` sees its own variables but no global names of this module.
    there: Any = types.FunctionType(
        call.__code__, function.__globals__, closure=call.__closure__
    )
    return cast(Callable[P, R], functools.wraps(function)(there))


def _where(function: Callable[..., Any], args: tuple[Any, ...]) -> str:
    """Return how a message names a function, a method or a constructor."""
    name = function.__name__
    if "." not in function.__qualname__.rpartition("<locals>.")[2]:
        return name
    made = type(args[0]).__name__
    return made if name == "__init__" else f"{made}.{name}"
