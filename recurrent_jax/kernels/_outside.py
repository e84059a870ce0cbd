# SPDX-License-Identifier: Apache-2.0
"""What a kernel in Pallas leaves to XLA: the products over all steps at once.

The kernel runs the loop over the carry alone. It gets the projected inputs and returns
the outputs. Backwards it returns the cotangent of each z, from which those of
parameters and inputs follow by one product each.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from recurrent_jax._core.arrays import select
from recurrent_jax._loop.loop import Loop
from recurrent_jax.kernels._forms import Along, chosen
from recurrent_jax.kernels._primitives import Call


def weights(call: Call, loop: Loop) -> list[jax.Array]:
    """Return the parameters that the loop over the carry reads, as matrices."""
    given = [getattr(loop.params, name) for name in call.kernel.params[2:]]
    return [a if a.ndim == 2 else a[None] for a in given if a is not None]


def codes(loop: Loop) -> jax.Array | None:
    """Return 0 for a skipped step, 2 for one that is reset first, else 1.

    The shape is `(time, batch, 1)`. None stands for 1 at each step.
    """
    valid, reset = loop.flags
    if valid is None and reset is None:
        return None
    code = jnp.ones((loop.time, *loop.batch_shape), jnp.int32)
    if reset is not None:
        code += reset.astype(jnp.int32)
    if valid is not None:
        code = jnp.where(valid, code, jnp.zeros_like(code))
    return code[..., None]


def befores(loop: Loop, h: jax.Array, ys: jax.Array) -> jax.Array:
    """Return the h that each step reads, from the first one and the outputs.

    An output of a skipped step is zero, so the last valid step before is looked up. At
    skipped steps themselves the result is any number that was a state.
    """
    if loop.reverse:
        ys = jnp.flip(ys, 0)
    valid, reset = (
        jnp.flip(flag, 0) if loop.reverse and flag is not None else flag
        for flag in loop.flags
    )
    after = jnp.concatenate([h[None], ys])
    if valid is None:
        found = after[:-1]
    else:
        step = jnp.arange(1, loop.time + 1, dtype=jnp.int32)[:, None]
        last = lax.cummax(jnp.where(valid, step, jnp.zeros_like(step)), axis=0)
        last = jnp.concatenate([jnp.zeros_like(last[:1]), last[:-1]])
        found = jnp.take_along_axis(after, last[..., None], axis=0)
    if reset is not None:
        fresh = jax.tree.leaves(loop.fresh)[0]
        found = select(reset, jnp.broadcast_to(fresh, found.shape), found)
    return jnp.flip(found, 0) if loop.reverse else found


def of_arrays(
    call: Call, loop: Loop, made: list[jax.Array], h: jax.Array
) -> tuple[Any, jax.Array]:
    """Return the cotangents of the parameters, and of the inputs.

    Args:
        call: the call.
        loop: its loop.
        made: what the cotangents of the steps made, zero at skipped steps.
        h: what `befores` returns.
    """
    params, H = loop.params, h.shape[-1]
    dz = made[0][..., : params.kernel.shape[-1]]
    found = {"kernel": _over_steps(loop.xs, dz), "bias": jnp.sum(dz, (0, 1))}
    if call.kernel.name == "gru":
        reset_after = dict(call.kernel.attributes)["reset_after"]
        rest, last = dz[..., : 2 * H], (made[-1], dz[..., 2 * H :])
        if reset_after:
            du = made[0][..., 3 * H :]
            found["recurrent_bias"] = jnp.sum(du, (0, 1))
            last = h, du
        parts = [_over_steps(h, rest), _over_steps(*last)]
        found["recurrent_kernel"] = jnp.concatenate(parts, -1)
    else:
        found["recurrent_kernel"] = _over_steps(h, dz)
    there = {
        name: None if getattr(params, name) is None else cotangent
        for name, cotangent in found.items()
    }
    return params._replace(**there), dz @ params.kernel.T


def wanted(
    call: Call, along: Along, params: Any, xs: jax.Array, carry: Any, fresh: Any
) -> list[jax.Array]:
    """Return the cotangents of the leaves `along`, in the order of the leaves."""
    loop, first = call.loop(range(call.arity))
    where = {loop.xs: xs}
    for at, got in ((loop.params, params), (first, carry), (loop.fresh, fresh)):
        where |= zip(jax.tree.leaves(at), jax.tree.leaves(got), strict=True)
    return chosen(along, [where.get(at) for at in range(call.arity)])


def _over_steps(a: jax.Array, b: jax.Array) -> jax.Array:
    """Return the sum of a^T b over time and batch, summed in float32."""
    both = (((0, 1), (0, 1)), ((), ()))
    sums = lax.dot_general(a, b, both, preferred_element_type=jnp.float32)
    return sums.astype(a.dtype)
