# SPDX-License-Identifier: Apache-2.0
"""One program compiled for one device, what is read from it, and what it may not do."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec

from benchmarks import timing
from benchmarks.accelerators import hlo
from benchmarks.accelerators.devices import mesh_of
from benchmarks.accelerators.programs import FORWARD, Subject, function

GROWTH = 4  # the longer sequence over the shorter one
# A TPU keeps temporaries of up to 128 MiB in fast memory, which its compiler does not
# report. So a program of four times the steps may report this much more than four
# times the temporaries.
UNREPORTED = 128 * 2**20


@dataclasses.dataclass
class Row:
    """One program on one device.

    Attributes:
        device: the name of a device in `devices.py`.
        row: the row of tests/cases.py, a cell with its size, or a module of Flax.
        way: the strategy, and the method if it is not `Sequential`.
        direction: forward, or with the gradients of parameters and inputs.
        T: steps.
        B: sequences.
        input_mib: of the input.
        compile_s: of tracing, lowering and compiling.
        temporary_mib: temporary memory of the device.
        longer_mib: the same for four times the steps, if that was compiled.
        flops: operations of all products; see `hlo.Counts` for when they are exact.
        formula: `2 T B (D + H) G H` operations forward and three times that with
            gradients, for the cells that it holds for.
        launches_per_step: fusions, products, copies and other kernels, over T.
        collectives: exchanges between devices.
        error: why it failed, or empty.
    """

    device: str
    row: str
    way: str
    direction: str
    T: int
    B: int
    input_mib: float = 0.0
    compile_s: float = 0.0
    temporary_mib: float | None = None
    longer_mib: float | None = None
    flops: int | None = None
    formula: int | None = None
    launches_per_step: float | None = None
    collectives: int | None = None
    error: str = ""


def measure(one: Subject, row: Row, growth: bool) -> Row:
    """Fill a row, and its error if the program fails or does what it may not do."""
    try:
        inputs = jax.tree.leaves(one.inputs(row.T, row.B))
        row.input_mib = sum(a.size * a.dtype.itemsize for a in inputs) / 2**20
        row.compile_s, program = timing.seconds(lambda: build(one, row, row.T))
        row.temporary_mib = _temporaries(program) / 2**20
        counts = hlo.count(program.as_text())
        row.flops, row.launches_per_step = counts.flops, counts.launches / row.T
        row.collectives = counts.collectives.total()
        if one.flops is not None:
            row.formula = one.flops(row.T, row.B, row.direction)
        if growth:
            longer = build(one, row, GROWTH * row.T)
            row.longer_mib = _temporaries(longer) / 2**20
        row.error = wrong(row)
    except Exception as error:  # whatever the compiler raises
        row.error = f"{type(error).__name__}: {error}".splitlines()[0]
    return row


def build(one: Subject, row: Row, time: int) -> Any:
    """Return the compiled program for a number of steps."""
    everywhere = NamedSharding(mesh_of(row.device), PartitionSpec())
    lengths = jax.ShapeDtypeStruct((row.B,), jnp.int32)
    given = jax.tree.map(
        lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=everywhere),
        (one.params, one.inputs(time, row.B), lengths),
    )
    run = function(one, row.way, row.direction)
    return jax.jit(run, out_shardings=everywhere).lower(*given).compile()


def wrong(row: Row) -> str:
    """Return what a program does that it may not do, or an empty text.

    Temporaries of a gradient grow at most as fast as T. Those of the forward pass of
    `Deferred` grow by no more than the input does: a TPU multiplies in bfloat16, and
    its compiler converts the whole input before the loop. On one device there are no
    collectives.
    """
    if row.collectives:
        return f"{row.collectives} collectives on one device"
    if row.longer_mib is None or row.temporary_mib is None:
        return ""
    unreported = UNREPORTED / 2**20
    if row.direction == FORWARD and row.way == "Deferred":
        most = row.temporary_mib + row.input_mib * GROWTH + unreported / 2
    else:
        most = 1.1 * GROWTH * (row.temporary_mib + unreported)
    if row.longer_mib > most:
        return (
            f"temporaries grow from {row.temporary_mib:.0f} to {row.longer_mib:.0f} "
            f"MiB as T = {row.T} grows {GROWTH} times; at most {most:.0f} are allowed"
        )
    return ""


def _temporaries(program: Any) -> int:
    return int(program.memory_analysis().temp_size_in_bytes)
