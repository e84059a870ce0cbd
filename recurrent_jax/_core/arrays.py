# SPDX-License-Identifier: Apache-2.0
"""Small array helpers that every package uses."""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.custom_derivatives import zero_from_primal

from recurrent_jax._checks.words import outline


def affine(x: jax.Array, kernel: jax.Array, bias: jax.Array | None = None) -> jax.Array:
    """Return `x @ kernel + bias` for any leading axes of `x`.

    If `bias` is None, no bias is added.

    Example:
        >>> import jax.numpy as jnp
        >>> from recurrent_jax import affine
        >>> affine(jnp.ones((7, 5, 2)), jnp.ones((2, 3)), jnp.ones(3)).shape
        (7, 5, 3)
    """
    try:
        if kernel.ndim != 2:
            raise ValueError
        given = x.dtype, kernel.dtype, x.dtype if bias is None else bias.dtype
        # NumPy's float64 becomes float32 at the door of JAX, as in all of JAX.
        dtypes = set(map(jax.dtypes.canonicalize_dtype, given))
        if len(dtypes) > 1 or not jnp.issubdtype(x.dtype, jnp.floating):
            raise TypeError  # it would be cast
        y = x @ kernel
        if bias is None:
            return y
        if bias.shape != y.shape[-1:]:  # it would be broadcast
            raise ValueError
        return y + expand_like(bias, y)
    except Exception as error:
        if type(error).__module__.startswith("jax"):  # it says what it is about
            raise
        raise _not_affine(error, x, kernel, bias) from error


@functools.partial(jax.custom_jvp, nondiff_argnums=(2, 3))
def affine_columns(x: jax.Array, kernel: jax.Array, start: int, stop: int) -> jax.Array:
    """Return `x @ kernel[:, start:stop]`.

    XLA on a CPU merges the slice into the product with a single row, and computes that
    number by number. It is 5 to 20 times as fast to compute all columns; a gradient
    takes up to 1.3 times as long. Under `vmap` a row is all there is to see. A
    derivative would pay for the other columns too, so it has the equation as it is.
    """
    if math.prod(x.shape[:-1]) == 1:
        return affine(x, kernel)[..., start:stop]
    return affine(x, kernel[:, start:stop])


@affine_columns.defjvp
def _(start: int, stop: int, primals: Any, tangents: Any) -> tuple[Any, Any]:
    def columns(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return affine(x, kernel[:, start:stop])

    return jax.jvp(columns, primals, tangents)


def _not_affine(error: Exception, *args: Any) -> Exception:
    """Return an error that names the arguments of `affine`."""
    kind = TypeError if isinstance(error, TypeError | AttributeError) else ValueError
    named = zip(("x (..., in)", "kernel (in, out)", "bias (out,)"), args, strict=True)
    got = ", ".join(f"{name}: {outline(value)}" for name, value in named)
    return kind(
        f"affine: x @ kernel + bias does not work for {got}. Nothing is cast or "
        "broadcast: all must be floats of one dtype"
    )


def expand_like(vector: jax.Array, like: jax.Array) -> jax.Array:
    """Return `vector` with leading axes of size one, to the rank of `like`.

    With it, a bias can be added to a batch without rank promotion.

    Example:
        >>> import jax.numpy as jnp
        >>> from recurrent_jax import expand_like
        >>> expand_like(jnp.ones(3), jnp.ones((7, 5, 3))).shape
        (1, 1, 3)
    """
    rank, most = getattr(vector, "ndim", None), getattr(like, "ndim", None)
    known = isinstance(rank, int) and isinstance(most, int)
    if not known or rank > most:
        raise TypeError(
            "expand_like: vector and like must be arrays, and like must have as "
            f"many axes or more, got {outline(vector)} and {outline(like)}"
        )
    return vector.reshape((1,) * (most - rank) + vector.shape)


def select(flags: jax.Array, yes: Any, no: Any) -> Any:
    """Return `yes` where `flags` is True, else `no`.

    It is a select and not a product with the flags, so NaN cannot leak.
    """
    return jax.tree.map(lambda a, b: jnp.where(trail(flags, a), a, b), yes, no)


def trail(flags: jax.Array, like: jax.Array) -> jax.Array:
    """Return `flags` with trailing axes of size one, to the rank of `like`."""
    return flags.reshape(flags.shape + (1,) * (like.ndim - flags.ndim))


def zeros(tree: Any) -> Any:
    """Return a pytree of zeros. PRNG keys, which have no zero, are kept."""

    def one(x: jax.Array) -> jax.Array:
        is_key = jnp.issubdtype(x.dtype, jax.dtypes.prng_key)
        return x if is_key else jnp.zeros_like(x)

    return jax.tree.map(one, tree)


def apart(tree: Any) -> Any:
    """Return a tree that holds no array twice, so that all of it can be donated."""
    seen: set[int] = set()

    def one(a: Any) -> Any:
        if id(a) in seen and isinstance(a, jax.Array):
            return jnp.array(a)
        seen.add(id(a))
        return a

    return jax.tree.map(one, tree)


def is_float(a: jax.Array) -> bool:
    """Say whether an array holds floats, and so may have a tangent."""
    return bool(jnp.issubdtype(a.dtype, jnp.floating))


def symbolic(tangents: Any, values: Any) -> Any:
    """Return tangents with symbolic zeros for integers, for a rule of `custom_jvp`.

    Inside `shard_map`, they vary over the same mesh axes as the values. Zeros of type
    `float0` do not.
    """
    zero = functools.partial(zero_from_primal, symbolic_zeros=True)

    def one(a: jax.Array, tangent: Any) -> Any:
        return tangent if jnp.issubdtype(a.dtype, jnp.inexact) else zero(a)

    return jax.tree.map(one, values, tangents)


def map_floats(
    function: Callable[[list[jax.Array]], list[jax.Array]], tree: Any
) -> Any:
    """Return `tree` with its list of float leaves mapped, the others as they are."""
    leaves, structure = jax.tree.flatten(tree)
    mapped = iter(function([leaf for leaf in leaves if is_float(leaf)]))
    return structure.unflatten(
        [next(mapped) if is_float(leaf) else leaf for leaf in leaves]
    )
