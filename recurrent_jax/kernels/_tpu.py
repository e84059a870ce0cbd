# SPDX-License-Identifier: Apache-2.0
"""The lowering of the primitives to kernels in Pallas, on a TPU.

The grid runs over blocks of sequences and, inside, over blocks of steps. The weights
and the carry stay in the fast memory of the chip (VMEM). The blocks of z, of outputs
and of what is saved pass through it, and the next block is copied during this one.
"""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import mlir

from recurrent_jax._core.mesh import like
from recurrent_jax.kernels import _pallas
from recurrent_jax.kernels._forms import is_exported, split
from recurrent_jax.kernels._kernel import Kernel
from recurrent_jax.kernels._library import turned_off
from recurrent_jax.kernels._pallas import Given, Made, as_float
from recurrent_jax.kernels._primitives import Call, cotangent_p, forward_p
from recurrent_jax.kernels._steps import Values, step_of

DTYPES = "float32", "bfloat16"  # an array of another has a form, and no kernel
_LANES, _ROWS, _STEPS = 128, 16, 8
_MIB = 2**20
# A v5e and a v6e have 128 MiB, a v7x has 64. XLA keeps arrays of its own there.
VMEM = 48 * _MIB


class Tiles(NamedTuple):
    """How a call is cut: sequences and steps of one block, and its bytes of VMEM."""

    rows: int
    steps: int
    bytes: int


def register(primitive: Primitive, form: Callable[..., Any]) -> None:
    """Lower a primitive to its kernel on a TPU, or to its form if there is none."""
    if primitive is forward_p:
        kernel: Callable[..., Any] = _pallas.forward
    elif primitive is cotangent_p:
        kernel = _pallas.backward
    else:  # the tangent is only run in forward mode
        return

    def rule(ctx: Any, *args: Any, call: Call, **how: Any) -> Any:
        there = not (is_exported(ctx) or turned_off() or _refuses(call, ctx.avals_in))
        function = functools.partial(kernel, run=run) if there else form
        lower = mlir.lower_fun(function, multiple_results=True)
        return lower(ctx, *args, call=call, **how)

    mlir.register_lowering(primitive, rule, platform="tpu")


def _refuses(call: Call, args: Any) -> str | None:
    """Return None, or why both directions of a call run without a kernel.

    It reads what the two have in common: `vmap` may give them different batches.
    """
    leaves = split(call, args)[0]
    loop, carry = call.loop(leaves)
    dtypes = {a.dtype for a in leaves if jnp.issubdtype(a.dtype, jnp.floating)}
    if len(dtypes) > 1:
        return "its arrays have several dtypes"
    return refuses(call.kernel, jax.tree.leaves(carry)[0].shape[-1], loop.xs.dtype)


def refuses(kernel: Kernel, hidden_size: int, dtype: Any) -> str | None:
    """Return None, or why there is no kernel for a number of units and a dtype."""
    if jnp.dtype(dtype).name not in DTYPES:
        return f"there are kernels for {' and '.join(DTYPES)} on a TPU"
    least = _bytes(kernel, hidden_size, dtype, _ROWS, 1)
    if least <= VMEM:
        return None
    return (
        f"its weights and a block of {_ROWS} sequences take "
        f"{math.ceil(least / _MIB)} MiB with {hidden_size} units in "
        f"{jnp.dtype(dtype)}, and a kernel may use {VMEM // _MIB} MiB of the fast "
        "memory of a TPU"
    )


