# SPDX-License-Identifier: Apache-2.0
"""Types of fields and arguments: a plain type for type checkers, and its kind.

The kind is checked at run time. `docs/errors.md` has a row for each.
"""

from collections.abc import Callable
from typing import Annotated

import jax
from jax.typing import DTypeLike

from recurrent_jax._checks.array_kinds import FloatArray, FloatType, OneKey, Shape
from recurrent_jax._checks.functions import Elementwise
from recurrent_jax._checks.kinds import PLAIN, Function, Integer, Number, Parts

Size = Annotated[int, Integer(least=1)]
Count = Annotated[int, Integer(least=0)]
Real = Annotated[float, Number()]
Positive = Annotated[float, Number(above=0)]
NonNegative = Annotated[float, Number(least=0)]
Rate = Annotated[
    float,
    Number(
        least=0,
        below=1,
        hint="it is the share that is dropped, not the share that is kept",
    ),
]
Damping = Annotated[float, Number(least=0, most=1)]
Share = Annotated[float, Number(above=0, most=1)]
Bound = Annotated[float, Number(above=0, hint="None switches it off")] | None
Flag = Annotated[bool, PLAIN[bool]]
Activation = Annotated[
    Callable[[jax.Array], jax.Array],
    Elementwise(hint="pass one such as jax.numpy.tanh"),
]
Initializer = Annotated[
    Callable[[jax.Array, tuple[int, ...], DTypeLike], jax.Array],
    Function(hint="pass one such as recurrent_jax.initializers.zeros"),
]
PerGate = Initializer | tuple[Initializer, ...]
Names = Annotated[tuple[str, ...], Parts(PLAIN[str])]
Floats = Annotated[jax.Array, FloatArray()]
Key = Annotated[jax.Array, OneKey()]
DType = Annotated[DTypeLike, FloatType()]
BatchShape = Annotated[tuple[int, ...], Shape()]
UnitsShape = Annotated[tuple[int, ...], Shape(least=1)]  # (..., units)
KernelShape = Annotated[tuple[int, ...], Shape(least=2)]  # (..., fan in, fan out)
