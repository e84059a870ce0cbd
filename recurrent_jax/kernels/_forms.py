# SPDX-License-Identifier: Apache-2.0
"""What the primitives compute, in terms of the loop that any cell has."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from recurrent_jax.kernels._primitives import Call

Along = tuple[bool, ...]  # for each leaf: whether it has a tangent


def plain(call: Call, leaves: Any) -> list[jax.Array]:
    """Return the outputs and the leaves of the final carry."""
    loop, carry = call.loop(leaves)
    final, ys = loop.method.backward.run(loop, carry)
    return [ys, *jax.tree.leaves(final)]


def forward(*leaves: jax.Array, call: Call, saving: bool) -> list[jax.Array]:
    """Return the outputs, the final carry, and zeros for residuals: no form reads them.

    A platform lowers all of the primitives to kernels, or none.
    """
    out = plain(call, leaves)
    if not saving:
        return out
    xs, width = call.loop(leaves)[0].xs, out[0].shape[-1]
    return out + [jnp.zeros(s, xs.dtype) for s in call.kernel.shapes(xs, width)]


def tangent(*args: jax.Array, call: Call, along: Along) -> list[jax.Array]:
    """Return the tangents of the outputs and of the final carry."""
    leaves, _, d = split(call, args)
    some, function = _of_some(call, along, leaves)
    return list(jax.jvp(function, some, tuple(d))[1])


def cotangent(*args: jax.Array, call: Call, along: Along) -> list[jax.Array]:
    """Return the cotangents of the leaves `along`."""
    leaves, _, d = split(call, args)
    some, function = _of_some(call, along, leaves)
    return list(jax.vjp(function, *some)[1](list(d)))


def split(call: Call, args: Any) -> tuple[Any, Any, Any]:
    """Return the leaves of the loop, what was kept, and the linear arguments."""
    n, m = call.arity, call.arity + call.kept
    return args[:n], args[n:m], args[m:]


def chosen(along: Along, items: Any) -> list[Any]:
    """Return the items of the leaves `along`."""
    return [item for item, there in zip(items, along, strict=True) if there]


def put(along: Along, some: Any, items: Any) -> list[Any]:
    """Return the items with those `along` replaced."""
    left = iter(some)
    return [next(left) if there else a for a, there in zip(items, along, strict=True)]


def _of_some(
    call: Call, along: Along, leaves: Any
) -> tuple[tuple[jax.Array, ...], Callable[..., list[jax.Array]]]:
    """Return the leaves `along`, and the loop as a function of these alone."""

    def function(*some: jax.Array) -> list[jax.Array]:
        return plain(call, put(along, some, leaves))

    return tuple(chosen(along, leaves)), function


def is_exported(ctx: Any) -> bool:
    """Return whether a program is lowered for export: it may run anywhere."""
    parameters = getattr(ctx.module_context, "lowering_parameters", None)
    return bool(getattr(parameters, "for_export", False))
