# SPDX-License-Identifier: Apache-2.0
"""Compile for devices that are not there: `python -m benchmarks.accelerators --help`.

It fails if a program does not compile, if its temporaries grow faster with T than
`compiled.wrong` says, or if it communicates without need.
"""

import concurrent.futures
import dataclasses
import pathlib
import sys
from typing import Any

from rich.console import Console

from benchmarks import machine, program, results
from benchmarks.accelerators.compiled import Row, measure
from benchmarks.accelerators.devices import DEVICES, H100, devices
from benchmarks.accelerators.programs import (
    DEFAULT,
    FLAX,
    ROWS,
    SIZE,
    SIZED,
    subject,
    ways,
)
from benchmarks.problems import BOTH, FORWARD
from benchmarks.tables import Table

# What is compiled each time: a cell of each kind. The others take many minutes.
KINDS = (
    *SIZED,
    *FLAX,
    "layer_norm_lstm",
    "conv_lstm",
    "structured_orthogonal",
    "lru",
    "mamba2",
    "gated_delta_net",
    "mlstm",
)
ON_GPU = (f"lstm({SIZE})", "conv_lstm", "lru", "gated_delta_net")
EVERY_WAY = (f"lstm({SIZE})", "lru")


@dataclasses.dataclass(frozen=True)
class Config:
    """Compile programs of recurrent_jax for TPUs and GPUs, on a machine without them.

    Attributes:
        devices: which of v5e, v6e and h100.
        rows: rows of tests/cases.py, and others; by default, one of each kind.
        everything: compile each row in each way, forward and with gradients. Without
            it, most rows are compiled in one way.
        output: folder for the results.
    """

    devices: tuple[str, ...] = ("v5e", "v6e", H100)
    rows: tuple[str, ...] = ()
    everything: bool = False
    output: pathlib.Path = pathlib.Path("benchmarks", "results")

    def __post_init__(self) -> None:
        if unknown := [*set(self.devices) - set(DEVICES), *set(self.rows) - set(ROWS)]:
            raise ValueError(f"no {unknown}; there are {[*DEVICES, *ROWS]}")


def chosen(config: Config) -> list[tuple[Row, bool]]:
    """Return what to compile, and whether for a longer sequence too."""
    found = []
    for device in config.devices:
        for row in config.rows or (ROWS if config.everything else KINDS):
            if device == H100:
                whole, there = False, config.everything or row in ON_GPU
            else:
                whole = device == "v5e" and (config.everything or row in EVERY_WAY)
                there = device == "v5e" or config.everything or row in SIZED
            for way in ways(row) if whole else [DEFAULT] if there else []:
                for direction in (FORWARD, BOTH) if whole else (BOTH,):
                    T, B = (2048, 64) if row in SIZED else (1024, 16)
                    grows = whole and (config.everything or row in SIZED)
                    found.append((Row(device, row, way, direction, T, B), grows))
    return found


def run(config: Config, screen: Console) -> list[Row]:
    """Compile all programs, as many at a time as there are cores."""
    for device in config.devices:
        devices(device)
    with concurrent.futures.ThreadPoolExecutor(machine.threads()) as pool:
        started = [
            pool.submit(measure, subject(row.row), row, growth)
            for row, growth in chosen(config)
        ]
        done = concurrent.futures.as_completed(started)
        for number, one in enumerate(done, 1):
            row = one.result()
            where = f"{row.device} {row.row}, {row.way}, {row.direction}"
            screen.print(f"{number}/{len(started)} {where}", style="dim", markup=False)
        return [one.result() for one in started]


def show(rows: list[dict]) -> Table:
    """Return a table with a line for each program."""
    names = ("", "way", "direction", "MiB", "at 4 T", "flops", "launches", "compile s")
    table = Table()
    for name in names:
        table.add_column(name)
    for row in rows:
        numbers = (
            row["temporary_mib"],
            row["longer_mib"],
            row["flops"] / row["formula"] if row["formula"] else None,
            row["launches_per_step"],
            row["compile_s"],
        )
        texts = ["" if n is None else f"{n:.2f}" for n in numbers]
        where = f"{row['device']} {row['row']}"
        table.add_row(where, row["way"], row["direction"], *texts)
    return table


def work(config: Config, screen: Console, about: dict[str, Any]) -> int:
    """Compile, print and save; return the exit status."""
    rows = [dataclasses.asdict(row) for row in run(config, screen)]
    screen.print(show(rows))
    results.save(config.output, "accelerators", about, rows)
    failed = [row for row in rows if row["error"]]
    for row in failed:
        where = " ".join(row[k] for k in ("device", "row", "way", "direction"))
        screen.print(f"{where}: {row['error']}", markup=False)
    screen.print(f"{len(rows)} programs, {len(failed)} failed")
    return 1 if failed else 0


def main(args: list[str] | None = None) -> int:
    """Run with these flags; return the exit status."""
    return program.main("benchmarks.accelerators", Config, work, args)


if __name__ == "__main__":
    sys.exit(main())
