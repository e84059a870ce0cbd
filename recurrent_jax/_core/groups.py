# SPDX-License-Identifier: Apache-2.0
"""Which group of inputs each number of an output depends on, read from a jaxpr.

Every number of an input that is followed has a group, an integer from zero on. A number
that is computed from followed numbers has their group, or `MANY` if there are several.
A primitive that is not known counts as reading all of its inputs. So a number may have
`MANY` where one group would do, but never the reverse.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.extend.core import Literal

NONE = np.int32(-1)  # depends on no number that is followed
MANY = np.int32(2**31 - 1)  # depends on more than one group

_ELEMENTWISE = frozenset(
    "abs acos acosh add add_any and asin asinh atan atan2 atanh cbrt ceil clamp "
    "complex conj convert_element_type copy copy_p cos cosh digamma div eq erf "
    "erf_inv erfc exp exp2 expm1 floor ge gt imag integer_pow is_finite le lgamma "
    "log log1p logistic lt max min mul ne neg nextafter not or pow pvary real "
    "reduce_precision rem round rsqrt select_n shift_left shift_right_arithmetic "
    "shift_right_logical sign sin sinh sqrt square stop_gradient sub tan tanh "
    "xor".split()
)
_CALLS = ("jaxpr", "call_jaxpr", "fun_jaxpr")
_INLINED = frozenset(
    "jit pjit closed_call core_call custom_jvp_call custom_vjp_call "
    "custom_vjp_call_jaxpr remat remat2 checkpoint".split()
)


def groups(function: Callable[..., Any], arguments: Any, followed: Any) -> Any:
    """Return the group of each number that `function(*arguments)` returns.

    Args:
        function: any function that can be traced.
        arguments: a tuple of pytrees of arrays, or of their shapes and dtypes.
        followed: for each array of the arguments its groups, an array of integers, or
            one integer for the whole array. `NONE` does not follow it.

    Returns:
        A pytree of NumPy arrays like the result of the function.
    """
    closed, shape = jax.make_jaxpr(function, return_shape=True)(*arguments)
    given = [
        np.broadcast_to(np.asarray(group, np.int32), v.aval.shape)
        for group, v in zip(jax.tree.leaves(followed), closed.jaxpr.invars, strict=True)
    ]
    return jax.tree.unflatten(jax.tree.structure(shape), _follow(closed.jaxpr, given))


def _follow(jaxpr: Any, inputs: list[Any]) -> list[Any]:
    known = dict(zip(map(id, jaxpr.invars), inputs, strict=True))

    def read(v: Any) -> Any:
        if isinstance(v, Literal) or id(v) not in known:
            return np.full(getattr(v.aval, "shape", ()), NONE)
        return known[id(v)]

    for eqn in jaxpr.eqns:
        taken = list(map(read, eqn.invars))
        known |= zip(map(id, eqn.outvars), _outputs(eqn, taken), strict=True)
    return list(map(read, jaxpr.outvars))


def _outputs(eqn: Any, taken: list[Any]) -> list[Any]:
    """Return the groups of what an equation computes."""
    name, shapes = eqn.primitive.name, [v.aval.shape for v in eqn.outvars]
    if all((a == NONE).all() for a in taken):
        return [np.full(shape, NONE) for shape in shapes]
    if name in _INLINED:
        inner = next(eqn.params[key] for key in _CALLS if key in eqn.params)
        return _follow(getattr(inner, "jaxpr", inner), taken)
    if name in _ELEMENTWISE:
        return [_join(*(np.broadcast_to(a, shape) for a in taken)) for shape in shapes]
    if name in _RULES:
        out = _RULES[name](eqn.params, *taken)
        return out if isinstance(out, list) else [out]
    together = _along(np.concatenate([a.ravel() for a in taken]), (0,))
    return [np.full(shape, together) for shape in shapes]


def _join(*parts: Any) -> Any:
    return _along(np.stack(parts), (0,))


def _along(a: Any, axes: Any) -> Any:
    """Return the common group of the numbers along some axes."""
    axes = tuple(int(axis) for axis in axes)
    most = np.max(a, axis=axes, initial=NONE)
    least = np.min(np.where(a == NONE, MANY, a), axis=axes, initial=MANY)
    return np.where((most == NONE) | (least == most), most, MANY).astype(np.int32)


def _broadcast(params: Any, a: Any, *_: Any) -> Any:
    shape = [1] * len(params["shape"])
    for axis, place in enumerate(params["broadcast_dimensions"]):
        shape[place] = a.shape[axis]
    return np.broadcast_to(a.reshape(shape), params["shape"])


def _slice(params: Any, a: Any) -> Any:
    steps = params["strides"] or (1,) * a.ndim
    bounds = zip(params["start_indices"], params["limit_indices"], steps, strict=True)
    return a[tuple(slice(*bound) for bound in bounds)]


def _split(params: Any, a: Any) -> list[Any]:
    return np.split(a, np.cumsum(params["sizes"])[:-1], axis=params["axis"])


def _pad(params: Any, a: Any, value: Any) -> Any:
    """Negative padding cuts numbers off."""
    shape: list[int] = []
    inside: list[slice] = []
    cut: list[slice] = []
    for n, (low, high, step) in zip(a.shape, params["padding_config"], strict=True):
        wide = n + max(0, n - 1) * step
        shape.append(max(0, low) + wide + max(0, high))
        inside.append(slice(max(0, low), max(0, low) + wide, step + 1))
        cut.append(slice(max(0, -low), shape[-1] - max(0, -high)))
    out = np.full(shape, value)
    out[tuple(inside)] = a
    return out[tuple(cut)]


def _dot(params: Any, a: Any, b: Any, *_: Any) -> Any:
    """Contracted axes are joined, and the other operand counts as having no zeros."""
    (sum_a, sum_b), (batch_a, batch_b) = params["dimension_numbers"]

    def free(a: Any, summed: Any, batch: Any) -> tuple[Any, Any]:
        rest = [n for n in range(a.ndim) if n not in (*summed, *batch)]
        moved = a.transpose(*batch, *rest, *summed)
        lead, own = moved.shape[: len(batch)], moved.shape[len(batch) :][: len(rest)]
        joined = _along(moved.reshape(*lead, *own, -1), (len(batch) + len(rest),))
        return joined.reshape(*lead, math.prod(own)), own

    left, own_left = free(a, sum_a, batch_a)
    right, own_right = free(b, sum_b, batch_b)
    shape = (*left.shape, right.shape[-1])
    both = _join(
        np.broadcast_to(left[..., :, None], shape),
        np.broadcast_to(right[..., None, :], shape),
    )
    return both.reshape(*left.shape[:-1], *own_left, *own_right)


def _reduced(params: Any, a: Any, *_: Any) -> Any:
    return _along(a, params["axes"])


_RULES: dict[str, Callable[..., Any]] = {
    "broadcast_in_dim": _broadcast,
    "concatenate": lambda params, *parts: np.concatenate(parts, params["dimension"]),
    "dot_general": _dot,
    "expand_dims": lambda params, a: np.expand_dims(a, params["dimensions"]),
    "pad": _pad,
    "reshape": lambda params, a, *_: a.reshape(params["new_sizes"]),
    "rev": lambda params, a: np.flip(a, params["dimensions"]),
    "slice": _slice,
    "split": _split,
    "squeeze": lambda params, a: np.squeeze(a, tuple(params["dimensions"])),
    "stack": lambda params, *parts: np.stack(parts, params["axis"]),
    "transpose": lambda params, a: a.transpose(params["permutation"]),
    "unstack": lambda params, a: list(np.moveaxis(a, params["axis"], 0)),
    **dict.fromkeys(
        ("reduce_sum", "reduce_max", "reduce_min", "reduce_prod"), _reduced
    ),
}
