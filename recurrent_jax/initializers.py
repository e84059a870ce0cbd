# SPDX-License-Identifier: Apache-2.0
"""Initialisers: what `jax.nn.initializers` lacks, and other libraries' defaults.

An initialiser is a function `(key, shape, dtype) -> array`. A cell calls it once for
each gate, with the shape of that gate alone, so that fan-in, fan-out and orthogonality
mean what they say; wrap it in `Fused` to draw all gates as one matrix. The functions
here are named, not made by a factory, so that cells that hold them compare, hash and
pickle; those of `jax.nn.initializers` work too, without pickling.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from recurrent_jax._cell import Cell, Initializer, spell


def zeros(key: jax.Array, shape: tuple[int, ...], dtype: DTypeLike) -> jax.Array:
    """Return zeros; the key is not used."""
    return jnp.zeros(shape, dtype)


def glorot_uniform(
    key: jax.Array, shape: tuple[int, ...], dtype: DTypeLike
) -> jax.Array:
    """Return `U(-a, a)` with `a = sqrt(6 / (fan_in + fan_out))`.

    References:
        Glorot and Bengio, 2010. Understanding the difficulty of training deep
        feedforward neural networks. https://proceedings.mlr.press/v9/glorot10a.html
    """
    return jax.nn.initializers.glorot_uniform()(key, shape, dtype)


def lecun_normal(key: jax.Array, shape: tuple[int, ...], dtype: DTypeLike) -> jax.Array:
    """Return a normal draw, cut at two deviations, of variance `1 / fan_in`."""
    return jax.nn.initializers.lecun_normal()(key, shape, dtype)


def orthogonal(key: jax.Array, shape: tuple[int, ...], dtype: DTypeLike) -> jax.Array:
    """Return a matrix with orthonormal rows or columns, in any float dtype.

    The factorisation runs in at least float32 and is cast afterwards; half precision
    has none of its own.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from recurrent_jax import initializers
        >>> q = initializers.orthogonal(jax.random.key(0), (4, 4), jnp.bfloat16)
        >>> q.dtype
        dtype(bfloat16)

    References:
        Saxe, McClelland and Ganguli, 2014. Exact solutions to the nonlinear dynamics
        of learning in deep linear neural networks. https://arxiv.org/abs/1312.6120
    """
    wide = jnp.float32 if jnp.finfo(dtype).bits < 32 else dtype
    return jax.nn.initializers.orthogonal()(key, shape, wide).astype(dtype)


@dataclasses.dataclass(frozen=True)
class TruncatedNormal:
    """A normal draw cut at two deviations, of deviation `stddev` before the cut."""

    stddev: float

    def __call__(
        self, key: jax.Array, shape: tuple[int, ...], dtype: DTypeLike
    ) -> jax.Array:
        """Return the draw."""
        draw = jax.random.truncated_normal(key, -2.0, 2.0, shape, dtype)
        return draw * jnp.asarray(self.stddev, dtype)

    def __repr__(self) -> str:
        return f"recurrent_jax.initializers.TruncatedNormal({self.stddev!r})"


@dataclasses.dataclass(frozen=True)
class Fused:
    """Draw all gates as one matrix with `initializer`, as Keras does."""

    initializer: Initializer

    def __call__(
        self, key: jax.Array, shape: tuple[int, ...], dtype: DTypeLike
    ) -> jax.Array:
        """Return the draw of the whole matrix."""
        return self.initializer(key, shape, dtype)

    def __repr__(self) -> str:
        return f"recurrent_jax.initializers.Fused({spell(self.initializer)})"


def per_gate(
    initializer: Initializer | tuple[Initializer, ...],
    key: jax.Array,
    shape: tuple[int, ...],
    gates: int,
    dtype: DTypeLike,
) -> jax.Array:
    """Return one draw of `shape` for each gate, side by side along the last axis.

    Args:
        initializer: one for all gates, or a tuple of one for each; a `Fused` one
            draws the wide array at once.
        key: a PRNG key.
        shape: of one gate.
        gates: how many.
        dtype: a floating-point dtype.

    Returns:
        An array of shape `(*shape[:-1], gates * shape[-1])`.

    Raises:
        ValueError: if a tuple has not one initialiser for each gate.

    Example:
        >>> import jax
        >>> from recurrent_jax import initializers
        >>> kernel = initializers.per_gate(
        ...     initializers.orthogonal, jax.random.key(0), (3, 3), 4, float)
        >>> kernel.shape
        (3, 12)
    """
    if isinstance(initializer, Fused):
        return initializer(key, (*shape[:-1], gates * shape[-1]), dtype)
    each = initializer if isinstance(initializer, tuple) else (initializer,) * gates
    if len(each) != gates:
        raise ValueError(
            f"per_gate: got a tuple of {len(each)} initialisers for {gates} gates; "
            "give one for each gate, or a single one for all"
        )
    keys = jax.random.split(key, gates)
    draws = [draw(k, shape, dtype) for draw, k in zip(each, keys, strict=True)]
    return jnp.concatenate(draws, axis=-1)


def torch_uniform(
    key: jax.Array, shape: tuple[int, ...], dtype: DTypeLike
) -> jax.Array:
    """Return PyTorch's `U(-a, a)` with `a = 1 / sqrt(hidden_size)`."""
    a = float(shape[-1]) ** -0.5
    return jax.random.uniform(key, shape, dtype, -a, a)


