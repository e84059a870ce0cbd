# SPDX-License-Identifier: Apache-2.0
"""Initialisers of one gate, and of all gates side by side."""

import dataclasses

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from recurrent_jax._checks import checked, outline, protocol
from recurrent_jax._core.types import (
    BatchShape,
    DType,
    Initializer,
    KernelShape,
    Key,
    NonNegative,
    Real,
    Size,
)
from recurrent_jax._core.value import Value


@checked
def zeros(key: jax.Array, shape: BatchShape, dtype: DType) -> jax.Array:
    """Return zeros.

    Args:
        key: a PRNG key, which is not used.
        shape: any shape.
        dtype: a floating-point dtype.

    Returns:
        An array of this shape and dtype.

    Example:
        >>> import jax
        >>> from recurrent_jax import initializers
        >>> draw = initializers.zeros(jax.random.key(0), (3,), float)
        >>> print(draw)
        [0. 0. 0.]
    """
    return jnp.zeros(shape, dtype)


@checked
def glorot_uniform(key: Key, shape: KernelShape, dtype: DType) -> jax.Array:
    """Return a uniform draw `U(-a, a)` with `a = sqrt(6 / (fan_in + fan_out))`.

    Args:
        key: a PRNG key.
        shape: `(..., fan_in, fan_out)`. Axes before these two multiply both fans.
        dtype: a floating-point dtype.

    Returns:
        An array of this shape and dtype.

    Raises:
        ValueError: if `shape` has fewer than two axes.

    Example:
        >>> import jax
        >>> from recurrent_jax import initializers
        >>> draw = initializers.glorot_uniform(jax.random.key(0), (3, 3), float)
        >>> draw.shape, bool((abs(draw) <= 1).all())
        ((3, 3), True)

    References:
        Glorot and Bengio, 2010. Understanding the difficulty of training deep
        feedforward neural networks. https://proceedings.mlr.press/v9/glorot10a.html
    """
    return jax.nn.initializers.glorot_uniform()(key, shape, dtype)


@checked
def lecun_normal(key: Key, shape: KernelShape, dtype: DType) -> jax.Array:
    """Return a normal draw of variance `1 / fan_in`, cut at two deviations.

    Args:
        key: a PRNG key.
        shape: `(..., fan_in, fan_out)`. Axes before these two multiply both fans.
        dtype: a floating-point dtype.

    Returns:
        An array of this shape and dtype.

    Raises:
        ValueError: if `shape` has fewer than two axes.

    Example:
        >>> import jax
        >>> from recurrent_jax import initializers
        >>> draw = initializers.lecun_normal(jax.random.key(0), (400, 50), float)
        >>> print(f"{draw.std():.2f}")
        0.05
    """
    return jax.nn.initializers.lecun_normal()(key, shape, dtype)


@checked
def lecun_uniform(key: Key, shape: KernelShape, dtype: DType) -> jax.Array:
    """Return a uniform draw `U(-a, a)` with `a = sqrt(3 / fan_in)`.

    Its variance is `1 / fan_in`.

    Args:
        key: a PRNG key.
        shape: `(..., fan_in, fan_out)`. Axes before these two multiply both fans.
        dtype: a floating-point dtype.

    Returns:
        An array of this shape and dtype.

    Raises:
        ValueError: if `shape` has fewer than two axes.

    Example:
        >>> import jax
        >>> from recurrent_jax import initializers
        >>> draw = initializers.lecun_uniform(jax.random.key(0), (3, 2), float)
        >>> draw.shape, bool((abs(draw) <= 1).all())
        ((3, 2), True)
    """
    return jax.nn.initializers.lecun_uniform()(key, shape, dtype)


