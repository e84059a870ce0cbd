# SPDX-License-Identifier: Apache-2.0
"""Checks of the arguments of `Attention`."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.dtypes import canonicalize_dtype

from recurrent_jax import _checks
from recurrent_jax._checks.input_kinds import OneArray
from recurrent_jax._core.arrays import is_float


def score(name: Any, attention_size: Any) -> None:
    """Check that an attention with a size is of a form that has one."""
    if attention_size is not None and name == "multiplicative":
        raise ValueError(
            "Attention: attention_size is given, but a multiplicative score compares "
            "in the size of the output; leave it out, or pass score='additive'"
        )


def attention_params(where: str, params: Any) -> None:
    """Check that `params` are those of an attention."""
    if not hasattr(params, "memory_kernel"):
        raise TypeError(
            f"{where}: params must be AttentionParams, got {_checks.outline(params)}; "
            "cell.init makes them, and bind takes them first: (params, memory)"
        )
    ranks = {"query_kernel": 2, "memory_kernel": 2, "vector": 1}
    optional = params.query_kernel is None and params.vector is None
    sizes = set()  # and dtypes
    for name, rank in ranks.items():
        part = getattr(params, name)
        if part is None and optional and name != "memory_kernel":
            continue
        if not OneArray("floating-point").has_type(part) or np.ndim(part) != rank:
            raise TypeError(
                f"{where}: params.{name} must be a floating-point array of {rank} "
                f"axes, as init returns it, got {_checks.outline(part)}"
            )
        sizes.add((part.shape[-1], canonicalize_dtype(part.dtype)))
    if len(sizes) > 1:
        raise ValueError(
            f"{where}: params of the score must be of one size, the last axis, and of "
            "one dtype, got "
            f"{_checks.shapes(tuple(getattr(params, name) for name in ranks))}"
        )
    if params.memory is not None:
        _memory(where, params.memory, params.memory_kernel)


def _memory(where: str, memory: Any, kernel: Any) -> None:
    """Check that a memory is one that `bind` made with these parameters."""
    features, size = kernel.shape
    batch = getattr(getattr(memory, "valid", None), "shape", ())
    want = (*batch, features), (*batch, size), batch
    got = tuple(getattr(part, "shape", None) for part in memory)
    fits = batch and got == want and memory.valid.dtype == bool
    if not fits or not is_float(memory.values) or not is_float(memory.keys):
        raise TypeError(
            f"{where}: params.memory must be what bind made with these params, got "
            f"{_checks.outline(memory)}"
        )


def memory(
    memory: Any, size: int, params: Any, lengths: Any, mask: Any, time_axis: Any
) -> jax.Array:
    """Check the arguments of `Attention.bind`. Return the valid entries, time last."""
    kernel = params.memory_kernel
    if memory.ndim < 2 or memory.shape[-1] != size:
        raise ValueError(
            f"Attention.bind: memory must be (time, *batch, {size}), got "
            f"{_checks.describe(memory)}"
        )
    if memory.dtype != kernel.dtype:
        raise TypeError(
            f"Attention.bind: memory is {memory.dtype} but params.memory_kernel is "
            f"{kernel.dtype}; nothing is cast silently. Cast one: "
            f"memory.astype({str(kernel.dtype)!r})"
        )
    if kernel.shape[0] != size:
        raise ValueError(
            f"Attention.bind: params.memory_kernel must be of shape ({size}, size), "
            f"got {_checks.describe(kernel)}"
        )
    valid = _checks.steps(
        "Attention.bind", "memory", memory, lengths, mask, time_axis, 1
    )
    if valid is None:
        axis = _checks.axis_of("Attention.bind", "memory", memory, time_axis, 1)
        batch_shape = np.delete(memory.shape[:-1], axis)
        return jnp.ones((*batch_shape, memory.shape[axis]), bool)
    return jnp.moveaxis(valid, 0, -1)


def bound(memory: Any, h: Any) -> Any:
    """Return the memory of an attention after checking that it fits the batch."""
    if memory is None:
        raise ValueError(
            "Attention: params have no memory to look at; make some that have: "
            "cell.bind(params, memory, lengths=...)"
        )
    batch_shape = memory.valid.shape[:-1]
    lead = h.shape[:-1]
    if batch_shape and lead[max(0, len(lead) - len(batch_shape)) :] != batch_shape:
        raise ValueError(
            f"Attention: the memory has the batch shape {batch_shape}, the input "
            f"{lead}; one memory for all sequences has no batch axes"
        )
    return memory


def outputs(params: Any, ys: Any, memory_features: int) -> jax.Array:
    """Return the outputs of an attention, after a check that these params made them."""
    where = "Attention.weights"
    attention_params(where, params)
    ys = _checks.array(where, "ys", ys)
    kernel = params.memory_kernel
    query = params.query_kernel
    size = (kernel.shape[-1] if query is None else query.shape[0]) + memory_features
    if ys.ndim == 0 or ys.shape[-1] != size:
        raise ValueError(
            f"{where}: ys must be the outputs of unroll, (*lead, {size}), got "
            f"{_checks.describe(ys)}"
        )
    if ys.dtype != kernel.dtype:
        raise TypeError(
            f"{where}: ys is {ys.dtype} but params.memory_kernel is {kernel.dtype}; "
            "nothing is cast silently"
        )
    return ys
