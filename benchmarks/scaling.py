# SPDX-License-Identifier: Apache-2.0
"""Estimate how data-parallel training scales: `python -m benchmarks.scaling --help`.

The training step of `examples/text.py` is compiled for a mesh of as many devices, on a
CPU that acts as all of them. Its operations, its memory and what it exchanges are read
from the compiled program. Published rates of chips turn them into times. No training is
run.
"""

import dataclasses
import functools
import math
import pathlib
import sys
from typing import Any, NamedTuple
from unittest import mock

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh
from rich.console import Console

from benchmarks import program, results
from benchmarks.accelerators import hlo
from benchmarks.tables import Table
from recurrent_jax import training

sys.path.append(str(pathlib.Path(__file__).parents[1] / "examples"))
import several  # noqa: E402
import text  # noqa: E402

CHIPS = (8, 16, 32, 64, 128, 256)
ALPHABET = 100  # characters that the model knows
MICRO = 1e-6


class Link(NamedTuple):
    """How the devices of one level are connected."""

    rate: float  # bytes per second that a device sends, over all of its links
    hop: float  # seconds until the first byte arrives


class Chip(NamedTuple):
    """Published figures of a chip; docs/more-than-one-machine.md has the sources."""

    flops: float  # per second, of products in bfloat16
    memory: float  # bytes per second
    near: Link  # within a slice of a pod, or within a machine
    machine: int | None = None  # devices of a machine, if machines have other links
    far: Link | None = None  # between machines


DEVICES = {
    "v5e": Chip(197e12, 819e9, Link(200e9, MICRO)),
    "v6e": Chip(918e12, 1638e9, Link(400e9, MICRO)),
    "H100": Chip(989e12, 3350e9, Link(450e9, MICRO), 8, Link(50e9, 5 * MICRO)),
}


@dataclasses.dataclass(frozen=True)
class Model:
    """A model of `examples/text.py`, and the part of the batch that a chip gets."""

    cell: str
    layers: int
    hidden_size: int
    streams: int  # of each chip
    length: int

    @property
    def name(self) -> str:
        """The network in words."""
        return f"{self.layers} x {self.cell.upper()} of {self.hidden_size}"

    def config(self, chips: int) -> text.Config:
        """Return the flags of the example."""
        return text.Config(
            cell=self.cell,  # type: ignore[arg-type]
            layers=self.layers,
            hidden_size=self.hidden_size,
            streams=self.streams * chips,
            length=self.length,
        )


MODELS = (Model("gru", 1, 384, 32, 64), Model("lstm", 2, 1024, 64, 256))


class Compiled(NamedTuple):
    """What one device does in one step, as the compiler says."""

    flops: int  # of all products
    bytes: int  # arguments and results once, temporaries twice
    exchanged: int  # bytes of all-reduce
    exchanges: int  # how many there are
    default_exchanges: int  # how many with the default blocks of time


def compiled(model: Model, chips: int) -> Compiled:
    """Return the counts of a training step on a mesh of so many devices.

    Raises:
        ValueError: if there are not so many devices, or if the program exchanges in
            another way than by all-reduce.
    """
    if len(jax.devices()) < chips:
        raise ValueError(f"there are {len(jax.devices())} devices, for {chips} chips")
    config, devices = model.config(chips), Mesh(jax.devices()[:chips], ("data",))
    optimizer = training.adamw(optax.constant_schedule(1e-3), weight_decay=0.3, skip=3)
    begin = functools.partial(text.start, config, ALPHABET, optimizer)
    shapes = jax.eval_shape(begin)
    places = text.shardings(shapes, devices)
    state = jax.tree.map(
        lambda a, sharding: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=sharding),
        shapes.state,
        places.state,
    )
    codes = jax.ShapeDtypeStruct(
        (config.length + 1, config.streams), jnp.int32, sharding=several.cut(devices, 1)
    )

    def build() -> Any:
        run: Any = text.make_steps(config, optimizer, places)
        return run.lower(state, codes, 1).compile()

    found = build()
    counts, memory = hlo.count(found.as_text()), found.memory_analysis()
    with mock.patch.object(several, "one_exchange", lambda steps: None):
        default = hlo.count(build().as_text()).collectives.total()
    if others := set(counts.collectives) - {"all-reduce"}:
        raise ValueError(f"{model.name} on {chips} devices has {others}")
    once = memory.argument_size_in_bytes + memory.output_size_in_bytes
    return Compiled(
        counts.flops,
        once + 2 * memory.temp_size_in_bytes,
        counts.bytes["all-reduce"],
        counts.collectives["all-reduce"],
        default,
    )