@checked
def orthogonal(key: Key, shape: KernelShape, dtype: DType) -> jax.Array:
    """Return a matrix with orthonormal rows or columns, in any float dtype.

    The factorisation runs in at least float32, since half precision does not support
    it. The result is then cast to `dtype`.

    Args:
        key: a PRNG key.
        shape: `(..., units)`. All axes but the last count as one, the rows.
        dtype: a floating-point dtype.

    Returns:
        An array of this shape and dtype.

    Raises:
        ValueError: if `shape` has fewer than two axes.

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

    def draw(key: jax.Array) -> jax.Array:
        return jax.nn.initializers.orthogonal()(key, shape, wide)

    if jax.__version_info__ < (0, 12):
        # JAX then hangs on a CPU with few cores if it factors several batches of
        # matrices at once. So `vmap` factors one matrix after another.
        draw = jax.custom_batching.sequential_vmap(draw)
    return draw(key).astype(dtype)


@checked
def identity(key: jax.Array, shape: BatchShape, dtype: DType) -> jax.Array:
    """Return the identity matrix, with which a fresh unit keeps its state.

    Args:
        key: a PRNG key, which is not used.
        shape: `(units, units)`.
        dtype: a floating-point dtype.

    Returns:
        An array of this shape and dtype.

    Raises:
        ValueError: if `shape` is not that of a square matrix.

    Example:
        >>> import jax
        >>> from recurrent_jax import initializers
        >>> print(initializers.identity(jax.random.key(0), (2, 2), float))
        [[1. 0.]
         [0. 1.]]

    References:
        Le, Jaitly and Hinton, 2015. A simple way to initialize recurrent networks of
        rectified linear units. https://arxiv.org/abs/1504.00941
    """
    if len(shape) != 2 or shape[0] != shape[1]:
        raise ValueError(
            f"identity: the matrix must be square, got shape {shape}; it initialises a "
            "recurrent kernel, gate by gate"
        )
    return jnp.eye(shape[0], dtype=dtype)


@dataclasses.dataclass(frozen=True, repr=False)
class TruncatedNormal(Value):
    """A normal draw of deviation `stddev`, which is then cut at two deviations."""

    stddev: NonNegative

    @protocol
    def __call__(
        self, key: jax.Array, shape: tuple[int, ...], dtype: DTypeLike
    ) -> jax.Array:
        """Return the draw."""
        draw = jax.random.truncated_normal(key, -2.0, 2.0, shape, dtype)
        return draw * jnp.asarray(self.stddev, dtype)


@dataclasses.dataclass(frozen=True, repr=False)
class Normal(Value):
    """A normal draw with standard deviation `stddev`.

    Example:
        >>> import recurrent_jax as rj
        >>> cell = rj.Elman(4, kernel_init=rj.initializers.Normal(0.01))
        >>> cell.kernel_init
        recurrent_jax.initializers.Normal(0.01)
    """

    stddev: NonNegative

    @protocol
    def __call__(
        self, key: jax.Array, shape: tuple[int, ...], dtype: DTypeLike
    ) -> jax.Array:
        """Return the draw."""
        draw = jax.random.normal(key, shape, dtype)
        return draw * jnp.asarray(self.stddev, dtype)


@dataclasses.dataclass(frozen=True, repr=False)
class Uniform(Value):
    """A uniform draw from `low` to `high`.

    Example:
        >>> import recurrent_jax as rj
        >>> cell = rj.IndRNN(4, recurrent_scale_init=rj.initializers.Uniform(0.9, 1.0))
        >>> cell.recurrent_scale_init
        recurrent_jax.initializers.Uniform(0.9, 1.0)
    """

    low: Real
    high: Real

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.low > self.high:
            raise ValueError(
                f"Uniform: low must be at most high, got low={self.low} and "
                f"high={self.high}"
            )

    @protocol
    def __call__(
        self, key: jax.Array, shape: tuple[int, ...], dtype: DTypeLike
    ) -> jax.Array:
        """Return the draw."""
        return jax.random.uniform(key, shape, dtype, self.low, self.high)


@dataclasses.dataclass(frozen=True, repr=False)
class Fused(Value):
    """Draw all gates as one matrix with `initializer`, as Keras does."""

    initializer: Initializer

    @protocol
    def __call__(
        self, key: jax.Array, shape: tuple[int, ...], dtype: DTypeLike
    ) -> jax.Array:
        """Return the draw of the whole matrix."""
        return self.initializer(key, shape, dtype)


@checked
def per_gate(
    initializer: Initializer | tuple[Initializer, ...],
    key: Key,
    shape: tuple[int, ...],
    gates: Size,
    dtype: DType,
) -> jax.Array:
    """Return one draw of `shape` for each gate, side by side along the last axis.

    Args:
        initializer: one initialiser for all gates, or a tuple with one for each gate. A
            `Fused` initialiser draws the array of all gates at once.
        key: a PRNG key.
        shape: the shape of one gate.
        gates: the number of gates.
        dtype: a floating-point dtype.

    Returns:
        An array of shape `(*shape[:-1], gates * shape[-1])`.

    Raises:
        ValueError: if a tuple does not have one initialiser for each gate.

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
    for draw in draws:
        if getattr(draw, "shape", None) != tuple(shape):
            raise ValueError(
                f"per_gate: an initialiser must return an array of shape {shape}, as "
                f"it was asked, got {outline(draw)}"
            )
    return jnp.concatenate(draws, axis=-1)
