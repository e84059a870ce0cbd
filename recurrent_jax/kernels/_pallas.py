# SPDX-License-Identifier: Apache-2.0
"""Both directions of a loop in Pallas, for any platform that can run the steps.

A platform gives `run`, which takes one step after the other, in blocks of sequences,
and a `Block` of arrays at each of them.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import mlir

from recurrent_jax._core.mesh import invariant
from recurrent_jax.kernels import _outside
from recurrent_jax.kernels._forms import Along, is_exported, split
from recurrent_jax.kernels._kernel import Kernel
from recurrent_jax.kernels._library import turned_off
from recurrent_jax.kernels._primitives import Call, cotangent_p, forward_p
from recurrent_jax.kernels._steps import ALL, Values, step_of


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


class Block(Protocol):
    """One step of a block of sequences, as a platform gives it, in float32.

    Every array has the shape of a part of the carry: sequences by units.
    """

    def code(self) -> jax.Array | None:
        """Return 0 for a skipped step, 2 for one that is reset first, else 1."""
        ...

    def fresh(self) -> Values:
        """Return the carry that a reset restarts from, empty if nothing reads it."""
        ...

    def bias(self) -> Values:
        """Return the bias of the product with U, empty if there is none."""
        ...

    def read(self, number: int) -> Values:
        """Return the gates of a stream that is read."""
        ...

    def write(self, number: int, values: Values) -> None:
        """Write the gates of a stream that is made."""
        ...

    def product(self, values: Values, gates: slice = ALL) -> Values:
        """Return a product with the weights; see `_steps.Product`."""
        ...


# (block, state) -> state. The state is the carry and, with resets, what is summed.
One = Callable[[Any, Values], Values]
# (call, direction, given, one, gates, has_sums, places) -> made; see `_tpu.run`
Runner = Callable[..., Made]


def register(
    primitive: Primitive,
    form: Callable[..., Any],
    platform: str,
    run: Runner,
    refuses: Callable[[Kernel, int, Any], str | None],
    is_here: Callable[[Any], bool] = lambda arrays: True,
    varies: bool = True,
) -> None:
    """Lower a primitive to a kernel on a platform, or to its form if there is none.

    Args:
        primitive: the primitive.
        form: what it computes.
        platform: the name of the platform.
        run: what runs the steps there.
        refuses: from a kernel, a number of units and a dtype, to why there is none.
        is_here: from types of arrays to whether their device runs kernels.
        varies: whether values in a kernel may vary over the axes of a mesh.
    """
    if primitive is forward_p:
        kernel: Callable[..., Any] = forward
    elif primitive is cotangent_p:
        kernel = backward
    else:  # the tangent is only run in forward mode
        return

    def rule(ctx: Any, *args: Any, call: Call, **how: Any) -> Any:
        there = not (is_exported(ctx) or turned_off()) and is_here(ctx.avals_in)
        there = there and _refuses(call, ctx.avals_in, refuses) is None
        function = functools.partial(kernel, run=run) if there else form
        if there and not varies:
            ctx = ctx.replace(avals_in=list(map(invariant, ctx.avals_in)))
        lower = mlir.lower_fun(function, multiple_results=True)
        return lower(ctx, *args, call=call, **how)

    mlir.register_lowering(primitive, rule, platform=platform)


def _refuses(call: Call, args: Any, refuses: Callable[..., Any]) -> str | None:
    """Return None, or why both directions of a call run without a kernel.

    It reads what the two have in common: `vmap` may give them different batches.
    """
    leaves = split(call, args)[0]
    loop, carry = call.loop(leaves)
    dtypes = {a.dtype for a in leaves if jnp.issubdtype(a.dtype, jnp.floating)}
    if len(dtypes) > 1:
        return "its arrays have several dtypes"
    H = jax.tree.leaves(carry)[0].shape[-1]
    reason: str | None = refuses(call.kernel, H, loop.xs.dtype)
    return reason


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

    def one(block: Block, before: Values) -> Values:
        code = block.code()
        if given.fresh:
            each = zip(block.fresh(), before, strict=True)
            before = [jnp.where(code == 2, f, b) for f, b in each]
        after, saved = step.forward(block.read(0), before, block.product, block.bias())
        y = after[0]
        if code is not None:
            each = zip(after, before, strict=True)
            after = [jnp.where(code != 0, a, b) for a, b in each]
            y = jnp.where(code != 0, y, jnp.zeros_like(y))
        for number, values in enumerate([[y], *saved] if saving else [[y]]):
            block.write(number, values)
        return after

    gates = [1, *(call.kernel.residuals if saving else ())]
    # Nothing reads z afterwards. What is made first of its width takes its place.
    width = zs.shape[-1] // parts[0].shape[-1]
    same = [(0, at) for at, n in enumerate(gates) if n == width]
    made = run(call, "forward", given, one, gates, False, dict(same[:1]))
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
    n, parts = 1 + len(saved), len(d_final)

    def one(block: Block, state: Values) -> Values:
        code = block.code()
        d, sums = state[:parts], state[parts:]
        (d_y,), *kept = (block.read(number) for number in range(n))
        hs = block.read(n) if read else []
        made, before = step.backward([d[0] + d_y, *d[1:]], hs, kept, block.product)
        zero = jnp.zeros_like(d_y)
        if code is not None:
            made = [[jnp.where(code != 0, a, zero) for a in each] for each in made]
            before = [
                jnp.where(code != 0, a, b) for a, b in zip(before, d, strict=True)
            ]
        if sums:
            each = zip(sums, before, strict=True)
            sums = [a + jnp.where(code == 2, b, zero) for a, b in each]
            before = [jnp.where(code == 2, zero, b) for b in before]
        for number, values in enumerate(made):
            block.write(number, values)
        return [*before, *sums]

    H, has_resets = h.shape[-1], loop.flags.reset is not None
    # Nothing reads d_y and what was saved again. What is made first takes a place.
    same = [
        (at, 0)
        for at, a in enumerate(given.streams[:n])
        if a.shape[-1] == step.makes[0] * H
    ]
    gates = list(step.makes)
    made = run(call, "backward", given, one, gates, has_resets, dict(same[:1]))
    d_params, d_xs = _outside.of_arrays(call, loop, made.streams, h)
    return _outside.wanted(call, along, d_params, d_xs, made.carry, made.sums)


def as_float(a: jax.Array) -> jax.Array:
    """Return an array in float32."""
    return a.astype(jnp.float32)
