# SPDX-License-Identifier: Apache-2.0
"""Types of arguments: arrays, numbers that may be traced, cells and networks."""

from typing import Annotated, Any

from jax.typing import ArrayLike

from recurrent_jax._checks.input_kinds import Object, OneArray, Scalar, Tree
from recurrent_jax._core.cell import Cell
from recurrent_jax._core.network import Network

_HOW = "{}(hidden_size=...)"


def _is_cell(value: Any) -> bool:
    return hasattr(value, "recur") and hasattr(value, "initial_carry")


def _is_model(value: Any) -> bool:
    return _is_cell(value) or (hasattr(value, "run") and hasattr(value, "out_features"))


CELL = Object("a recurrent_jax.Cell", _is_cell, _HOW)
OneCell = Annotated[Cell, CELL]
Model = Annotated[
    Cell | Network,
    Object("a recurrent_jax.Cell or recurrent_jax.Network", _is_model, _HOW),
]
Params = Annotated[Any, Tree(empty=True)]  # some cells have none
Arrays = Annotated[Any, Tree()]
Structs = Annotated[Any, Tree(structs=True)]  # arrays, or their shapes and dtypes
FloatArrays = Annotated[
    Any, Tree(OneArray("floating-point", hint=".astype(float) makes one"))
]
AnyArray = Annotated[ArrayLike, OneArray()]
Floats = Annotated[
    ArrayLike, OneArray("floating-point", hint=".astype(float) makes one")
]
Features = Annotated[
    ArrayLike,
    OneArray(
        "floating-point",
        least=1,
        axes="(..., features)",
        hint=".astype(float) makes one",
    ),
]
Logits = Annotated[
    ArrayLike, OneArray("floating-point", least=1, axes="(..., classes)")
]
Labels = Annotated[
    ArrayLike, OneArray("integer", hint="labels.argmax(-1) makes one of one-hot labels")
]
Tokens = Annotated[
    ArrayLike,
    OneArray("integer", axes="(*batch)", hint="what feeds numbers back is forecast"),
]
Lengths = Annotated[ArrayLike, OneArray("integer", hint="cast them: .astype(int)")]
Mask = Annotated[ArrayLike, OneArray("bool", least=1, hint="mask != 0 makes one")]
Number = Annotated[ArrayLike, Scalar()]
Place = Annotated[ArrayLike, Scalar(whole=True, least=0)]
