# SPDX-License-Identifier: Apache-2.0
"""Kinds of what functions compute with: arrays, trees of them, numbers, objects."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from recurrent_jax._checks.kinds import Kind, Number
from recurrent_jax._checks.words import describe, is_class, outline

Dtype = Literal["any", "real", "floating-point", "integer", "bool"]
_WIDTHS = ("bfloat16", "float16", "float32", "float64")


@dataclasses.dataclass(frozen=True)
class OneArray(Kind):
    """An array of JAX or NumPy, or numbers that JAX makes one of.

    Attributes:
        dtype: what its numbers are.
        least: the least number of axes.
        axes: what the axes are, in words.
    """

    dtype: Dtype = "any"
    least: int = 0
    axes: str = ""

    def words(self) -> tuple[str, str]:
        """Return the dtype and the axes."""
        name = {
            "any": "an array",
            "real": "an integer or floating-point array",
            "bool": "a bool array",
            "integer": "an integer array",
        }
        words = f"{name.get(self.dtype, 'a floating-point array')} {self.axes}".strip()
        return words, f"{words}, of {self.least} or more axes"

    def has_type(self, value: Any) -> bool:
        """Say whether JAX makes an array of this dtype of the value."""
        dtype = _dtype(value)
        return dtype is not None and _is(self.dtype, dtype)

    def in_range(self, value: Any) -> bool:
        """Say whether it has enough axes."""
        return np.ndim(value) >= self.least

    def _message(self, where: str, argument: str, words: str, value: Any) -> str:
        message = f"{where}: {argument} must be {words}, got {_named(value)}"
        return "; ".join(filter(None, (message, self.hint)))


@dataclasses.dataclass(frozen=True)
class Tree(Kind):
    """Arrays in any structure of tuples and dicts, at least one.

    Attributes:
        each: what each array is.
        empty: whether there may be none.
        structs: whether shapes and dtypes will do, since no number is read.
    """

    each: OneArray = OneArray()
    empty: bool = False
    structs: bool = False

    def words(self) -> tuple[str, str]:
        """Return what each array is."""
        return (
            "an array, or a tuple or dict of arrays",
            f"{self.each}, or a tree of them",
        )

    def check(self, where: str, argument: str, value: Any) -> None:
        """Raise an error that names the part that is no such array."""
        leaves = jax.tree.leaves_with_path(value)
        if not leaves and not (self.empty and isinstance(value, (tuple, dict))):
            raise ValueError(
                f"{where}: {argument} must hold an array, got {_named(value)}"
            )
        for path, leaf in leaves:
            name = f"{argument}{jax.tree_util.keystr(path)}"
            is_struct = self.structs and isinstance(leaf, jax.ShapeDtypeStruct)
            if is_struct or _is_key(leaf):
                continue
            if path or _dtype(leaf) is not None:
                self.each.check(where, name, leaf)
            else:
                raise TypeError(self._message(where, argument, self.words()[0], leaf))

    def has_type(self, value: Any) -> bool:
        """Say whether there are arrays, and nothing else."""
        leaves = jax.tree.leaves(value)
        return bool(leaves) and all(map(self.each.has_type, leaves))

    def _message(self, where: str, argument: str, words: str, value: Any) -> str:
        message = f"{where}: {argument} must be {words}, got {_named(value)}"
        return "; ".join(filter(None, (message, self.hint)))


@dataclasses.dataclass(frozen=True)
class Scalar(Number):
    """A number that may be traced, which is then an array without axes.

    Attributes:
        whole: whether it is an integer.
    """

    whole: bool = False

    def words(self) -> tuple[str, str]:
        """Return the type and the bounds."""
        kind = "an integer" if self.whole else "a finite number"
        return f"{kind}, which may be traced", super().words()[1]

    def has_type(self, value: Any) -> bool:
        """Say whether the value is one real number."""
        if isinstance(value, bool | np.bool_) or not _is_scalar(value):
            return False
        dtype = jnp.result_type(value)
        kind = jnp.integer if self.whole else jnp.floating
        return jnp.issubdtype(dtype, kind) or jnp.issubdtype(dtype, jnp.integer)

    def check(self, where: str, argument: str, value: Any) -> None:
        """Raise an error for what is no number; look into it where it is known."""
        if self.has_type(value) and isinstance(value, jax.core.Tracer):
            return
        known = isinstance(value, jax.Array | np.ndarray) and self.has_type(value)
        super().check(where, argument, np.asarray(value).item() if known else value)


@dataclasses.dataclass(frozen=True)
class Object(Kind):
    """An object that some test knows by what it can do, and no class of such objects.

    Attributes:
        name: of the kind, in words.
        fits: the test.
        how: how its class is called, to build one.
    """

    name: str
    fits: Callable[[Any], bool]
    how: str = "{}(...)"

    def words(self) -> tuple[str, str]:
        """Return the name."""
        return self.name, ""

    def has_type(self, value: Any) -> bool:
        """Say whether the value is such an object."""
        return not isinstance(value, type) and self.fits(value)

    def check(self, where: str, argument: str, value: Any) -> None:
        """Raise an error for another object, or for a class."""
        if isinstance(value, type) and self.fits(value):
            raise TypeError(is_class(where, argument, value, self.how))
        super().check(where, argument, value)


@dataclasses.dataclass(frozen=True)
class Named(Kind):
    """A dictionary: something of one kind under each name."""

    each: Kind
    least: int = 0

    def words(self) -> tuple[str, str]:
        """Return what is under each name."""
        words = f"a dict of names to {self.each.words()[0]}"
        return words, f"{words}, at least {self.least}"

    def has_type(self, value: Any) -> bool:
        """Say whether the value maps names."""
        return isinstance(value, Mapping) and all(isinstance(n, str) for n in value)

    def in_range(self, value: Any) -> bool:
        """Say whether there is a name, where one is needed."""
        return len(value) >= self.least

    def check(self, where: str, argument: str, value: Any) -> None:
        """Raise an error that tells the name of a part that is of another kind."""
        super().check(where, argument, value)
        for name, part in value.items():
            self.each.check(where, f"{argument}[{name!r}]", part)


def _dtype(value: Any) -> Any:
    """Return the dtype that a value has as an array of JAX, or None for no array."""
    if isinstance(value, (bool, int, float, list, tuple)):
        try:
            value = np.asarray(value)
        except ValueError:  # ragged
            return None
        if value.dtype == np.int64 and not _fits(value):
            return None
    if not isinstance(value, jax.Array | np.ndarray | np.generic) or _is_key(value):
        return None
    if isinstance(value, np.ma.MaskedArray):
        return None  # JAX would refuse it
    numbers = jnp.issubdtype(value.dtype, np.number) or value.dtype == np.bool_
    return jax.dtypes.canonicalize_dtype(value.dtype) if numbers else None


def _fits(integers: Any) -> bool:
    """Say whether JAX holds integers of Python in the dtype that it makes of them."""
    limits = jnp.iinfo(jax.dtypes.canonicalize_dtype(np.int64))
    return bool(((integers >= limits.min) & (integers <= limits.max)).all())


def _is(kind: Dtype, dtype: Any) -> bool:
    if kind == "floating-point":
        return dtype.name in _WIDTHS
    if kind == "bool":
        return bool(dtype == np.bool_)
    if kind == "real":
        return jnp.issubdtype(dtype, jnp.integer) or dtype.name in _WIDTHS
    return kind == "any" or jnp.issubdtype(dtype, jnp.integer)


def _is_key(value: Any) -> bool:
    is_array = isinstance(value, jax.Array)
    return is_array and jnp.issubdtype(value.dtype, jax.dtypes.prng_key)


def _is_scalar(value: Any) -> bool:
    return not isinstance(value, (list, tuple)) and (
        _dtype(value) is not None and np.ndim(value) == 0
    )


def _named(value: Any) -> str:
    """Return how a message names a value that was refused."""
    if isinstance(value, list) and _dtype(value) is not None:
        value = np.asarray(value)
    if isinstance(value, np.ma.MaskedArray):
        return f"a masked array, {describe(value)}, which filled() makes an array"
    if isinstance(value, jax.Array | np.ndarray | np.generic):
        return describe(value)
    if isinstance(value, (tuple, list, Mapping)):
        return outline(value)
    if isinstance(value, type):
        return f"the class {value.__name__}"
    shown = repr(value)
    return shown if len(shown) <= 80 else f"{shown[:77]}..."
