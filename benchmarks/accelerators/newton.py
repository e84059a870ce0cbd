# SPDX-License-Identifier: Apache-2.0
"""Newton on a TPU, estimated: `python -m benchmarks.accelerators.newton`.

The compiler of each device compiles the loop and Newton; no device is needed. How often
a program launches something, and the bytes of its temporary arrays, are read from it.
The number of iterations is counted on a CPU. The time of a launch is an assumption.
"""

import dataclasses
import pathlib
import sys
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec
from rich.console import Console

import recurrent_jax as rj
from benchmarks import newton, program, results
from benchmarks.accelerators import hlo
from benchmarks.accelerators.devices import mesh_of
from benchmarks.tables import Table

# Seconds of a launch inside a program, which are assumed, and bytes per second of the
# memory, which are published; docs/newton.md says so.
DEVICES = {"v5e": (1e-6, 819e9), "v6e": (1e-6, 1638e9)}


@dataclasses.dataclass(frozen=True)
class Config:
    """Estimate on which device, and from how many steps, Newton's method pays.

    Attributes:
        devices: of "v5e" and "v6e". A program for a GPU does not say how often the loop
            over iterations runs.
        hidden: units of a cell.
        times: the numbers of steps.
        output: folder for results.
    """

    devices: tuple[str, ...] = ("v5e",)
    hidden: int = 16
    times: tuple[int, ...] = (128, 1024, 8192, 65_536)
    output: pathlib.Path = pathlib.Path("benchmarks", "results")

    def __post_init__(self) -> None:
        if min(self.hidden, *self.times) < 1:
            raise ValueError("all numbers must be at least 1")
        if unknown := set(self.devices) - set(DEVICES):
            raise ValueError(f"no device {sorted(unknown)}; there are {list(DEVICES)}")


@dataclasses.dataclass
class Row:
    """One cell on one device: what both methods launch, and what that may take."""

    device: str
    cell: str
    T: int
    iterations: int
    loop_launches: int
    newton_launches: int
    newton_mib: float  # temporary arrays
    loop_ms: float  # estimated
    newton_ms: float  # estimated


def compiled(device: str, cell: rj.Cell, method: Any, time: int) -> Any:
    """Return the program of the forward pass of one sequence."""
    everywhere = NamedSharding(mesh_of(device), PartitionSpec())

    def arrays() -> Any:
        return cell.init(jax.random.key(0), newton.D), jnp.zeros((time, newton.D))

    given = jax.tree.map(
        lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=everywhere),
        jax.eval_shape(arrays),
    )

    def run(params: Any, xs: jax.Array) -> jax.Array:
        return rj.unroll(cell, params, xs, method=method)[1]

    return jax.jit(run, out_shardings=everywhere).lower(*given).compile()


def estimate(device: str, name: str, cell: rj.Cell, time: int) -> Row:
    """Return the row of a cell: launches, and the longer of their time and of bytes."""
    keys = jax.random.split(jax.random.key(0), 2)
    params = cell.init(keys[0], newton.D, jnp.float32)
    xs = jax.random.normal(keys[1], (time, newton.D))
    steps = newton.count("time", name, cell, params, xs).iterations
    loop = compiled(device, cell, rj.Sequential(), time)
    # Without the loop that it falls back to.
    method = rj.Newton(max_iterations=steps, otherwise="nan")
    whole = compiled(device, cell, method, time)
    launch, rate = DEVICES[device]
    one, other = (hlo.count(p.as_text()).launches for p in (loop, whole))
    size = whole.memory_analysis().temp_size_in_bytes
    # Each iteration writes the temporary arrays and reads them.
    seconds = max(launch * other, 2 * size * steps / rate)
    return Row(
        device,
        name,
        time,
        steps,
        one,
        other,
        size / 2**20,
        1e3 * launch * one,
        1e3 * seconds,
    )


def lines(rows: list[dict]) -> list[str]:
    """Return the lines of the table on the page: the loop's time over Newton's."""
    times = sorted({int(row["T"]) for row in rows})
    head = ["device", "cell", *(f"T = {T:,}" for T in times)]
    texts = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for device in results.unique(rows, "device"):
        mine = [row for row in rows if row["device"] == device]
        for cell in results.unique(mine, "cell"):
            found = {int(r["T"]): r for r in mine if r["cell"] == cell}
            ratios = [
                float(found[T]["loop_ms"]) / float(found[T]["newton_ms"]) for T in times
            ]
            told = " | ".join(f"{float(f'{ratio:.2g}'):g}" for ratio in ratios)
            texts.append(f"| {device} | `{cell}` | {told} |")
    return texts


def work(config: Config, screen: Console, about: dict[str, Any]) -> int:
    """Compile, print and save; return the exit status."""
    rows: list[dict] = []
    table = Table(title="Newton against the loop, estimated", highlight=False)
    for field in dataclasses.fields(Row):
        table.add_column(field.name, justify="right")
    for device in config.devices:
        for name, make in newton.AGAINST_TIME.items():
            for time in config.times:
                row = estimate(device, name, make(config.hidden), time)
                rows.append(dataclasses.asdict(row))
                table.add_row(
                    *(
                        f"{v:.4g}" if isinstance(v, float) else str(v)
                        for v in rows[-1].values()
                    )
                )
                screen.print(f"{device}, {name}, T = {time:,} done", style="dim")
    screen.print(table)
    results.save(config.output, "newton-devices", about, rows)
    screen.print("\n".join(lines(rows)))
    return 0


def main(args: list[str] | None = None) -> int:
    """Run with these flags; return the exit status."""
    return program.main("benchmarks.accelerators.newton", Config, work, args)


if __name__ == "__main__":
    sys.exit(main())
