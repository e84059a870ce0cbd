# SPDX-License-Identifier: Apache-2.0
"""Exchanges between devices of a mesh: `python -m benchmarks.sharding --help`.

The gradient of a loss is compiled for eight devices of a host, or for chips that need
not be there. The exchanges of the compiled program are counted, for T and for 2 T
steps. What is exchanged at each step grows with T, and what is exchanged once a
sequence does not.
"""

import dataclasses
import os
import pathlib
import sys
from collections.abc import Callable
from typing import Any

DEVICES = "--xla_force_host_platform_device_count=8"
if "jax" not in sys.modules:  # read when the first array is made
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {DEVICES}"

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
from jax.sharding import AxisType, NamedSharding, PartitionSpec  # noqa: E402
from rich.console import Console  # noqa: E402

import recurrent_jax as rj  # noqa: E402
from benchmarks import program, results  # noqa: E402
from benchmarks.accelerators import devices, hlo  # noqa: E402

LINEAR: dict[str, Callable[[int], rj.Cell]] = {
    "LRU": rj.LRU,
    "GatedDeltaNet": rj.GatedDeltaNet,
}
CELLS = {"LSTM": rj.LSTM, "GRU": rj.GRU} | LINEAR
# What is stored in parts, and the method for it.
WHOLE = "sequences over data"  # and parameters whole
WAYS = {
    WHOLE: rj.Sharded(batch="data"),
    "parameters over data": rj.Sharded(batch="data"),
    "units over model": rj.Sharded(units="model"),
    "both": rj.Sharded(units="model", batch="data"),
    "steps over model": rj.Sharded(time="model"),  # of linear cells
}
MODEL = 4  # devices that share the units
D = 16


@dataclasses.dataclass(frozen=True)
class Config:
    """Count the exchanges of a gradient on a mesh of n x 4 devices.

    The steps of linear cells are shared out, and the units of others.

    Attributes:
        device: `host`, for eight devices of this one, a TPU such as `v5e-64`, or
            `h100-8`.
        cells: which cells.
        ways: what is stored in parts.
        hidden: units.
        time: steps; the count is made for twice as many, too.
        output: folder for results.
    """

    device: str = "host"
    cells: tuple[str, ...] = tuple(CELLS)
    ways: tuple[str, ...] = tuple(WAYS)
    hidden: int = 32
    time: int = 8
    output: pathlib.Path = pathlib.Path("benchmarks", "results")

    def __post_init__(self) -> None:
        if self.time < 1 or self.time % MODEL or self.hidden < 1:
            raise ValueError(f"time must be a multiple of {MODEL}, and hidden positive")
        for given, known in ((self.cells, CELLS), (self.ways, WAYS)):
            if unknown := set(given) - set(known):
                raise ValueError(f"no {sorted(unknown)}; there are {list(known)}")


def mesh_of(device: str) -> jax.sharding.Mesh:
    """Return a mesh of all devices, four of which share the units."""
    found = jax.devices() if device == "host" else devices.devices(device)
    if device == "host" and len(found) != 8:
        raise ValueError(f"needs XLA_FLAGS={DEVICES}, for there are no eight devices")
    axes = (AxisType.Auto,) * 2
    grid = np.array(found).reshape(-1, MODEL)
    return jax.sharding.Mesh(grid, ("data", "model"), axis_types=axes)


def choices(way: str) -> dict[str, dict[str, Any]]:
    """Return the options of `unroll` that are compared, by the name of a method."""
    chosen = {"Sharded": {"method": WAYS[way]}}
    if way != WHOLE:
        return {"default": {}, **chosen}
    ways = rj.Deferred(block=4), rj.Autodiff()
    return {f"{one!r}": {"backward": one} for one in ways} | chosen


def measure(
    mesh: Any, config: Config, name: str, way: str, label: str
) -> dict[str, Any]:
    """Return the row of a cell that is stored in some way, and run as `label` says."""
    cell, time = CELLS[name](config.hidden), config.time
    row: dict[str, Any] = {"devices": mesh.size, "cell": name, "stored": way}
    row["method"] = label
    for steps in (time, 2 * time):
        counted = exchanges(mesh, cell, way, label, steps)
        for kind in hlo.COLLECTIVES:
            row[f"{kind}, T = {steps}"] = counted.collectives[kind]
            row[f"bytes of {kind}, T = {steps}"] = counted.bytes[kind]
    return row


def exchanges(mesh: Any, cell: Any, way: str, label: str, time: int) -> Any:
    """Return what is counted in the compiled program of one gradient."""
    params = jax.eval_shape(lambda: cell.init(jax.random.key(0), D))
    method, options = WAYS[way], choices(way)[label]
    places = method.shardings(mesh, params)
    if way == WHOLE:
        places = jax.tree.map(lambda _: NamedSharding(mesh, PartitionSpec()), params)
    over = NamedSharding(mesh, PartitionSpec(method.time, method.batch))

    def loss(params: Any, xs: jax.Array) -> jax.Array:
        return jnp.sum(jnp.sin(rj.unroll(cell, params, xs, **options)[1]))

    xs = jax.ShapeDtypeStruct((time, 2 * mesh.shape["data"], D), jnp.float32)
    given = jax.tree.map(
        lambda a, place: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=place),
        (params, xs),
        (places, over),
    )
    with jax.set_mesh(mesh):
        gradient = jax.jit(jax.grad(loss), out_shardings=places)
        text = gradient.lower(*given).compile().as_text()
    return hlo.count(text)


def markdown(rows: list[dict[str, Any]]) -> list[str]:
    """Return the table of a page."""
    times = dict.fromkeys(key.split(", ")[1] for key in rows[0] if ", " in key)
    heads = ["devices", "cell", "stored in parts", "method", *times]
    lines = [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
    for row in rows:
        count = f"{row['devices']:g}"
        cells = [count, f"`{row['cell']}`", row["stored"], row["method"]]
        for time in times:
            counts = ((kind, row[f"{kind}, {time}"]) for kind in hlo.COLLECTIVES)
            cells.append(
                ", ".join(f"{n:g} {kind}" for kind, n in counts if n) or "none"
            )
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def per_step(row: dict[str, Any]) -> dict[str, float]:
    """Return how often each kind of exchange is executed at each further step."""
    times = sorted({int(key.split(" = ")[1]) for key in row if " = " in key})
    one, two = times
    grown = {
        kind: (row[f"{kind}, T = {two}"] - row[f"{kind}, T = {one}"]) / (two - one)
        for kind in hlo.COLLECTIVES
    }
    return {kind: often for kind, often in grown.items() if often}


def work(config: Config, screen: Console, about: dict[str, Any]) -> int:
    """Count, print and save; return the exit status."""
    mesh = mesh_of(config.device)
    rows = [
        measure(mesh, config, name, way, label)
        for name in config.cells
        for way in config.ways
        if (name in LINEAR) == (WAYS[way].time is not None)
        for label in choices(way)
    ]
    screen.print("\n".join(markdown(rows)), markup=False)
    name = "sharding" if config.device == "host" else f"sharding-{config.device}"
    results.save(config.output, name, about, rows)
    screen.print(f"results are in {config.output}")
    return 0


def main(args: list[str] | None = None) -> int:
    """Run with these flags; return the exit status."""
    return program.main("benchmarks.sharding", Config, work, args)


if __name__ == "__main__":
    sys.exit(main())