def blocks(kernel: Kernel, hidden_size: int, dtype: Any, time: int, rows: int) -> Tiles:
    """Return the largest blocks that fit into VMEM, for a call that is not refused."""
    steps = math.gcd(time, _STEPS)
    while True:
        most = rows
        while (size := _bytes(kernel, hidden_size, dtype, most, steps)) > VMEM:
            if most <= _ROWS:
                break
            most = -(-most // (2 * _ROWS)) * _ROWS
        else:
            return Tiles(most, steps, size)
        steps //= 2


def _bytes(kernel: Kernel, H: int, dtype: Any, rows: int, steps: int) -> int:
    """Return the most bytes of VMEM that a direction needs."""
    size = jnp.dtype(dtype).itemsize
    gates = {"lstm": 4, "gru": 3, "elman": 1}[kernel.name]
    parts = 2 if kernel.name == "lstm" else 1
    wide = -(-H // _LANES) * _LANES
    rows = -(-rows // _ROWS) * _ROWS
    # Of each step: z or what is made backwards, y or its cotangent, h, what is saved,
    # and the codes.
    made = sum(step_of(kernel).makes)
    each = (made + 2 + sum(kernel.residuals)) * wide * size + _LANES * 4
    carries = 6 * parts * wide * 4
    values = 3 * gates * wide * 4  # of the step that is computed
    # The compiler may copy the weights once more before a product.
    return 2 * H * gates * wide * size + rows * (2 * steps * each + carries + values)


def run(
    call: Call,
    direction: str,
    given: Given,
    one: Callable[..., Values],
    widths: list[int],
    has_sums: bool,
    places: dict[int, int],
    interpret: Any = False,
) -> Made:
    """Run one direction over all steps.

    Args:
        call: the call.
        direction: `forward`, or `backward`, which begins with the last step.
        given: the arrays that are read.
        one: one step, a function of the blocks of both kinds of arrays, the carry, and
            the number of the step in its block, to the new carry.
        widths: the last axes of the streams that are made.
        has_sums: whether the cotangent of the fresh carry is made.
        places: which stream that is read gives its place to which that is made.
        interpret: how to interpret the kernel instead of compiling it.
    """
    from jax.experimental import pallas as pl
    from jax.experimental.pallas import tpu as pltpu

    first = given.streams[0]
    time, rows = first.shape[:2]
    H = given.carry[0].shape[-1]
    cut = blocks(call.kernel, H, first.dtype, time, rows)
    last = time // cut.steps - 1
    reverse = call.static.reverse != (direction == "backward")

    def stream(width: int) -> Any:
        def at(b: Any, t: Any) -> Any:
            return (last - t if reverse else t, b, 0)

        return pl.BlockSpec((cut.steps, cut.rows, width), at)

    row = pl.BlockSpec((cut.rows, H), lambda b, t: (b, 0))

    def whole(a: jax.Array) -> Any:  # it is copied once
        return pl.BlockSpec(a.shape, lambda b, t: (0, 0), pipeline_mode=pl.Buffered(1))

    parts = len(given.carry)
    rows_like = [like(first, (rows, H), first.dtype)] * parts
    sums = [like(first, (rows, H), jnp.float32)] * (parts if has_sums else 0)
    shapes = Made(
        [like(first, (time, rows, w), first.dtype) for w in widths], rows_like, sums
    )
    made = pl.pallas_call(
        _body(one, cut.steps, last, reverse),
        out_shape=shapes,
        grid=(pl.cdiv(rows, cut.rows), last + 1),
        in_specs=[
            Given(
                [stream(a.shape[-1]) for a in given.streams],
                None if given.codes is None else stream(1),
                [whole(a) for a in given.weights],
                [row] * parts,
                [row] * len(given.fresh),
            )
        ],
        out_specs=Made([stream(w) for w in widths], [row] * parts, [row] * len(sums)),
        scratch_shapes=[pltpu.VMEM((cut.rows, H), jnp.float32)] * parts,
        compiler_params=pltpu.CompilerParams(
            dimension_semantics=("parallel", "arbitrary"),
            vmem_limit_bytes=max(16 * _MIB, 5 * cut.bytes // 4),
        ),
        input_output_aliases=places,
        interpret=interpret,
        name=f"recurrent_jax_{call.kernel.name}_{direction}",
    )(given)
    return made._replace(sums=[a.astype(first.dtype) for a in made.sums])


def _body(
    one: Callable[..., Values], steps: int, last: int, reverse: bool
) -> Callable[..., None]:
    """Return what runs a block of steps; `last` is the number of the last block."""
    from jax.experimental import pallas as pl

    def body(given: Given, streams: Any, ends: Any, sums: Any, *state: Any) -> None:
        made = Made(streams, ends, sums)

        @pl.when(pl.program_id(1) == 0)
        def _() -> None:
            for ref, start in zip(state, given.carry, strict=True):
                ref[...] = as_float(start[...])
            for ref in made.sums:
                ref[...] = jnp.zeros_like(ref)

        def at(k: Any, _: None) -> None:
            s = steps - 1 - k if reverse else k
            carry = one(given, made, [ref[...] for ref in state], s)
            for ref, value in zip(state, carry, strict=True):
                ref[...] = value

        jax.lax.fori_loop(0, steps, at, None)

        @pl.when(pl.program_id(1) == last)
        def _() -> None:
            for ref, value in zip(made.carry, state, strict=True):
                ref[...] = value[...].astype(ref.dtype)

    return body
