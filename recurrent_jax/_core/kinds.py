# SPDX-License-Identifier: Apache-2.0
"""Kinds of arguments: a cell or network, its parameters, or a dictionary."""

import dataclasses
import os
from collections.abc import Mapping
from typing import Annotated, Any

import jax

from recurrent_jax._checks import words
from recurrent_jax._checks.array_kinds import FloatType
from recurrent_jax._checks.kinds import Kind, Plain
from recurrent_jax._core.cell import Cell
from recurrent_jax._core.network import Network

_MODULES = ("recurrent_jax.linen.", "recurrent_jax.nnx.")


@dataclasses.dataclass(frozen=True)
class PartKind(Kind):
    """A cell of this library, or a network of it.

    Attributes:
        networks: whether a network will do.
    """

    networks: bool = True

    def words(self) -> tuple[str, str]:
        """Return `a cell or network`, or `a cell`."""
        kind = "a cell or network" if self.networks else "a cell"
        return f"{kind} such as recurrent_jax.LSTM(4)", ""

    def has_type(self, value: Any) -> bool:
        """Return whether `value` is a cell, or a network where that will do."""
        return isinstance(value, Cell | Network if self.networks else Cell)

    def check(self, where: str, argument: str, value: Any) -> None:
        """Raise an error, with a hint for a module of Flax, theirs or ours."""
        is_module = type(value).__module__.startswith(_MODULES)
        if is_module and not self.has_type(value):
            raise TypeError(
                f"{where}: {argument} must be {self.words()[0]}, got a module, "
                f"{type(value).__name__}; pass the cell that is in it"
            )
        if hasattr(value, "initialize_carry") and not isinstance(value, type):
            theirs = type(value)
            room = "linen" if "linen" in theirs.__module__ else "nnx"
            raise TypeError(
                f"{where}: {argument} must be {self.words()[0]}, got a "
                f"{theirs.__name__} of Flax; recurrent_jax.{room}.FromFlax makes a "
                "cell of it"
            )
        if isinstance(value, type):
            how = "{}(hidden_size=...)"
            raise TypeError(words.is_class(where, argument, value, how))
        kind = self
        if hasattr(value, "_fields"):
            kind = dataclasses.replace(self, hint="the order is (cell, params)")
        super(PartKind, kind).check(where, argument, value)


@dataclasses.dataclass(frozen=True)
class ArrayTree(Kind):
    """A pytree of arrays.

    Attributes:
        floats: whether all arrays must have a dtype that cells compute in.
    """

    floats: bool = False

    def words(self) -> tuple[str, str]:
        """Return `a tree of arrays`, or `a tree of floating-point arrays`."""
        if not self.floats:
            return "a tree of arrays", ""
        return "a tree of floating-point arrays, as init of a cell returns it", ""

    def has_type(self, value: Any) -> bool:
        """Return whether all leaves are arrays."""
        if value is None or isinstance(value, type | str | bytes):
            return False
        return all(map(self._is_one, jax.tree.leaves(value)))

    def _is_one(self, leaf: Any) -> bool:
        if not hasattr(leaf, "dtype") or not hasattr(leaf, "shape"):
            return False
        return not self.floats or FloatType().has_type(leaf.dtype)

    def check(self, where: str, argument: str, value: Any) -> None:
        """Raise an error that names the leaf that is wrong."""
        if value is not None and not isinstance(value, type | str | bytes):
            for path, leaf in jax.tree.leaves_with_path(value):
                if path and not self._is_one(leaf):
                    argument += jax.tree_util.keystr(path)
                    is_array = hasattr(leaf, "dtype") and hasattr(leaf, "shape")
                    got = words.describe(leaf) if is_array else type(leaf).__name__
                    kind = "a floating-point array" if self.floats else "an array"
                    raise TypeError(f"{where}: {argument} must be {kind}, got {got}")
        super().check(where, argument, value)


FilePath = Annotated[
    str | os.PathLike[str], Plain("a path, str or os.PathLike", (str, os.PathLike))
]
Part = Annotated[Cell[Any, Any, Any] | Network[Any, Any, Any], PartKind()]
OneCell = Annotated[Cell[Any, Any, Any], PartKind(networks=False)]
Params = Annotated[Any, ArrayTree(floats=True)]
Arrays = Annotated[Any, ArrayTree()]
Named = Annotated[Mapping[str, Any], Plain("a dictionary by name", (Mapping,))]
