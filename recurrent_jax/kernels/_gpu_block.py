# SPDX-License-Identifier: Apache-2.0
"""A block of sequences on one multiprocessor of a Hopper GPU.

What a product reads is in shared memory: each warpgroup writes its units there, and
waits for the others. Tensor cores multiply numbers of bfloat16. A float32 is the sum of
three of them. Of the products of such parts, the six that float32 can see are summed,
as in XLA's algorithm BF16_BF16_F32_X6.
"""

import dataclasses
import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from recurrent_jax.kernels._mosaic import layout, load, part, spread, store
from recurrent_jax.kernels._pallas import Given, Made, One, as_float
from recurrent_jax.kernels._steps import ALL, Values

ROWS = 64  # sequences of a block


class GPUPlan(NamedTuple):
    """What all steps of a kernel have in common.

    Attributes:
        name: the name of the kernel.
        backward: whether the direction is backward.
        reverse: whether it begins with the last step.
        time: steps.
        blocks: blocks of sequences.
        groups: warpgroups of a block.
        units: units of a group.
        gates: gates of the weights.
        operands: the most arrays that a product reads.
        parts: numbers of bfloat16 that make a number.
    """

    name: str
    backward: bool
    reverse: bool
    time: int
    blocks: int
    groups: int
    units: int
    gates: int
    operands: int
    parts: int


class SharedMemory(NamedTuple):
    """The shared memory of a block.

    Attributes:
        weights: `(parts, groups, rows, columns)`.
        operands: what a product reads, `(parts, operands * groups, ROWS, units)`.
        loaded: the barrier of the weights.
        free: the barrier of groups that have read the operands.
        ready: the barrier of groups that have written them.
    """

    weights: Any
    operands: Any
    loaded: Any
    free: Any
    ready: Any


@dataclasses.dataclass(frozen=True)
class GPUBlock:
    """A `_pallas.Block`: its arrays, shared memory, place in the batch, and step."""

    plan: GPUPlan
    given: Given
    made: Made
    memory: SharedMemory
    block: Any
    group: Any
    t: Any = None

    def code(self) -> jax.Array | None:
        """Return the codes of the step."""
        if self.given.codes is None:
            return None
        codes = self.given.codes.at[self.t, part(self.block, ROWS)]
        return spread(codes, 0, (ROWS, self.plan.units))

    def fresh(self) -> Values:
        """Return the fresh carry."""
        return [self.get(ref) for ref in self.given.fresh]

    def bias(self) -> Values:
        """Return the bias of the product."""
        units = self.plan.units
        found = (ref.at[part(self.group, units)] for ref in self.given.weights[1:])
        return [as_float(spread(ref, 1, (ROWS, units))) for ref in found]

    def read(self, number: int) -> Values:
        """Return the gates of a stream."""
        ref = self.given.streams[number]
        gates = ref.shape[-1] // (self.plan.groups * self.plan.units)
        return [self.get(ref, self.t, gate) for gate in range(gates)]

    def write(self, number: int, values: Values) -> None:
        """Write the gates of a stream."""
        for gate, value in enumerate(values):
            self.put(self.made.streams[number], value, self.t, gate)

    def product(self, values: Values, gates: slice = ALL) -> Values:
        """Return a product with the weights, once all groups have written values."""
        from jax.experimental import pallas as pl
        from jax.experimental.pallas import mosaic_gpu as plgpu

        plan, memory, units = self.plan, self.memory, self.plan.units
        self._exchange(values)
        start, stop, _ = gates.indices(plan.gates)
        outputs = 1 if plan.backward else stop - start
        row, column = (start * plan.groups, 0) if plan.backward else (0, start)
        columns = pl.ds(column * units, outputs * units)

        def multiply(sums: Any) -> jax.Array:
            for a, b in _pairs(plan.parts):
                for slot in range(len(values) * plan.groups):
                    rows = pl.ds((row + slot) * units, units)
                    weights = memory.weights.at[b, self.group, rows, columns]
                    plgpu.wgmma(sums, memory.operands.at[a, slot], weights)
            found: jax.Array = sums[...]
            return found

        sums = plgpu.ACC((ROWS, outputs * units), jnp.float32)
        found = pl.run_scoped(multiply, sums)
        starts = range(0, outputs * units, units)
        return [lax.slice(found, (0, at), (ROWS, at + units)) for at in starts]

    def _exchange(self, values: Values) -> None:
        """Write this group's units of what a product reads, and wait for all groups."""
        from jax.experimental.pallas import mosaic_gpu as plgpu

        plan, (_, operands, _, free, ready) = self.plan, self.memory
        plgpu.barrier_arrive(free)
        plgpu.barrier_wait(free)
        for number, value in enumerate(values):
            slot = number * plan.groups + self.group
            for which, a in enumerate(in_parts(value, plan.parts)):
                store(operands.at[which, slot], a, optimized=True)
        plgpu.commit_smem()
        plgpu.barrier_arrive(ready)
        plgpu.barrier_wait(ready)

    def get(self, ref: Any, *at: Any) -> jax.Array:
        """Return this group's units of an array, or of a step and a gate of one."""
        return as_float(load(ref.at[self._place(*at)], layout()))

    def put(self, ref: Any, value: jax.Array, *at: Any) -> None:
        """Write this group's units."""
        place = self._place(*at)
        store(ref.at[place], value.astype(ref.dtype), optimized=False)

    def _place(self, *at: Any) -> Any:
        *time, gate = at or (0,)
        number = gate * self.plan.groups + self.group
        return (*time, part(self.block, ROWS), part(number, self.plan.units))


