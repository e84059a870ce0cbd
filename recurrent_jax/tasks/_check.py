# SPDX-License-Identifier: Apache-2.0
"""Checks of the arguments of tasks."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from recurrent_jax import _checks
from recurrent_jax._checks.input_kinds import Tree


def reads_encoder(decoder: Any, features: int) -> None:
    """Check that an attention has the features of the encoder as memory."""
    if decoder.memory_features != features:
        raise ValueError(
            f"init_encoder_decoder: the encoder gives {features} features, but "
            f"{decoder!r} looks at {decoder.memory_features}; pass "
            f"memory_features={features}"
        )


def axis(where: str, argument: str, time_axis: Any, rank: int) -> None:
    """Check that an array with so many axes has this one."""
    if not -rank <= time_axis < rank:
        raise ValueError(
            f"{where}: time_axis must be one of the {rank} axes that {argument} has "
            f"with time; got {time_axis}"
        )


def first(where: str, first: Any, targets: Any) -> jax.Array:
    """Return the input before the first target: one number for all, or one step."""
    if np.ndim(first) == 0 and _is_like(first, targets.dtype):
        seen = not isinstance(first, jax.core.Tracer)
        if seen and jnp.issubdtype(jnp.result_type(first), jnp.integer):
            if int(np.asarray(first).astype(targets.dtype)) != int(first):
                raise ValueError(
                    f"{where}: first must be a number that {targets.dtype} holds, as "
                    f"the targets are, got {first}"
                )
        return jnp.full(targets.shape[1:], first, targets.dtype)
    first = _checks.array(where, "first", first)
    if (first.shape, first.dtype) != (targets.shape[1:], targets.dtype):
        want = jax.ShapeDtypeStruct(targets.shape[1:], targets.dtype)
        raise ValueError(
            f"{where}: first must be a number or one step of the targets, "
            f"{_checks.describe(want)}; got {_checks.describe(first)}"
        )
    return first


def bridge_params(where: str, params: Any, vector: Any) -> None:
    """Check parameters of a bridge, and that they read these vectors."""
    Tree().check(where, "params", params)
    kernels, biases = jax.tree.leaves(params.kernels), jax.tree.leaves(params.biases)
    pairs = zip(kernels, biases, strict=False)
    fit = len(kernels) == len(biases) and all(
        jnp.ndim(k) == 2 and k.shape[1:] == jnp.shape(b) and k.dtype == b.dtype
        for k, b in pairs
    )
    if not fit:
        raise ValueError(
            f"{where}: params must be what init_bridge returned, got "
            f"{_checks.shapes(tuple(params))}"
        )
    for kernel in kernels:
        if kernel.shape[0] != vector.shape[-1]:
            raise ValueError(
                f"{where}: vector must have {kernel.shape[0]} features, for which "
                f"params were made; got {_checks.describe(vector)}"
            )
        if kernel.dtype != vector.dtype:
            raise TypeError(
                f"{where}: vector is {vector.dtype} but params are {kernel.dtype}; "
                f"nothing is cast silently: vector.astype({str(kernel.dtype)!r})"
            )


def _is_like(number: Any, dtype: Any) -> bool:
    """Say whether a number, maybe of Python, is one in a dtype, too."""
    given = jnp.result_type(number)
    floats = jnp.issubdtype(given, jnp.floating) and jnp.issubdtype(dtype, jnp.floating)
    return bool(given == dtype or jnp.issubdtype(given, jnp.integer) or floats)
