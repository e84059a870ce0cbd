# SPDX-License-Identifier: Apache-2.0
"""Which cells a kernel runs, and how its handlers are called."""

import dataclasses
from typing import Any

import jax

from recurrent_jax._core.names import spell
from recurrent_jax._core.types import Names, Size


@dataclasses.dataclass(frozen=True)
class Kernel:
    """The handlers of one recurrence, as values.

    Attributes:
        name: the name of the handlers, such as `lstm` for `rj_lstm_forward`.
        params: the parameters in the order of the handlers. The first three are the
            kernel, the bias and the recurrent kernel.
        residuals: the widths of the arrays that the backward handler reads, as
            multiples of the hidden size.
        fields: the values that a field of the cell may have. Other fields are free.
        attributes: the attributes of the handlers.
    """

    name: str
    params: Names
    residuals: tuple[Size, ...] = ()
    fields: tuple[tuple[str, tuple[Any, ...]], ...] = ()
    attributes: tuple[tuple[str, Any], ...] = ()

    def refuses(self, cell: Any) -> str | None:
        """Return None, or which field of a cell this kernel does not compute."""
        for name, allowed in self.fields:
            value = getattr(cell, name)
            if not any(value is one or value == one for one in allowed):
                return f"{name}={spell(value)}, for which there is no kernel"
        return None

    def shapes(self, xs: jax.Array, hidden_size: int) -> list[tuple[int, ...]]:
        """Return the shapes of the residuals for inputs `(time, batch, features)`."""
        return [(*xs.shape[:2], width * hidden_size) for width in self.residuals]


# The kernels of each cell, by its exact type: another class may compute another step.
# `_table.py` fills it, since cells are not imported here.
KERNELS: dict[type, tuple[Kernel, ...]] = {}


def find(cell: Any) -> Kernel | str:
    """Return the kernel that runs a cell, or why there is none.

    This depends on the class of the cell and on its fields, and not on the platform.

    Args:
        cell: a cell, such as `rj.LSTM(3)`.

    Returns:
        A `Kernel`, or the reason in words.

    Example:
        >>> import jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> rj.kernels.find(rj.LSTM(3)).name
        'lstm'
        >>> rj.kernels.find(rj.LSTM(3, activation=jnp.sin))
        'activation=jax.numpy.sin, for which there is no kernel'
    """
    kind = type(cell)
    if kind not in KERNELS:
        inner = getattr(cell, "cell", None)
        if type(inner) in KERNELS:
            return f"{kind.__name__} changes the step of {type(inner).__name__}"
        return f"there is no kernel for {kind.__name__}"
    reasons = []
    for kernel in KERNELS[kind]:
        if (reason := kernel.refuses(cell)) is None:
            return kernel
        reasons.append(reason)
    return reasons[-1]
