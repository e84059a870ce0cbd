# SPDX-License-Identifier: Apache-2.0
"""The lowering of the primitives to kernels in Pallas, on a Hopper GPU of NVIDIA.

A block of 64 sequences runs on one multiprocessor, from the first step to the last. Its
warpgroups have 32 or 64 units of each gate, and the carry of these in registers. The
weights stay in shared memory. Projected inputs and outputs pass between memory and
registers.
"""

import functools
import math
import re
from typing import Any

import jax
import jax.numpy as jnp

from recurrent_jax._core.mesh import kind_of, like
from recurrent_jax.kernels._gpu_block import ROWS, GPUPlan, in_parts, kernel, run_block
from recurrent_jax.kernels._kernel import Kernel
from recurrent_jax.kernels._pallas import Given, Made, One
from recurrent_jax.kernels._primitives import Call

PARTS = {"float32": 3, "bfloat16": 1}  # of a number, in bfloat16
DTYPES = tuple(PARTS)
_KIB = 2**10
SHARED = 227 * _KIB  # of the memory of one multiprocessor, for one kernel
_BARRIERS = 1 * _KIB
_GATES = {"lstm": 4, "gru": 3, "elman": 1}


def is_here(arrays: Any) -> bool:
    """Return whether the device of arrays is a Hopper GPU.

    Older GPUs and Blackwell multiply with other instructions.
    """
    return re.match(r"NVIDIA G?H\d", kind_of(arrays)) is not None


def refuses(kernel: Kernel, hidden_size: int, dtype: Any) -> str | None:
    """Return None, or why there is no kernel for a number of units and a dtype."""
    name = jnp.dtype(dtype).name
    if name not in DTYPES:
        return f"there are kernels for {' and '.join(DTYPES)} on a GPU"
    if (size := shared(kernel, hidden_size, dtype)) <= SHARED:
        return None
    return (
        f"its weights and a block of {ROWS} sequences take {math.ceil(size / _KIB)} "
        f"KiB with {hidden_size} units in {name}, and a kernel may use "
        f"{SHARED // _KIB} KiB of the shared memory of a GPU"
    )


def shared(kernel: Kernel, hidden_size: int, dtype: Any) -> int:
    """Return the bytes of shared memory that a direction needs at most."""
    all_units, operands = _filled(hidden_size), _operands(kernel, True)
    numbers = all_units * (_GATES[kernel.name] * all_units + operands * ROWS)
    return 2 * PARTS[jnp.dtype(dtype).name] * numbers + _BARRIERS


def _operands(kernel: Kernel, backward: bool) -> int:
    """Return how many arrays one product reads at most."""
    if not backward:
        return 1
    # If the reset comes before the product, that of n is apart.
    return _GATES[kernel.name] - (kernel.attributes == (("reset_after", False),))


def run(
    call: Call,
    direction: str,
    given: Given,
    one: One,
    gates: list[int],
    has_sums: bool,
    places: dict[int, int],
    interpret: Any = None,
) -> Made:
    """Run one direction over all steps; see `_tpu.run`.

    Sequences and units are filled up to multiples of those of a block and of a group.
    Nothing that is made takes the `places` of what is read.
    """
    first, plan = given.streams[0], _plan(call, direction, given)
    time, rows = first.shape[:2]
    H = given.carry[0].shape[-1]
    full = plan.blocks * ROWS, plan.groups * plan.units
    matrix, *bias = given.weights
    ends = [(0, 0), (0, full[0] - rows)]
    filled = Given(
        [_fill(a, H) for a in given.streams],
        None if given.codes is None else jnp.pad(given.codes[..., 0], ends),
        [_weights(plan, matrix, H), *(_fill(a, H)[0] for a in bias)],
        [_fill(a, H) for a in given.carry],
        [_fill(a, H) for a in given.fresh],
    )
    shapes = Made(
        [like(first, (time, full[0], n * full[1]), first.dtype) for n in gates],
        [like(first, full, first.dtype) for _ in given.carry],
        [like(first, full, jnp.float32) for _ in given.carry] if has_sums else [],
    )
    operands, structure = jax.tree.flatten(filled)
    results, made_structure = jax.tree.flatten(shapes)

    def body(*refs: Any) -> None:
        n, m = len(operands), len(operands) + len(results)
        arrays = structure.unflatten(refs[:n])
        run_block(plan, arrays, made_structure.unflatten(refs[n:m]), one, *refs[m:])

    made = made_structure.unflatten(kernel(plan, body, results, interpret)(*operands))
    back = functools.partial(_cut, rows=rows, H=H)
    return Made(
        [back(a) for a in made.streams],
        [back(a) for a in made.carry],
        [back(a).astype(first.dtype) for a in made.sums],
    )


def _plan(call: Call, direction: str, given: Given) -> GPUPlan:
    first, backward = given.streams[0], direction == "backward"
    time, rows = first.shape[:2]
    H = given.carry[0].shape[-1]
    return GPUPlan(
        name=f"recurrent_jax_{call.kernel.name}_{direction}",
        backward=backward,
        reverse=call.static.reverse != backward,
        time=time,
        blocks=-(-rows // ROWS),
        groups=_filled(H) // _units(H),
        units=_units(H),
        gates=_GATES[call.kernel.name],
        operands=_operands(call.kernel, backward),
        parts=PARTS[first.dtype.name],
    )


def _weights(plan: GPUPlan, matrix: jax.Array, H: int) -> jax.Array:
    """Return the weights, `(parts, groups, rows, columns)`.

    Forward, the columns of a group are those of its units, of all gates. Backward, they
    are those of its units, and the rows are those of all gates.
    """
    groups, units, gates = plan.groups, plan.units, plan.gates
    full = groups * units
    end = (0, full - H)
    if plan.backward:
        a = jnp.pad(matrix.reshape(gates, H, H), [(0, 0), end, end])
        a = a.reshape(gates * full, groups, units).transpose(1, 0, 2)
    else:
        a = jnp.pad(matrix.reshape(H, gates, H), [end, (0, 0), end])
        a = a.reshape(full, gates, groups, units).transpose(2, 0, 1, 3)
        a = a.reshape(groups, full, gates * units)
    return jnp.stack(in_parts(a, plan.parts))


def _units(hidden_size: int) -> int:
    """Return the units of a group. A block has registers for eight groups of few."""
    return 32 if hidden_size <= 64 else 64


def _filled(hidden_size: int) -> int:
    units = _units(hidden_size)
    return -(-hidden_size // units) * units


def _fill(a: jax.Array, H: int) -> jax.Array:
    """Return an array `(..., rows, gates * H)` with rows and units filled up by 0."""
    *lead, rows, width = a.shape
    gates, units = width // H, _filled(H)
    a = a.reshape(*lead, rows, gates, H)
    ends = [*[0] * len(lead), -rows % ROWS, 0, units - H]
    a = jnp.pad(a, [(0, end) for end in ends])
    return a.reshape(*lead, a.shape[-3], gates * units)


def _cut(a: jax.Array, rows: int, H: int) -> jax.Array:
    """Return an array that is filled up as it would be without."""
    *lead, all_rows, width = a.shape
    gates, units = width // _filled(H), _filled(H)
    a = a.reshape(*lead, all_rows, gates, units)[..., :rows, :, :H]
    return a.reshape(*lead, rows, gates * H)
