# SPDX-License-Identifier: Apache-2.0
"""The lowering of the primitives to kernels in Pallas, on a TPU.

The grid runs over blocks of sequences and, inside, over blocks of steps. The weights
and the carry stay in the fast memory of the chip (VMEM). The blocks of z, of outputs
and of what is saved pass through it, and the next block is copied during this one.
"""

import dataclasses
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from recurrent_jax._core.mesh import like
from recurrent_jax.kernels._kernel import Kernel
from recurrent_jax.kernels._pallas import Given, Made, One, as_float
from recurrent_jax.kernels._primitives import Call
from recurrent_jax.kernels._steps import ALL, Values, step_of

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
    one: One,
    gates: list[int],
    has_sums: bool,
    places: dict[int, int],
    interpret: Any = False,
) -> Made:
    """Run one direction over all steps.

    Args:
        call: the call.
        direction: `forward`, or `backward`, which begins with the last step.
        given: the arrays that are read.
        one: one step, from its `Block` and the state before to the state after.
        gates: how many gates each stream that is made has.
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
        [like(first, (time, rows, n * H), first.dtype) for n in gates], rows_like, sums
    )

    def body(given: Given, streams: Any, ends: Any, sums: Any, *carry: Any) -> None:
        made = Made(streams, ends, sums)
        _body(_Block(given, made, direction), one, carry, cut.steps, last, reverse)

    made = pl.pallas_call(
        body,
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
        out_specs=Made(
            [stream(n * H) for n in gates], [row] * parts, [row] * len(sums)
        ),
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


@dataclasses.dataclass(frozen=True)
class _Block:
    """A `_pallas.Block`: its arrays, and the step `s` among those in fast memory."""

    given: Given
    made: Made
    direction: str
    s: Any = None

    def code(self) -> jax.Array | None:
        """Return the codes of the step."""
        if self.given.codes is None:
            return None
        return jnp.broadcast_to(self.given.codes[self.s], self.given.carry[0].shape)

    def fresh(self) -> Values:
        """Return the fresh carry."""
        return [as_float(ref[...]) for ref in self.given.fresh]

    def bias(self) -> Values:
        """Return the bias of the product; its one row is broadcast."""
        return [as_float(ref[...]) for ref in self.given.weights[1:]]

    def read(self, number: int) -> Values:
        """Return the gates of a stream."""
        ref = self.given.streams[number]
        return self._gates(as_float(ref[self.s]))

    def write(self, number: int, values: Values) -> None:
        """Write the gates of a stream."""
        ref = self.made.streams[number]
        ref[self.s] = _joined(values).astype(ref.dtype)

    def product(self, values: Values, gates: slice = ALL) -> Values:
        """Return a product with the weights."""
        H = self.given.carry[0].shape[-1]
        weights = self.given.weights[0][...]
        if gates != ALL:
            part = slice((gates.start or 0) * H, gates.stop * H)
            forward = self.direction == "forward"
            weights = weights[:, part] if forward else weights[part]
        return self._gates(dot(_joined(values), weights))

    def _gates(self, a: jax.Array) -> Values:
        return jnp.split(a, a.shape[-1] // self.given.carry[0].shape[-1], axis=-1)


def _joined(values: Values) -> jax.Array:
    return values[0] if len(values) == 1 else jnp.concatenate(values, -1)


def _body(
    block: _Block, one: One, carry: Any, steps: int, last: int, reverse: bool
) -> None:
    """Run a block of steps; `last` is the number of the last block."""
    from jax.experimental import pallas as pl

    given, made = block.given, block.made
    state = [*carry, *made.sums]

    @pl.when(pl.program_id(1) == 0)
    def _() -> None:
        for ref, start in zip(carry, given.carry, strict=True):
            ref[...] = as_float(start[...])
        for ref in made.sums:
            ref[...] = jnp.zeros_like(ref)

    def at(k: Any, _: None) -> None:
        s = steps - 1 - k if reverse else k
        after = one(dataclasses.replace(block, s=s), [ref[...] for ref in state])
        for ref, value in zip(state, after, strict=True):
            ref[...] = value

    jax.lax.fori_loop(0, steps, at, None)

    @pl.when(pl.program_id(1) == last)
    def _() -> None:
        for ref, value in zip(made.carry, carry, strict=True):
            ref[...] = value[...].astype(ref.dtype)


def dot(a: jax.Array, U: jax.Array) -> jax.Array:
    """Return a U, summed in float32."""
    how = {"precision": _precision(U), "preferred_element_type": jnp.float32}
    return jnp.dot(a.astype(U.dtype), U, **how)


# What `jax_default_matmul_precision` calls one product of bfloat16 numbers.
_ONE_PASS = None, "default", "fastest", "bfloat16", "BF16_BF16_F32"


def _precision(U: jax.Array) -> lax.Precision:
    """Return the precision of products with U: in one pass, or exact.

    A kernel has nothing in between. Products of bfloat16 numbers are exact in one pass.
    """
    asked = getattr(jax.config, "jax_default_matmul_precision", None)
    one_pass = U.dtype == jnp.bfloat16 or asked in _ONE_PASS
    return lax.Precision.DEFAULT if one_pass else lax.Precision.HIGHEST
