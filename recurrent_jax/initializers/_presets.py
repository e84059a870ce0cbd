# SPDX-License-Identifier: Apache-2.0
"""The default initialisers of other libraries."""

import dataclasses
from typing import Any, Literal

import jax

from recurrent_jax import _checks
from recurrent_jax._core.cell import Cell
from recurrent_jax._core.types import DType, Initializer, Key, Size, UnitsShape
from recurrent_jax.initializers._basic import (
    Fused,
    TruncatedNormal,
    glorot_uniform,
    lecun_normal,
    orthogonal,
    zeros,
)


@_checks.checked
def torch_uniform(key: Key, shape: UnitsShape, dtype: DType) -> jax.Array:
    """Return PyTorch's uniform draw `U(-a, a)` with `a = 1 / sqrt(hidden_size)`.

    Args:
        key: a PRNG key.
        shape: `(..., hidden_size)`, of a kernel or a bias of one gate.
        dtype: a floating-point dtype.

    Returns:
        An array of this shape and dtype.

    Raises:
        ValueError: if `shape` has no axis.

    Example:
        >>> import jax
        >>> from recurrent_jax import initializers
        >>> draw = initializers.torch_uniform(jax.random.key(0), (3, 4), float)
        >>> draw.shape, bool((abs(draw) <= 0.5).all())
        ((3, 4), True)
    """
    a = float(shape[-1]) ** -0.5
    return jax.random.uniform(key, shape, dtype, -a, a)


@_checks.checked
def torch_bias(key: Key, shape: UnitsShape, dtype: DType) -> jax.Array:
    """Draw PyTorch's two biases and return their sum, which is all that the cell uses.

    Each is a draw of `torch_uniform`.

    Args:
        key: a PRNG key.
        shape: `(hidden_size,)`, of the bias of one gate.
        dtype: a floating-point dtype.

    Returns:
        An array of this shape and dtype.

    Raises:
        ValueError: if `shape` has no axis.

    Example:
        >>> import jax
        >>> from recurrent_jax import initializers
        >>> draw = initializers.torch_bias(jax.random.key(0), (4,), float)
        >>> draw.shape, bool((abs(draw) <= 1).all())
        ((4,), True)
    """
    first, second = jax.random.split(key)
    return torch_uniform(first, shape, dtype) + torch_uniform(second, shape, dtype)


@_checks.checked
def haiku_linear(key: Key, shape: UnitsShape, dtype: DType) -> jax.Array:
    """Return Haiku's draw of a `Linear`: normal, then cut at two deviations.

    The deviation before the cut is `1 / sqrt(fan_in)`.

    Args:
        key: a PRNG key.
        shape: `(fan_in, ...)`, of a kernel of one gate.
        dtype: a floating-point dtype.

    Returns:
        An array of this shape and dtype.

    Raises:
        ValueError: if `shape` has no axis.

    Example:
        >>> import jax
        >>> from recurrent_jax import initializers
        >>> draw = initializers.haiku_linear(jax.random.key(0), (16, 3), float)
        >>> draw.shape, bool((abs(draw) <= 0.5).all())
        ((16, 3), True)
    """
    return TruncatedNormal(float(shape[0]) ** -0.5)(key, shape, dtype)


_Name = Literal["torch", "keras", "flax", "haiku"]


@_checks.checked
def preset(name: _Name, cell: Cell, in_features: Size | None = None) -> Any:
    """Return `cell` with the default initialisers of another library.

    The distributions are equal. The draws differ, since the generators differ.

    | name  | kernel, recurrent kernel                        | bias       | forget |
    |-------|-------------------------------------------------|------------|--------|
    | torch | `U(-a, a)`, `a = 1 / sqrt(hidden)`              | two of `U` | 0      |
    | keras | Glorot uniform and orthogonal, all gates as one | 0          | 1      |
    | flax  | LeCun normal and orthogonal, gate by gate       | 0          | 0      |
    | haiku | normal of variance `1 / fan_in`, cut            | 0          | 1      |

    Args:
        name: `"torch"`, `"keras"`, `"flax"` or `"haiku"`.
        cell: a cell with the fields `kernel_init`, `recurrent_kernel_init` and
            `bias_init`.
        in_features: the number of input features, which only `"haiku"` needs, for
            LSTMs. There, one matrix acts on input and state together, so its fan-in is
            the sum of the two.

    Returns:
        A new cell of the same type.

    Raises:
        ValueError: if the name is unknown, if the cell lacks those fields, or if
            `in_features` is missing where it is needed.

    Example:
        >>> import recurrent_jax as rj
        >>> cell = rj.initializers.preset("keras", rj.LSTM(8))
        >>> cell.kernel_init
        recurrent_jax.initializers.Fused(recurrent_jax.initializers.glorot_uniform)
    """
    _checks.instance("preset", cell, order="(name, cell)")
    fields = {f.name for f in dataclasses.fields(cell)}
    if missing := {"kernel_init", "recurrent_kernel_init", "bias_init"} - fields:
        raise ValueError(f"preset: {cell!r} has no field {sorted(missing)}")
    is_lstm, is_gru = "forget_bias" in fields, "recurrent_bias_init" in fields
    changes: dict[str, Any]
    if name == "torch":
        # The candidate of a GRU has two separate biases, so neither is a sum.
        bias = (torch_bias, torch_bias, torch_uniform) if is_gru else torch_bias
        changes = _fields(torch_uniform, torch_uniform, bias)
        changes |= {"recurrent_bias_init": torch_uniform} if is_gru else {}
        forget = 0.0
    elif name == "keras":
        changes = _fields(Fused(glorot_uniform), Fused(orthogonal), zeros)
        forget = 1.0
    elif name == "flax":
        changes = _fields(lecun_normal, orthogonal, zeros)
        forget = 0.0
    else:
        draw: Initializer = lecun_normal if is_gru else haiku_linear
        if is_lstm:
            if in_features is None:
                raise ValueError(
                    "preset: 'haiku' needs in_features for an LSTM, whose one matrix "
                    "there takes input and state together; pass in_features=..."
                )
            draw = TruncatedNormal((in_features + cell.hidden_size) ** -0.5)  # type: ignore[attr-defined]
        changes = _fields(draw, draw, zeros)
        forget = 1.0
    changes |= {"forget_bias": forget} if is_lstm else {}
    return dataclasses.replace(cell, **changes)


def _fields(kernel: Any, recurrent_kernel: Any, bias: Any) -> dict[str, Any]:
    return {
        "kernel_init": kernel,
        "recurrent_kernel_init": recurrent_kernel,
        "bias_init": bias,
    }
