# SPDX-License-Identifier: Apache-2.0
"""How `vmap` maps the primitives: one more batch axis is merged into the batch."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import Primitive
from jax.interpreters import batching

from recurrent_jax.kernels._forms import Along, chosen, put
from recurrent_jax.kernels._primitives import Call, forward_p, tangent_p

Axes = list[int | None]  # the batch axis of each array, or None for a parameter


def register(primitive: Primitive, form: Callable[..., Any]) -> None:
    """Register the rule of a primitive for `vmap`."""

    def rule(args: Any, dims: Any, *, call: Call, **how: Any) -> tuple[Any, Any]:
        size = next(
            a.shape[d] for a, d in zip(args, dims, strict=True) if d is not None
        )
        if size == 0:  # kernels run rows
            mapped = jax.vmap(lambda *a: form(*a, call=call, **how), in_axes=dims)
            out = mapped(*args)
            return out, [0] * len(out)
        axes, out_axes = _axes(primitive, call, **how)
        pairs = zip(dims, axes, strict=True)
        alike = all(dim is None or axis is not None for dim, axis in pairs)
        if alike and None not in out_axes:
            merged = _merged(call, size)
            each = zip(args, dims, axes, strict=True)
            new = [_merge(a, dim, axis, size) for a, dim, axis in each]
            out = primitive.bind(*new, call=merged, **how)
            both = zip(out, out_axes, strict=True)
            return [_part(a, axis, size) for a, axis in both], out_axes
        if alike:
            # Each mapped call sums its own gradients of the parameters. On a CPU, many
            # small kernels are faster than the form, which runs the loop once more.
            out = lax.platform_dependent(
                *args,
                cpu=lambda *a: one_by_one(a, dims, call, how),
                default=jax.vmap(lambda *a: form(*a, call=call, **how), in_axes=dims),
            )
        else:  # every mapped call has parameters of its own
            out = one_by_one(args, dims, call, how)
        return out, [0] * len(out)

    def one_by_one(args: Any, dims: Any, call: Call, how: Any) -> list[jax.Array]:
        moved = [
            a if d is None else jnp.moveaxis(a, d, 0)
            for a, d in zip(args, dims, strict=True)
        ]
        there = tuple(d is not None for d in dims)

        def one(some: list[jax.Array]) -> list[jax.Array]:
            full = put(there, some, moved)
            return list(primitive.bind(*full, call=call, **how))

        return list(lax.map(one, chosen(there, moved)))

    batching.primitive_batchers[primitive] = rule


def _axes(
    primitive: Primitive,
    call: Call,
    saving: bool = False,
    along: Along = (),
) -> tuple[Axes, Axes]:
    """Return the batch axes of the arguments of a primitive, and of its results."""
    leaves = call.axes()
    parts = len(jax.tree.leaves(call.loop(range(call.arity))[1]))
    results: Axes = [1, *[0] * parts]
    kept: Axes = [1] * call.kept
    if primitive is forward_p:
        return leaves, results + (kept[1:] if saving else [])
    some = chosen(along, leaves)
    if primitive is tangent_p:
        return [*leaves, *kept, *some], results
    return [*leaves, *kept, *results], some


def _merged(call: Call, size: int) -> Call:
    (rows,) = call.static.batch_shape
    # A merge is no transpose, so it is done with time as the first axis.
    static = call.static._replace(batch_shape=(size * rows,), time_axis=0)
    return call._replace(static=static)


def _merge(a: jax.Array, dim: int | None, axis: int | None, size: int) -> jax.Array:
    """Return an array with its mapped axis merged into the batch axis."""
    if axis is None:
        return a
    if dim is None:
        a = jnp.broadcast_to(jnp.expand_dims(a, axis), _inserted(a.shape, axis, size))
    else:
        a = jnp.moveaxis(a, dim, axis)
    return a.reshape(*a.shape[:axis], size * a.shape[axis + 1], *a.shape[axis + 2 :])


def _part(a: jax.Array, axis: int | None, size: int) -> jax.Array:
    """Return an array with the mapped axis apart again, before the batch axis."""
    assert axis is not None
    rows = a.shape[axis] // size
    return a.reshape(*a.shape[:axis], size, rows, *a.shape[axis + 1 :])


def _inserted(shape: tuple[int, ...], axis: int, size: int) -> tuple[int, ...]:
    return (*shape[:axis], size, *shape[axis:])
