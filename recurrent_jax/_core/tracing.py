# SPDX-License-Identifier: Apache-2.0
"""Shapes and dtypes of a cell, found by tracing it without computing anything."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike


def output(cell: Any, x: Any) -> Any:
    """Return the shape and dtype of the output for one input without batch axes."""

    def y(x: Any) -> Any:
        params = _params(cell, x)
        return cell.step(params, cell.initial_carry(params=params), x)[1]

    return jax.eval_shape(y, x)


@functools.lru_cache
def out_features(cell: Any, in_features: int) -> int:
    """Return the number of output features for an input that is one array."""
    return int(output(cell, jnp.zeros(in_features)).shape[-1])


def carry_of(
    cell: Any, x: Any, batch_shape: tuple[int, ...] = (), dtype: DTypeLike = float
) -> Any:
    """Return the shapes and dtypes of a cell's carry, for inputs like `x`."""

    def start(x: Any) -> Any:
        return cell.initial_carry(batch_shape, dtype, _params(cell, x))

    return jax.eval_shape(start, x)


def features_of(xs: Any, lead: tuple[int, ...]) -> Any:
    """Return the shape and dtype of one input of a sequence, without batch axes."""

    def one(a: Any) -> Any:
        is_float = jnp.issubdtype(a.dtype, jnp.floating)
        return jax.ShapeDtypeStruct(
            a.shape[len(lead) :], jnp.result_type(float) if is_float else a.dtype
        )

    return jax.tree.map(one, xs)


def reads(cell: Any, x: Any) -> list[bool]:
    """Return, for each part of the carry, whether `feedback` reads it."""

    def run(carry: Any, x: Any) -> Any:
        return cell.feedback(cell.prepare(_params(cell, x)), carry)

    carry = carry_of(cell, x)
    jaxpr = jax.make_jaxpr(run)(carry, x).jaxpr
    read = {id(v) for eqn in jaxpr.eqns for v in eqn.invars}
    read |= {id(v) for v in jaxpr.outvars}
    return [id(v) in read for v in jaxpr.invars[: len(jax.tree.leaves(carry))]]


def multiplies(cell: Any, x: Any) -> bool:
    """Return whether `update` contains a matrix product or a convolution."""

    def run(params: Any, x: Any, carry: Any) -> Any:
        u = cell.feedback(params, carry)
        return cell.project(params, x), u

    def rest(params: Any, carry: Any, z: Any, u: Any) -> Any:
        return cell.update(params, carry, z, u)

    carry = carry_of(cell, x)
    params = jax.eval_shape(lambda x: cell.prepare(_params(cell, x)), x)
    z, u = jax.eval_shape(run, params, x, carry)
    text = str(jax.make_jaxpr(rest)(params, carry, z, u))
    return "dot_general" in text or "conv_general_dilated" in text


def _params(cell: Any, x: Any) -> Any:
    return cell.init(jax.random.key(0), jax.tree.leaves(x)[0].shape[-1])
