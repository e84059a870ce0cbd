# SPDX-License-Identifier: Apache-2.0
"""Kinds of what JAX takes: a key, a dtype, the shape of a batch."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import export

from recurrent_jax._checks.kinds import Kind
from recurrent_jax._checks.words import describe, given

# The sizes of keys that are plain arrays, by the name of the generator.
_LEGACY = {"threefry2x32": 2, "rbg": 4, "unsafe_rbg": 4}
_LARGE = 2**31  # a larger integer does not fit into the int32 that JAX makes of it
_COMPUTES_IN = tuple(map(jnp.dtype, ("bfloat16", "float16", "float32", "float64")))


@dataclasses.dataclass(frozen=True)
class OneKey(Kind):
    """A single PRNG key, of `jax.random.key` or `jax.random.PRNGKey`."""

    def words(self) -> tuple[str, str]:
        """Return `a PRNG key`."""
        return "a single PRNG key", "a single PRNG key"

    def has_type(self, value: Any) -> bool:
        """Say whether the value is an array of keys."""
        if not isinstance(value, jax.Array | np.ndarray):
            return False
        return _is_key(value) or (value.dtype == np.uint32 and value.ndim >= 1)

    def in_range(self, value: Any) -> bool:
        """Say whether it is one key."""
        if _is_key(value):
            return bool(value.ndim == 0)
        config: Any = jax.config
        size = _LEGACY.get(config.jax_default_prng_impl, value.shape[-1])
        return bool(value.shape == (size,))

    def check(self, where: str, argument: str, value: Any) -> None:
        """Raise an error for anything but one key."""
        if not self.has_type(value):
            got, _ = given(value)
            seed = value if isinstance(value, int) else 0
            raise TypeError(
                f"{where}: {argument} must be a PRNG key, got {got}; "
                f"jax.random.key({seed}) makes one"
            )
        if not self.in_range(value):
            raise ValueError(
                f"{where}: {argument} must be a single PRNG key, got "
                f"{describe(value)}; pass one of them, or use jax.vmap"
            )


def _is_key(value: Any) -> bool:
    return jnp.issubdtype(value.dtype, jax.dtypes.prng_key)


@dataclasses.dataclass(frozen=True)
class FloatArray(Kind):
    """An array of real numbers. Without axes, a single number will do.

    Attributes:
        axes: the names of the axes, or None for any. Equal names have equal sizes.
    """

    axes: tuple[str, ...] | None = None

    def words(self) -> tuple[str, str]:
        """Return `a floating-point array`, and its axes."""
        shape = "" if self.axes is None else f" of shape ({', '.join(self.axes)})"
        return f"a floating-point array{shape}", f"a floating-point array{shape}"

    def has_type(self, value: Any) -> bool:
        """Say whether the value is one, traced or not."""
        if isinstance(value, int | float):
            return self.axes is None and not isinstance(value, bool)
        is_array = isinstance(value, jax.Array | np.ndarray | np.floating)
        return is_array and value.dtype in _COMPUTES_IN

    def in_range(self, value: Any) -> bool:
        """Say whether it has these axes."""
        if self.axes is None:
            return not isinstance(value, int | float) or abs(value) < _LARGE
        sizes = tuple(zip(self.axes, value.shape, strict=False))
        alike = len(dict(sizes)) == len(set(sizes))
        return len(value.shape) == len(self.axes) and alike and 0 not in value.shape


@dataclasses.dataclass(frozen=True)
class FloatType(Kind):
    """A dtype that cells compute in."""

    def words(self) -> tuple[str, str]:
        """Return the dtypes."""
        words = "a floating-point dtype: float, or one of " + ", ".join(
            dtype.name for dtype in _COMPUTES_IN
        )
        return words, words

    def has_type(self, value: Any) -> bool:
        """Say whether the value names a dtype."""
        dtype = _dtype(value)
        return dtype is not None and dtype in _COMPUTES_IN

    def in_range(self, value: Any) -> bool:
        """Say whether JAX holds it now."""
        wide = value is not float and _dtype(value) == np.float64
        return not wide or bool(jnp.result_type(float) == np.float64)

    def check(self, where: str, argument: str, value: Any) -> None:
        """Raise an error for what JAX does not compute in."""
        if self.has_type(value) and not self.in_range(value):
            raise ValueError(
                f"{where}: {argument} is float64, which JAX holds only after "
                "jax.config.update('jax_enable_x64', True); float is the widest it has"
            )
        super().check(where, argument, value)


def _dtype(value: Any) -> Any:
    """Return the dtype that a value names, or None."""
    if not isinstance(value, (str, type, np.dtype)):
        return None  # NumPy would take what has a dtype, or a tuple of arrays
    try:
        return jnp.dtype(value)
    except (TypeError, ValueError):
        return None


@dataclasses.dataclass(frozen=True)
class Shape(Kind):
    """A tuple or list of sizes, as of a batch; sizes may be symbolic, for export.

    Attributes:
        least: the smallest number of axes.
    """

    least: int = 0

    def words(self) -> tuple[str, str]:
        """Return `a tuple of integers` and their bound."""
        words = "a tuple of integers"
        if self.least:
            words += f", {self.least} or more"
        return words, f"{words}, each at least 0"

    def has_type(self, value: Any) -> bool:
        """Say whether the value is a tuple of sizes."""
        return isinstance(value, (tuple, list)) and all(map(_is_size, value))

    def in_range(self, value: Any) -> bool:
        """Say whether there are enough axes and no size is negative."""
        return len(value) >= self.least and all(
            export.is_symbolic_dim(size) or size >= 0 for size in value
        )

    def check(self, where: str, argument: str, value: Any) -> None:
        """Raise an error for what is no shape."""
        if _is_size(value):
            hint = f"one axis of {value} is ({value},)"
            message = self._message(where, argument, self.words()[0], value)
            raise TypeError(f"{message}; {hint}")
        super().check(where, argument, value)

    def __str__(self) -> str:
        return self.words()[1]


def _is_size(size: Any) -> bool:
    if isinstance(size, (int, np.integer)):
        return not isinstance(size, bool)
    return bool(export.is_symbolic_dim(size))