def step_seconds(chip: Chip, found: Compiled) -> float:
    """Return the least time of a step without its exchanges."""
    return max(found.flops / chip.flops, found.bytes / chip.memory)


def exchange_seconds(chip: Chip, found: Compiled, chips: int) -> float:
    """Return the time of all all-reduces of a step, if nothing else goes on then.

    A ring of n sends 2 (n - 1) / n of the bytes from each device, in 2 (n - 1) hops. A
    slice is a rectangle, with rings along both sides. Machines do the first half within
    themselves, exchange their shares over a tree, and do the second half.
    """
    size = found.exchanged
    if chip.far is None or chip.machine is None:
        sides = rectangle(chips)
        # Only a whole pod has the links that close the rings.
        rate = chip.near.rate if chips == max(CHIPS) else chip.near.rate / 2
        send = 2 * (chips - 1) / chips * size / rate
        hops = found.exchanges * 2 * sum(side - 1 for side in sides) * chip.near.hop
        return send + hops
    near, machines = min(chips, chip.machine), math.ceil(chips / chip.machine)
    send = 2 * (near - 1) / near * size / chip.near.rate
    send += 2 * (machines - 1) / machines * size / near / chip.far.rate
    hops = 2 * (near - 1) * chip.near.hop + 2 * math.log2(machines) * chip.far.hop
    return send + found.exchanges * hops


def rectangle(chips: int) -> tuple[int, int]:
    """Return the sides of a slice: equal, or one twice the other."""
    short = 2 ** (int(math.log2(chips)) // 2)
    return short, chips // short


def estimate(model: Model, chips: int, name: str, found: Compiled) -> dict[str, Any]:
    """Return a row: what was compiled, the times, and what follows from them."""
    chip = DEVICES[name]
    step, exchange = step_seconds(chip, found), exchange_seconds(chip, found, chips)
    characters = model.streams * model.length * chips
    return {
        "model": model.name,
        "device": name,
        "chips": chips,
        "streams": model.streams * chips,
        "length": model.length,
        **found._asdict(),
        "step_us": step / MICRO,
        "exchange_us": exchange / MICRO,
        "efficiency": step / (step + exchange),
        "characters_per_s": characters / (step + exchange),
    }


@dataclasses.dataclass(frozen=True)
class Config:
    """Estimate data-parallel training of examples/text.py on many chips.

    Attributes:
        chips: numbers of chips.
        devices: which of v5e, v6e and H100.
        output: folder for the results.
    """

    chips: tuple[int, ...] = CHIPS
    devices: tuple[str, ...] = tuple(DEVICES)
    output: pathlib.Path = pathlib.Path("benchmarks", "results")

    def __post_init__(self) -> None:
        if odd := [n for n in self.chips if n not in CHIPS]:
            raise ValueError(f"no {odd} chips; there are {list(CHIPS)}")
        if unknown := [name for name in self.devices if name not in DEVICES]:
            raise ValueError(f"no {unknown}; there are {list(DEVICES)}")


def table(rows: list[dict[str, Any]]) -> list[list[str]]:
    """Return the lines of the table on the page: the efficiency on each device."""
    devices = results.unique(rows, "device")
    lines = [["model", "chips", "streams", *devices]]
    for model in results.unique(rows, "model"):
        for chips in results.unique(rows, "chips"):
            here = [r for r in rows if (r["model"], r["chips"]) == (model, chips)]
            shares = [f"{row['efficiency']:.0%}" for row in here]
            streams = f"{int(here[0]['streams']):,}"
            lines.append([model, str(int(chips)), streams, *shares])
    return lines


def work(config: Config, screen: Console, about: dict[str, Any]) -> int:
    """Compile, estimate, print and save."""
    rows = []
    for model in MODELS:
        for chips in config.chips:
            found = compiled(model, chips)
            screen.print(f"{model.name}, {chips} devices: {found}", style="dim")
            rows += [estimate(model, chips, name, found) for name in config.devices]
    shown = Table(title="least efficiency, without overlap", title_justify="left")
    head, *lines = table(rows)
    for name in head:
        shown.add_column(name, justify="right")
    for line in lines:
        shown.add_row(*line)
    screen.print(shown)
    results.save(config.output, "scaling", about, rows)
    return 0


def main(args: list[str] | None = None) -> int:
    """Run with these flags; return the exit status."""
    jax.config.update("jax_num_cpu_devices", max(CHIPS))
    return program.main("benchmarks.scaling", Config, work, args)


if __name__ == "__main__":
    sys.exit(main())