def torch_bias(key: jax.Array, shape: tuple[int, ...], dtype: DTypeLike) -> jax.Array:
    """Return the sum of PyTorch's two bias draws, which only ever act together."""
    first, second = jax.random.split(key)
    return torch_uniform(first, shape, dtype) + torch_uniform(second, shape, dtype)


def haiku_linear(key: jax.Array, shape: tuple[int, ...], dtype: DTypeLike) -> jax.Array:
    """Return Haiku's `Linear` draw: deviation `1 / sqrt(fan_in)` before the cut."""
    return TruncatedNormal(float(shape[0]) ** -0.5)(key, shape, dtype)


def preset(name: str, cell: Cell, in_features: int | None = None) -> Any:
    """Return `cell` with the initialisers that another library has by default.

    The distributions are equal; the draws are not, since the generators differ.

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
        in_features: needed by `"haiku"` for LSTMs alone. One matrix acts there on
            input and state together, so its fan-in is the sum of the two.

    Returns:
        A new cell of the same type.

    Raises:
        ValueError: if the name is unknown, the cell lacks those fields, or
            `in_features` is missing where it is needed.

    Example:
        >>> import recurrent_jax as rj
        >>> cell = rj.initializers.preset("keras", rj.LSTM(8))
        >>> cell.kernel_init
        recurrent_jax.initializers.Fused(recurrent_jax.initializers.glorot_uniform)
    """
    fields = {f.name for f in dataclasses.fields(cell)}
    if missing := {"kernel_init", "recurrent_kernel_init", "bias_init"} - fields:
        raise ValueError(f"preset: {cell!r} has no field {sorted(missing)}")
    is_lstm, is_gru = "forget_bias" in fields, "recurrent_bias_init" in fields
    changes: dict[str, Any]
    if name == "torch":
        # The candidate of a GRU keeps its two biases apart, so neither is a sum.
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
    elif name == "haiku":
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
    else:
        raise ValueError(
            f"preset: no preset is called {name!r}; there are 'torch', 'keras', "
            "'flax' and 'haiku'"
        )
    changes |= {"forget_bias": forget} if is_lstm else {}
    return dataclasses.replace(cell, **changes)


def _fields(kernel: Any, recurrent_kernel: Any, bias: Any) -> dict[str, Any]:
    return {
        "kernel_init": kernel,
        "recurrent_kernel_init": recurrent_kernel,
        "bias_init": bias,
    }
