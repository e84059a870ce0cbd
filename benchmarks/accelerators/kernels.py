# SPDX-License-Identifier: Apache-2.0
"""Compile the kernels of `Fused`: `python -m benchmarks.accelerators.kernels`.

One row for each direction of each kernel: how it is cut into blocks, and the fast
memory that it was planned to need. The compiler of a TPU tells how much it gave, and
that of a GPU how many registers, and what of them is stored in memory instead. It fails
if a kernel does not compile, or needs more than was planned.
"""

import concurrent.futures
import contextlib
import dataclasses
import functools
import pathlib
import re
import sys
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec
from rich.console import Console

import recurrent_jax as rj
from benchmarks import machine, problems, program, results, timing
from benchmarks.accelerators import ptxas
from benchmarks.accelerators.devices import H100, TOPOLOGIES, devices, mesh_of
from benchmarks.tables import Table
from recurrent_jax import kernels
from recurrent_jax.kernels import _gpu, _gpu_block, _tpu

DIRECTIONS = "forward", "backward"
REFUSED = "refused"
# libtpu compiles what it cannot always describe to an older jaxlib.
UNREAD = "compiled, but this jaxlib cannot read the program"
_MIB = 2**20


@dataclasses.dataclass
class Row:
    """One direction of a kernel on one device.

    Attributes:
        device: the name of a device in `devices.py`.
        cell: a cell of `problems.CELLS`.
        dtype: of all arrays.
        H: units, and features of the input.
        T: steps.
        B: sequences.
        direction: forward, with what the gradient reads, or backward.
        rows: sequences in a block.
        steps: steps in a block.
        planned_mib: the most that either direction may need by our count.
        used_mib: what the compiler of a TPU gave the kernel.
        registers: of a thread, on a GPU.
        spilled_bytes: of the registers of a thread that are in memory instead.
        compile_s: of tracing, lowering and compiling both directions.
        error: why it failed or was refused, or empty.
    """

    device: str
    cell: str
    dtype: str
    H: int
    T: int
    B: int
    direction: str
    rows: int | None = None
    steps: int | None = None
    planned_mib: float | None = None
    used_mib: float | None = None
    registers: int | None = None
    spilled_bytes: int | None = None
    compile_s: float | None = None
    error: str = ""


# Units and sequences. The last ones do not fit in float32, or at all.
SIZES = ((256, 64), (1024, 64), (2048, 64))
ON_GPU = ((64, 32), (128, 128), (256, 128))


@dataclasses.dataclass(frozen=True)
class Config:
    """Compile the kernels for TPUs and GPUs, on a machine without them.

    Attributes:
        devices: which of v5e, v6e and h100.
        cells: which of lstm, gru, gru reset-before, elman and elman relu.
        sizes: which numbers of units.
        T: steps.
        output: folder for the results.
    """

    devices: tuple[str, ...] = ("v5e", "v6e", H100)
    cells: tuple[str, ...] = tuple(problems.CELLS)
    sizes: tuple[int, ...] = tuple(sorted({H for H, _ in (*SIZES, *ON_GPU)}))
    T: int = 1024
    output: pathlib.Path = pathlib.Path("benchmarks", "results")

    def __post_init__(self) -> None:
        known = {*TOPOLOGIES, H100, *problems.CELLS, *dict(SIZES), *dict(ON_GPU)}
        if unknown := {*self.devices, *self.cells, *self.sizes} - known:
            raise ValueError(f"no {sorted(map(str, unknown))}")


def measure(device: str, cell: str, dtype: str, H: int, T: int, B: int) -> list[Row]:
    """Return a row for each direction, with the errors of the compiler."""
    one, refused = problems.CELLS[cell](H), ""
    rows = [Row(device, cell, dtype, H, T, B, name) for name in DIRECTIONS]
    kernel, is_gpu = kernels.find(one), device == H100
    if (reason := (_gpu if is_gpu else _tpu).refuses(kernel, H, dtype)) is not None:
        refused = f"{REFUSED}: {reason}"
    elif is_gpu:
        cut = _tpu.Tiles(_gpu_block.ROWS, T, _gpu.shared(kernel, H, dtype))
    else:
        cut = _tpu.blocks(kernel, H, dtype, T, B)
    for row in rows:
        row.error = refused
        if not refused:
            row.rows, row.steps, row.planned_mib = cut.rows, cut.steps, cut.bytes / _MIB
    if refused:
        return rows
    try:
        with ptxas.listening() if is_gpu else contextlib.nullcontext({}) as told:
            seconds, compiled = timing.seconds(lambda: build(device, one, dtype, T, B))
    except Exception as error:  # whatever the compiler raises
        for row in rows:
            row.error = f"{type(error).__name__}: {error}".splitlines()[0]
        return rows
    for row in rows:
        row.compile_s = seconds
        if is_gpu:
            name = f"recurrent_jax_{kernel.name}_{row.direction}"
            row.registers, row.spilled_bytes = told[name]
            continue
        try:
            row.used_mib = used(compiled.as_text(), row.direction) / _MIB
        except jax.errors.JaxRuntimeError:
            row.error = UNREAD
            continue
        if row.used_mib > row.planned_mib:
            row.error = "it needs more memory than was planned"
    return rows


