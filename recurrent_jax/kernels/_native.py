# SPDX-License-Identifier: Apache-2.0
"""The lowering of the primitives to the handlers of the library, on a CPU."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Primitive
from jax.interpreters import mlir

from recurrent_jax._loop.loop import Loop
from recurrent_jax.kernels._forms import Along, chosen, is_exported, split
from recurrent_jax.kernels._library import loaded, target
from recurrent_jax.kernels._primitives import Call, cotangent_p, forward_p

DTYPES = "float32", "float64"


def register(primitive: Primitive, form: Callable[..., Any]) -> None:
    """Lower a primitive to its form, and on a CPU to a handler if there is one."""
    mlir.register_lowering(primitive, mlir.lower_fun(form, multiple_results=True))
    if primitive is forward_p:
        native: Callable[..., Any] = _forward
    elif primitive is cotangent_p:
        native = _backward
    else:  # the tangent is only run in forward mode
        return

    def rule(ctx: Any, *args: Any, **how: Any) -> Any:
        function = native if _is_here(ctx) else form
        return mlir.lower_fun(function, multiple_results=True)(ctx, *args, **how)

    mlir.register_lowering(primitive, rule, platform="cpu")


def _is_here(ctx: Any) -> bool:
    """Return whether the program runs in a process that has the library.

    What is exported may run elsewhere.
    """
    return not is_exported(ctx) and bool(loaded().active)


def _forward(*leaves: jax.Array, call: Call, saving: bool) -> list[jax.Array]:
    loop, carry = call.loop(leaves)
    parts = jax.tree.leaves(carry)
    width = parts[0].shape[-1]
    xs = _turned(call, loop.xs)
    shapes = [(*xs.shape[:2], width), *(part.shape for part in parts)]
    shapes += (
        call.kernel.shapes(loop.xs, width)
        if saving
        else [(0, 0, 0)] * len(call.kernel.residuals)
    )
    out = _call(
        call,
        "forward",
        [_like(shape, xs) for shape in shapes],
        [xs, *_params(call, loop), *_state(loop, carry)],
    )
    out[0] = _turned(call, out[0])
    return out if saving else out[: 1 + len(parts)]


def _backward(*args: jax.Array, call: Call, along: Along) -> list[jax.Array]:
    leaves, kept, cotangents = split(call, args)
    loop, carry = call.loop(leaves)
    (ys, *residuals), (d_ys, *d_final) = kept, cotangents
    xs, ys, d_ys = (_turned(call, a) for a in (loop.xs, ys, d_ys))
    params = _params(call, loop)
    wanted, _ = call.loop(along)
    asked = [_is_asked(wanted.params, name) for name in call.kernel.params]
    shapes = [
        xs.shape if wanted.xs else (0, 0, 0),
        *(
            a.shape if one else (0,) * a.ndim
            for a, one in zip(params, asked, strict=True)
        ),
        *(part.shape for part in jax.tree.leaves(carry)),
        *_fresh_shapes(loop, carry),
    ]
    state = _state(loop, carry)
    out = _call(
        call,
        "backward",
        [_like(shape, xs) for shape in shapes],
        [xs, params[0], params[2], *state, ys, *residuals, d_ys, *d_final],
    )
    out[0] = _turned(call, out[0])
    return _wanted(call, along, out)


def _wanted(call: Call, along: Along, out: list[jax.Array]) -> list[jax.Array]:
    """Return the cotangents of the leaves `along`, from the results of a handler."""
    loop, carry = call.loop(range(call.arity))
    n = len(jax.tree.leaves(carry))
    names = call.kernel.params
    of_params = dict(zip(names, out[1 : 1 + len(names)], strict=True))
    of_carry = out[1 + len(names) :]
    where = {loop.xs: out[0]}
    for name, cotangent in of_params.items():
        if (at := getattr(loop.params, name)) is not None:
            where[at] = cotangent
    where |= zip(jax.tree.leaves(carry), of_carry[:n], strict=True)
    if loop.fresh is not None:
        where |= zip(jax.tree.leaves(loop.fresh), of_carry[n:], strict=True)
    return chosen(along, [where.get(at) for at in range(call.arity)])


def _call(call: Call, direction: str, results: Any, operands: Any) -> list[jax.Array]:
    name = target(call.kernel.name, direction)
    attributes = {
        "reverse": np.bool_(call.static.reverse),
        "batch_major": np.bool_(_is_batch_major(call)),
    }
    attributes |= dict(call.kernel.attributes)
    return list(jax.ffi.ffi_call(name, results)(*operands, **attributes))


def _is_batch_major(call: Call) -> bool:
    return call.static.time_axis == 1


def _turned(call: Call, a: jax.Array) -> jax.Array:
    """Return inputs or outputs in the order of the user's arrays, or back again.

    `unroll` has put time first. XLA drops both transposes, so nothing is copied.
    """
    return jnp.swapaxes(a, 0, 1) if _is_batch_major(call) else a


def _params(call: Call, loop: Loop) -> list[jax.Array]:
    """Return the parameters in the order of the handlers, empty where absent."""
    none = jnp.zeros((0,), loop.xs.dtype)
    given = (getattr(loop.params, name) for name in call.kernel.params)
    return [none if a is None else a for a in given]


def _state(loop: Loop, carry: Any) -> list[jax.Array]:
    """Return the flags, the initial carry and the fresh one, empty where absent."""
    flags = [jnp.zeros((0, 0), bool) if f is None else f for f in loop.flags]
    parts = jax.tree.leaves(carry)
    if loop.fresh is None:
        return [*flags, *parts, *[jnp.zeros((0, 0), loop.xs.dtype)] * len(parts)]
    return [*flags, *parts, *jax.tree.leaves(loop.fresh)]


def _fresh_shapes(loop: Loop, carry: Any) -> list[tuple[int, ...]]:
    parts = jax.tree.leaves(carry)
    return [(0, 0) if loop.fresh is None else part.shape for part in parts]


def _is_asked(params: Any, name: str) -> bool:
    return bool(getattr(params, name))


def _like(shape: tuple[int, ...], like: jax.Array) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, like.dtype)
