# SPDX-License-Identifier: Apache-2.0
"""How JAX differentiates and transposes the primitives, and their entry `run`.

A derivative of the tangent or the cotangent is that of its form. What was kept has no
tangent there, because the form does not read it: it depends on the leaves alone.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
from jax.extend.core import Primitive
from jax.interpreters import ad, xla

from recurrent_jax._core.mesh import platform_of, vary_alike
from recurrent_jax._loop.loop import Loop
from recurrent_jax.kernels import _batching, _forms, _gpu, _native, _pallas, _tpu
from recurrent_jax.kernels._forms import Along, chosen, put, split
from recurrent_jax.kernels._kernel import Kernel
from recurrent_jax.kernels._primitives import (
    Call,
    cotangent_p,
    forward_p,
    new_call,
    tangent_p,
)


def run(kernel: Kernel, loop: Loop, otherwise: Any, carry: Any) -> tuple[Any, Any]:
    """Return the final carry and the outputs of a loop with one batch axis.

    It can be differentiated, in every mode and of every order.

    Args:
        kernel: the kernel of the cell, which `find` returned.
        loop: the loop, with inputs `(time, batch, features)`.
        otherwise: the method that runs the loop where there is no kernel.
        carry: the initial carry, each part `(batch, hidden_size)`.

    Returns:
        `(carry, ys)`: the final carry, and the outputs `(time, batch, hidden_size)`.
        Their dtype is that of the inputs.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> class WithKernel:
        ...     backward, steps = rj.Autodiff(), False
        ...     refuses = befores = lambda self, *args: None
        ...     def run(self, loop, carry):
        ...         kernel = rj.kernels.find(loop.cell)
        ...         return rj.kernels.run(kernel, loop, rj.Sequential(), carry)
        >>> cell = rj.LSTM(3)
        >>> params = cell.init(jax.random.key(0), in_features=2)
        >>> xs = jnp.ones((7, 5, 2))
        >>> carry, ys = rj.unroll(cell, params, xs, method=WithKernel())
        >>> ys.shape
        (7, 5, 3)
    """
    call, leaves = new_call(kernel, loop, otherwise, carry)
    # All arguments vary over the same axes of a mesh, and so do all results.
    ys, *final = forward_p.bind(*vary_alike(leaves, ()), call=call, saving=False)
    return jax.tree.structure(carry).unflatten(final), ys


def refuses(kernel: Kernel, cell: Any, arrays: Any) -> str | None:
    """Return None, or why the platform of some arrays has no kernel for them.

    Args:
        kernel: the kernel of the cell, which `find` returned.
        cell: the cell.
        arrays: a tree of the arrays that the kernel would read: parameters and inputs.

    Returns:
        None if there is a kernel for their dtype, or the reason in words.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> cell = rj.LSTM(3)
        >>> params = cell.init(jax.random.key(0), in_features=2, dtype=jnp.float16)
        >>> xs = jnp.ones((7, 5, 2), jnp.float16)
        >>> rj.kernels.refuses(rj.kernels.find(cell), cell, (params, xs))
        'there are kernels for ..., and the arrays are float16'
    """
    leaves = jax.tree.leaves(arrays)
    names = sorted({str(a.dtype) for a in leaves})
    here: Any = _tpu if platform_of(arrays) == "tpu" else None
    here = _gpu if _gpu.is_here(arrays) else here
    dtypes = (here or _native).DTYPES
    if len(names) > 1 or names[0] not in dtypes:
        known, got = " and ".join(dtypes), ", ".join(names)
        return f"there are kernels for {known}, and the arrays are {got}"
    reason: str | None = None
    if here is not None:
        reason = here.refuses(kernel, cell.hidden_size, names[0])
    return reason


def _forward_shapes(*leaves: Any, call: Call, saving: bool) -> list[Any]:
    loop, carry = call.loop(leaves)
    final = jax.tree.leaves(carry)
    width = final[0].shape[-1]
    ys = loop.xs.update(shape=(*loop.xs.shape[:2], width))
    kept = call.kernel.shapes(loop.xs, width) if saving else []
    return [ys, *final, *(loop.xs.update(shape=shape) for shape in kept)]


def _tangent_shapes(*args: Any, call: Call, along: Along) -> list[Any]:
    leaves, _, _ = split(call, args)
    return _forward_shapes(*leaves, call=call, saving=False)


def _cotangent_shapes(*args: Any, call: Call, along: Along) -> list[Any]:
    return chosen(along, split(call, args)[0])


def _forward_jvp(primals: Any, tangents: Any, *, call: Call, saving: bool) -> Any:
    along = tuple(map(_is_there, tangents))
    out = forward_p.bind(*primals, call=call, saving=True)
    kept = len(call.kernel.residuals)
    ys, residuals = out[0], out[len(out) - kept :]
    some = chosen(along, tangents)
    d = tangent_p.bind(*primals, ys, *residuals, *some, call=call, along=along)
    if not saving:
        return out[: len(out) - kept], d
    return out, [*d, *map(_zero, residuals)]


def _linear_jvp(primitive: Primitive, form: Callable[..., Any]) -> Any:
    """Return the rule of a primitive that is linear in its last arguments."""

    def rule(primals: Any, tangents: Any, *, call: Call, along: Along) -> Any:
        leaves, kept, d = split(call, primals)
        d_leaves, _, dd = split(call, tangents)
        out = primitive.bind(*primals, call=call, along=along)
        parts = []
        if any(map(_is_there, dd)):
            full = map(ad.instantiate_zeros, dd)
            parts.append(primitive.bind(*leaves, *kept, *full, call=call, along=along))
        if any(there := tuple(map(_is_there, d_leaves))):

            def of_some(*some: jax.Array) -> Any:
                again = put(there, some, leaves)
                return form(*again, *kept, *d, call=call, along=along)

            some, d_some = chosen(there, leaves), chosen(there, d_leaves)
            parts.append(jax.jvp(of_some, tuple(some), tuple(d_some))[1])
        if not parts:
            return out, list(map(_zero, out))
        return out, [sum(more, first) for first, *more in zip(*parts, strict=True)]

    return rule


def _tangent_transpose(cotangents: Any, *args: Any, call: Call, along: Along) -> Any:
    leaves, kept, d = split(call, args)
    unknown = list(map(ad.is_undefined_primal, d))
    none: list[Any] = [None] * (len(args) - len(d))
    if not any(map(_is_there, cotangents)):
        return [*none, *(None for _ in d)]
    wanted = tuple(put(along, unknown, [False] * call.arity))
    full = map(ad.instantiate_zeros, cotangents)
    got = iter(cotangent_p.bind(*leaves, *kept, *full, call=call, along=wanted))
    return [*none, *(next(got) if one else None for one in unknown)]


def _cotangent_transpose(d: Any, *args: Any, call: Call, along: Along) -> Any:
    leaves, kept, cotangents = split(call, args)
    there = list(map(_is_there, d))
    none: list[Any] = [None] * (len(args) - len(cotangents))
    if not any(there):
        return [*none, *(None for _ in cotangents)]
    wanted = tuple(put(along, there, [False] * call.arity))
    got = tangent_p.bind(
        *leaves, *kept, *chosen(tuple(there), d), call=call, along=wanted
    )
    pairs = zip(got, cotangents, strict=True)
    return [*none, *(a if ad.is_undefined_primal(b) else None for a, b in pairs)]


def _zero(of: Any) -> Any:
    return ad.Zero(jax.typeof(of).to_tangent_aval())


def _is_there(tangent: Any) -> bool:
    return not isinstance(tangent, ad.Zero)


def _define(
    primitive: Primitive, form: Callable[..., Any], shapes: Callable[..., Any]
) -> None:
    primitive.def_impl(functools.partial(xla.apply_primitive, primitive))
    primitive.def_abstract_eval(shapes)
    _native.register(primitive, form)
    _pallas.register(primitive, form, "tpu", _tpu.run, _tpu.refuses)
    gpu = _gpu.run, _gpu.refuses, _gpu.is_here
    _pallas.register(primitive, form, "cuda", *gpu, varies=False)
    _batching.register(primitive, form)


_define(forward_p, _forms.forward, _forward_shapes)
_define(tangent_p, _forms.tangent, _tangent_shapes)
_define(cotangent_p, _forms.cotangent, _cotangent_shapes)
ad.primitive_jvps[forward_p] = _forward_jvp
ad.primitive_jvps[tangent_p] = _linear_jvp(tangent_p, _forms.tangent)
ad.primitive_jvps[cotangent_p] = _linear_jvp(cotangent_p, _forms.cotangent)
ad.primitive_transposes[tangent_p] = _tangent_transpose
ad.primitive_transposes[cotangent_p] = _cotangent_transpose
