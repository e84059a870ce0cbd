# SPDX-License-Identifier: Apache-2.0
"""The arrays of a cell, a network or any tree: names, shapes, dtypes, numbers."""

import math
from typing import Any, NamedTuple

import jax
from jax.tree_util import keystr

from recurrent_jax import _checks
from recurrent_jax._core.cell import Cell
from recurrent_jax._core.kinds import Arrays, Part
from recurrent_jax._core.network import Network
from recurrent_jax._core.types import Size


class Row(NamedTuple):
    """One array."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    size: int
    bytes: int


class Summary(NamedTuple):
    """The arrays of a tree. Its text has one line for each, and one for the total.

    Attributes:
        title: what the arrays belong to.
        rows: one for each array.

    Example:
        >>> import recurrent_jax as rj
        >>> rj.diagnostics.summary(rj.LSTM(64), in_features=4).size
        17664
    """

    title: str
    rows: tuple[Row, ...]

    @property
    def size(self) -> int:
        """The number of numbers in all arrays: the parameter count."""
        return sum(row.size for row in self.rows)

    @property
    def bytes(self) -> int:
        """The memory of all arrays."""
        return sum(row.bytes for row in self.rows)

    def __repr__(self) -> str:
        lines = [
            (row.name, row.dtype, str(row.shape), f"{row.size:,}") for row in self.rows
        ]
        lines.append(("total", "", _memory(self.bytes), f"{self.size:,}"))
        wide = [max(map(len, column)) for column in zip(*lines, strict=True)]
        text = [
            f"{name:<{wide[0]}}  {dtype:<{wide[1]}}  {shape:<{wide[2]}}  "
            f"{size:>{wide[3]}}"
            for name, dtype, shape, size in lines
        ]
        return "\n".join([self.title, *text])


@_checks.checked
def summary(what: Part | Arrays, *, in_features: Size | None = None) -> Summary:
    """Return the names, shapes, dtypes and sizes of all arrays, and their total.

    For a cell or a network these are the parameters that `init` would make. Nothing is
    computed, so a large network costs nothing.

    Args:
        what: a cell, a network, or any tree of arrays: parameters, a carry, variables
            of Linen or a state of NNX.
        in_features: the number of input features of a cell or network.

    Returns:
        A `Summary`, which prints as a table, also in a notebook.

    Raises:
        TypeError: if `in_features` is missing for a cell, or given for arrays.

    Example:
        >>> import recurrent_jax as rj
        >>> network = rj.Deep((rj.Bidirectional(rj.GRU(8)), rj.LSTM(4)))
        >>> rj.diagnostics.summary(network.layers[1], in_features=16)
        LSTM(hidden_size=4), in_features=16
        kernel            float32  (16, 16)   256
        recurrent_kernel  float32  (4, 16)     64
        bias              float32  (16,)       16
        total                      1.3 KiB    336
    """
    title, tree = type(what).__name__, what
    if isinstance(what, Cell | Network):
        if in_features is None:
            raise TypeError(
                f"summary: the sizes of {what!r} depend on its input; pass "
                "in_features=..., or the parameters instead of the cell"
            )
        title, tree = (
            f"{what!r}, in_features={in_features}",
            _checks.fresh(what, in_features),
        )
    elif in_features is not None:
        raise TypeError("summary: arrays have their sizes; leave in_features out")
    leaves = jax.tree.leaves_with_path(tree)
    return Summary(title, tuple(_row(path, leaf) for path, leaf in leaves))


def _row(path: Any, leaf: Any) -> Row:
    size = math.prod(leaf.shape)
    name = keystr(path, simple=True, separator=".") or "value"
    bytes_ = size * getattr(leaf.dtype, "itemsize", 0)
    return Row(name, str(leaf.dtype), tuple(leaf.shape), size, bytes_)


def _memory(count: float) -> str:
    """Return a number of bytes in a unit that suits it."""
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.3g} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"
