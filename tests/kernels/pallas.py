# SPDX-License-Identifier: Apache-2.0
"""What the tests of kernels in Pallas share: a problem, its results, and its text."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from devices import place

import recurrent_jax as rj
from recurrent_jax import kernels
from recurrent_jax._loop.loop import Flags, Loop, run_steps
from recurrent_jax.kernels import _pallas
from recurrent_jax.kernels._primitives import new_call

from .common import cast, draw, flags, score

TIME, BATCH, D, H = 6, 5, 3, 16
TOLERANCE = {"float32": 1e-5, "bfloat16": 1e-2}


def problem(name, dtype, *, flagged=True, reverse=False, batch=BATCH, time=TIME, H=H):
    """Return a call, its leaves, and cotangents of its results."""
    cell, params, xs, carry = draw(name, time, batch, D, H)
    valid = reset = None
    if flagged:
        drawn = flags(time, batch)
        valid = jnp.asarray(drawn["mask"])
        reset = jnp.asarray(drawn["resets"]) & valid
    fresh = jax.tree.map(lambda a: a[::-1] / 2, carry)
    params, xs, carry, fresh = cast((params, xs, carry, fresh), dtype)
    flag = Flags(valid, reset)
    loop = Loop(cell, params, xs, flag, fresh, reverse, (batch,), 0, rj.Fused())
    call, leaves = new_call(kernels.find(cell), loop, rj.Sequential(), carry)
    rng = np.random.default_rng(1)
    like = [jax.ShapeDtypeStruct((time, batch, H), dtype), *jax.tree.leaves(carry)]
    d = [jnp.asarray(rng.normal(size=a.shape), dtype) for a in like]
    return call, leaves, d


def of_kernels(call, leaves, d, run):
    """Return the results of both directions of the kernels of a platform."""
    along = tuple(a.dtype != bool for a in leaves)

    @jax.jit
    def both(leaves, d):
        out = _pallas.forward(*leaves, call=call, saving=True, run=run)
        results, residuals = out[: len(d)], out[len(d) :]
        kept = (results[0], *residuals)
        return results, _pallas.backward(
            *leaves, *kept, *d, call=call, along=along, run=run
        )

    return both(leaves, d)


def of_loop(call, leaves, d):
    """Return the same of the plain loop, differentiated by JAX, in float32."""
    where = [i for i, a in enumerate(leaves) if a.dtype != bool]

    def plain(*some):
        full = list(leaves)
        for i, a in zip(where, some, strict=True):
            full[i] = a
        final, ys, _ = run_steps(*call.loop(full))
        return [ys, *jax.tree.leaves(final)]

    @jax.jit
    def both(some, d):
        results, pull = jax.vjp(plain, *some)
        return results, list(pull(d))

    def wide(arrays):
        return [a.astype("float32") for a in arrays]

    return both(wide(leaves[i] for i in where), wide(d))


def text_for(function, *given, platform):
    """Return the program of a function, lowered for a platform."""
    return (
        jax.jit(function).trace(*given).lower(lowering_platforms=(platform,)).as_text()
    )


def loss(cell, method, params, xs):
    """Return a number that depends on all results."""
    return score(rj.unroll(cell, params, xs, method=method))


def gradient(cell, method=None):
    """Return the function whose program is looked at."""
    return jax.grad(functools.partial(loss, cell, method))


def example(cell, kind, dtype="float32"):
    """Return types of parameters and inputs on a kind of device."""
    params = jax.eval_shape(lambda: cell.init(jax.random.key(0), D))
    return place((params, jax.ShapeDtypeStruct((TIME, BATCH, D), float)), kind, dtype)