def run_block(plan: GPUPlan, given: Given, made: Made, one: One, *memory: Any) -> None:
    """Run all steps of a block of sequences, in each of its groups."""
    from jax.experimental import pallas as pl
    from jax.experimental.pallas import mosaic_gpu as plgpu

    weights, _, loaded, _, _ = memory
    group = lax.axis_index("group")

    @pl.when(group == 0)
    def _() -> None:
        for which in range(plan.parts):
            for number in range(plan.groups):
                source = given.weights[0].at[which, number]
                plgpu.copy_gmem_to_smem(source, weights.at[which, number], loaded)

    plgpu.barrier_wait(loaded)
    here = lax.axis_index("block")
    block = GPUBlock(plan, given, made, SharedMemory(*memory), here, group)
    zero = plgpu.layout_cast(jnp.zeros((ROWS, plan.units), jnp.float32), layout())

    def at(k: Any, state: Values) -> Values:
        t = plan.time - 1 - k if plan.reverse else k
        return one(dataclasses.replace(block, t=t), state)

    state = [*map(block.get, given.carry), *(zero for _ in made.sums)]
    state = lax.fori_loop(0, plan.time, at, state)
    for ref, value in zip([*made.carry, *made.sums], state, strict=True):
        block.put(ref, value)


def kernel(
    plan: GPUPlan, body: Callable[..., None], out: list[Any], interpret: Any
) -> Callable[..., Any]:
    """Return the kernel that runs a body in each group of each block."""
    from jax.experimental.pallas import mosaic_gpu as plgpu

    rows, columns = plan.groups * plan.units, plan.units
    # As tensor cores want it: 8 rows, with the bytes of a row of a group.
    swizzle = plgpu.SwizzleTransform(2 * plan.units)
    tiled = (plgpu.TilingTransform((8, plan.units)), swizzle)
    if plan.backward:
        rows *= plan.gates
    else:
        columns *= plan.gates
    of_weights = plan.parts, plan.groups, rows, columns
    of_operands = plan.parts, plan.operands * plan.groups, ROWS, plan.units
    scratch = [
        plgpu.SMEM(of_weights, jnp.bfloat16, transforms=tiled),
        plgpu.SMEM(of_operands, jnp.bfloat16, transforms=tiled),
        plgpu.Barrier(num_arrivals=plan.parts * plan.groups),
        plgpu.Barrier(num_arrivals=plan.groups),
        plgpu.Barrier(num_arrivals=plan.groups),
    ]
    # JAX has renamed two arguments between 0.10 and 0.12.
    known = inspect.signature(plgpu.kernel).parameters
    kind = "type" if "out_type" in known else "shape"
    types: dict[str, Any] = {f"out_{kind}": out, f"scratch_{kind}s": scratch}
    made: Callable[..., Any] = plgpu.kernel(
        body,
        **types,
        compiler_params=plgpu.CompilerParams(
            lowering_semantics=plgpu.LoweringSemantics.Lane
        ),
        grid=(plan.blocks,),
        grid_names=("block",),
        num_threads=plan.groups,
        thread_name="group",
        kernel_name=plan.name,
        interpret=interpret,
    )
    return made


def in_parts(a: jax.Array, parts: int) -> Values:
    """Return numbers of bfloat16 whose sum is a number.

    Three parts of a float32 are exact. They are cut by their bits: a compiler may take
    a conversion to bfloat16 and back for nothing. One part is rounded.
    """
    if parts == 1:
        return [a.astype(jnp.bfloat16)]
    found = []
    for _ in range(parts):
        bits = lax.bitcast_convert_type(a, jnp.int32) & np.int32(-(2**16))
        high = lax.bitcast_convert_type(bits, jnp.float32)
        found.append(high.astype(jnp.bfloat16))
        a = a - high
    return found


def _pairs(parts: int) -> list[tuple[int, int]]:
    """Return which parts of two numbers are multiplied, the smallest products first."""
    return [(a, n - a) for n in reversed(range(parts)) for a in range(n + 1)]
