# SPDX-License-Identifier: Apache-2.0
"""Kinds of what is made of cells: a cell or network, its parameters, a dictionary."""

import dataclasses
from collections.abc import Mapping
from typing import Annotated, Any

import jax

from recurrent_jax._checks import words
from recurrent_jax._checks.kinds import Kind, Plain
from recurrent_jax._core.cell import Cell
from recurrent_jax._core.network import Network


@dataclasses.dataclass(frozen=True)
class PartKind(Kind):
    """A cell or a network of this library."""

    def words(self) -> tuple[str, str]:
        """Return `a cell or network`."""
        return "a cell or network such as recurrent_jax.LSTM(4)", ""

    def has_type(self, value: Any) -> bool:
        """Say whether it is one."""
        return isinstance(value, Cell | Network)

    def check(self, where: str, argument: str, value: Any) -> None:
        """Raise an error that knows the cells of Flax."""
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
    """A tuple, or a dictionary, of arrays."""

    def words(self) -> tuple[str, str]:
        """Return `a tree of arrays`."""
        return "a tree of arrays, as init of a cell or network returns it", ""

    def has_type(self, value: Any) -> bool:
        """Say whether all leaves are arrays."""
        leaves = jax.tree.leaves(value)
        return value is not None and all(hasattr(a, "dtype") for a in leaves)


Part = Annotated[Cell | Network, PartKind()]
OneCell = Annotated[Cell, PartKind()]
Params = Annotated[Any, ArrayTree()]
Named = Annotated[Mapping[str, Any], Plain("a dictionary by name", (Mapping,))]