def build(
    device: str, cell: rj.Cell, dtype: str, T: int, B: int, D: int | None = None
) -> Any:
    """Return the compiled program of a gradient with skipped steps and resets.

    There are as many input features as units, unless D says another number.
    """
    everywhere = NamedSharding(mesh_of(device), PartitionSpec())
    D = D or cell.hidden_size
    params = jax.eval_shape(functools.partial(cell.init, in_features=D), _key())
    given = jax.tree.map(
        lambda a: jax.ShapeDtypeStruct(a.shape, dtype, sharding=everywhere),
        (params, jax.ShapeDtypeStruct((T, B, D), dtype)),
    )
    flag = jax.ShapeDtypeStruct((T, B), bool, sharding=everywhere)

    def loss(params: Any, xs: Any, mask: Any, resets: Any) -> Any:
        asked = {"mask": mask, "resets": resets, "method": rj.Fused()}
        return jnp.sum(jnp.square(rj.unroll(cell, params, xs, **asked)[1]))

    gradient = jax.jit(jax.grad(loss, (0, 1)), out_shardings=everywhere)
    return gradient.lower(*given, flag, flag).compile()


def used(text: str, direction: str) -> int:
    """Return the bytes of fast memory that a direction of a kernel was given."""
    (line,) = [
        line
        for line in text.splitlines()
        if 'custom_call_target="tpu_custom_call"' in line
        and re.match(rf"\s*(ROOT )?%recurrent_jax_\w+_{direction}", line)
    ]
    tail = line.partition('"used_scoped_memory_configs":[')[2].partition("]")[0]
    sizes = re.findall(r'"memory_space":"1"[^}]*"size":"(\d+)"', tail)
    return sum(map(int, sizes))


def _key() -> Any:
    return jax.eval_shape(lambda: jax.random.key(0))


def show(rows: list[Row]) -> Table:
    """Return a table with a line for each row."""
    table = Table()
    names = "", "H, B", "direction", "rows, steps", "planned", "used"
    for name in (*names, "registers", "spilled", "error"):
        table.add_column(name)
    for row in rows:
        memory = row.planned_mib, row.used_mib
        sizes = ["" if n is None else f"{n:.2f}" for n in memory]
        told = row.registers, row.spilled_bytes
        sizes += ["" if n is None else f"{n:.0f}" for n in told]
        table.add_row(
            f"{row.device} {row.cell} {row.dtype}",
            f"{row.H}, {row.B}",
            row.direction,
            f"{row.rows}, {row.steps}",
            *sizes,
            row.error,
        )
    return table


def markdown(rows: list[dict], cells: Any, sizes: Any) -> list[str]:
    """Return the lines of a table with one line for each cell, dtype and size."""
    names = list(dict.fromkeys(row["device"] for row in rows))
    used = [f"{name} {direction}" for name in names for direction in DIRECTIONS]
    head = ["cell", "dtype", "H", "B", "block", "planned", *used]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    kinds: dict[tuple, list[dict]] = {}
    for row in rows:
        if row["cell"] in cells and row["H"] in sizes:
            key = *(row[name] for name in ("cell", "dtype")), int(row["H"])
            kinds.setdefault(key, []).append(row)
    for (cell, dtype, H), each in kinds.items():
        one = each[0]
        values = [cell, dtype, H, int(one["B"])]
        if one["rows"]:
            values += [f"{one['rows']:.0f} x {one['steps']:.0f}"]
            memory = [one["planned_mib"], *(row["used_mib"] for row in each)]
            values += ["?" if mib is None else f"{mib:.1f}" for mib in memory]
        else:
            values += [REFUSED, *[""] * (1 + len(used))]
        lines.append(f"| {' | '.join(map(str, values))} |")
    return lines


def work(config: Config, screen: Console, about: dict[str, Any]) -> int:
    """Compile, print and save; return the exit status."""
    for device in config.devices:
        devices(device)
    every = [
        (device, cell, dtype, H, B)
        for device in config.devices
        for cell in config.cells
        for H, B in (ON_GPU if device == H100 else SIZES)
        for dtype in _tpu.DTYPES
        if H in config.sizes
    ]
    rows: list[Row] = []
    with concurrent.futures.ThreadPoolExecutor(machine.threads()) as pool:
        started = [
            pool.submit(measure, device, cell, dtype, H, config.T, B)
            for device, cell, dtype, H, B in every
        ]
        for number, one in enumerate(started, 1):
            rows += one.result()
            screen.print(f"{number}/{len(started)} {rows[-1].cell}", style="dim")
    screen.print(show(rows))
    saved = [dataclasses.asdict(row) for row in rows]
    results.save(config.output, "kernels", about, saved)
    fine = "", REFUSED, UNREAD
    failed = [row for row in rows if row.error.partition(":")[0] not in fine]
    screen.print(f"{len(rows)} rows, {len(failed)} failed")
    return 1 if failed else 0


def main(args: list[str] | None = None) -> int:
    """Run with these flags; return the exit status."""
    return program.main("benchmarks.accelerators.kernels", Config, work, args)


if __name__ == "__main__":
    sys.exit(main())
