# SPDX-License-Identifier: Apache-2.0
"""Both directions of a loop in Pallas, for any platform that can run the steps.

A platform gives `run`, which takes one step after the other, in blocks of sequences.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from recurrent_jax.kernels import _outside
from recurrent_jax.kernels._forms import Along, split
from recurrent_jax.kernels._primitives import Call
from recurrent_jax.kernels._steps import Values, step_of


class Given(NamedTuple):
    """The arrays that a direction reads, or their blocks.

    Attributes:
        streams: the arrays with a time axis, `(time, batch, ...)`.
        codes: which steps are skipped or reset, or None.
        weights: the parameters of the loop over the carry.
        carry: the carry that the direction starts from, `(batch, H)` each.
        fresh: the carry that a reset restarts from; empty if nothing reads it.
    """

    streams: Any
    codes: Any
    weights: Any
    carry: Any
    fresh: Any


class Made(NamedTuple):
    """The arrays that a direction returns, or their blocks.

    Attributes:
        streams: the arrays with a time axis.
        carry: the carry after the last step of the direction.
        sums: backwards and with resets, the cotangent of the fresh carry.
    """

    streams: Any
    carry: Any
    sums: Any


# (call, direction, given, one, widths, has_sums, places) -> made; see `_tpu.run`
Runner = Callable[..., Made]


def forward(
    *leaves: jax.Array, call: Call, saving: bool, run: Runner
) -> list[jax.Array]:
    """Return what `_forms.forward` does, with residuals."""
    loop, carry = call.loop(leaves)
    step, parts = step_of(call.kernel), jax.tree.leaves(carry)
    fresh = jax.tree.leaves(None if loop.flags.reset is None else loop.fresh)
    zs = loop.cell.project(loop.params, loop.xs)
    weights = _outside.weights(call, loop)
    given = Given([zs], _outside.codes(loop), weights, parts, fresh)
    H = parts[0].shape[-1]
    saved = [width * H for width in call.kernel.residuals] if saving else []

    def one(given: Given, made: Made, before: Values, s: Any) -> Values:
        code = _code(given, s, before[0])
        if given.fresh:
            each = zip(given.fresh, before, strict=True)
            before = [jnp.where(code == 2, as_float(f[...]), b) for f, b in each]
        U, *bias = [ref[...] for ref in given.weights]
        z = as_float(given.streams[0][s])
        after, kept = step.forward(z, before, [U, *map(as_float, bias)])
        y = after[0]
        if code is not None:
            each = zip(after, before, strict=True)
            after = [jnp.where(code != 0, a, b) for a, b in each]
            y = jnp.where(code != 0, y, jnp.zeros_like(y))
        _write(made, s, [y, *kept] if saving else [y])
        return after

    widths = [H, *saved]
    # Nothing reads z afterwards. What is made first of its width takes its place.
    same = [(0, at) for at, width in enumerate(widths) if width == zs.shape[-1]]
    made = run(call, "forward", given, one, widths, False, dict(same[:1]))
    ys, *kept = made.streams
    return [ys, *made.carry, *kept]


def backward(
    *args: jax.Array, call: Call, along: Along, run: Runner
) -> list[jax.Array]:
    """Return what `_forms.cotangent` does."""
    leaves, (ys, *saved), (d_ys, *d_final) = split(call, args)
    loop, carry = call.loop(leaves)
    step = step_of(call.kernel)
    h = _outside.befores(loop, jax.tree.leaves(carry)[0], ys)
    read = {"before": [h], "after": [ys], None: []}[step.reads]
    weights = [loop.params.recurrent_kernel.T]
    given = Given([d_ys, *saved, *read], _outside.codes(loop), weights, d_final, [])
    n = 1 + len(saved)

    def one(given: Given, made: Made, d: Values, s: Any) -> Values:
        code = _code(given, s, d[0])
        d_y, *streams = (as_float(ref[s]) for ref in given.streams)
        V = [ref[...] for ref in given.weights]
        kept, h = streams[: n - 1], streams[n - 1 :]
        found, before = step.backward([d[0] + d_y, *d[1:]], h, kept, V)
        if code is not None:
            found = [
                jnp.where(_code(given, s, a) != 0, a, jnp.zeros_like(a)) for a in found
            ]
            before = [
                jnp.where(code != 0, a, b) for a, b in zip(before, d, strict=True)
            ]
        if made.sums:
            zero = jnp.zeros_like(d[0])
            for ref, b in zip(made.sums, before, strict=True):
                ref[...] += jnp.where(code == 2, b, zero)
            before = [jnp.where(code == 2, zero, b) for b in before]
        _write(made, s, found)
        return before

    H, has_resets = h.shape[-1], loop.flags.reset is not None
    widths = [width * H for width in step.makes]
    # Nothing reads d_y and what was saved again. What is made first takes a place.
    same = [
        (at, 0) for at, a in enumerate(given.streams[:n]) if a.shape[-1] == widths[0]
    ]
    made = run(call, "backward", given, one, widths, has_resets, dict(same[:1]))
    d_params, d_xs = _outside.of_arrays(call, loop, made.streams, h)
    return _outside.wanted(call, along, d_params, d_xs, made.carry, made.sums)


def _code(given: Given, s: Any, like: jax.Array) -> Any:
    """Return the codes of a step, as wide as an array, or None."""
    if given.codes is None:
        return None
    return jnp.broadcast_to(given.codes[s], like.shape)


def _write(made: Made, s: Any, values: Values) -> None:
    for ref, value in zip(made.streams, values, strict=True):
        ref[s] = value.astype(ref.dtype)


def as_float(a: jax.Array) -> jax.Array:
    """Return an array in float32."""
    return a.astype(jnp.float32)
