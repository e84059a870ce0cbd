# SPDX-License-Identifier: Apache-2.0
"""Kernels beside other work: `python -m benchmarks.busy --help`.

Some processes keep cores busy. Beside them, `rj.Fused()` and `rj.Sequential()` run in
turn. The threads of a kernel wait for one another, so this is where a kernel could be
slower than a loop. A number is the mean time of a loop over that of a kernel.
"""

import contextlib
import dataclasses
import os
import pathlib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
from rich.console import Console

import recurrent_jax as rj
from benchmarks import program, results
from benchmarks.problems import BOTH, CELLS, FORWARD, Shape
from benchmarks.timing import seconds

SHAPES = "100,32,64,64", "1000,1,64,128", "200,8,64,256", "200,1,64,512", "20,64,32,128"
WAYS = {"loop": rj.Sequential(), "kernel": rj.Fused()}


@dataclasses.dataclass(frozen=True)
class Config:
    """Time kernels and loops while other processes use the cores.

    Attributes:
        cells: which cells.
        shapes: T,B,D,H.
        busy: how many processes run beside. None: none, half of the cores, all.
        seconds: how long each pair takes turns.
        output: folder for results.
    """

    cells: tuple[str, ...] = ("lstm",)
    shapes: tuple[str, ...] = SHAPES
    busy: tuple[int, ...] | None = None
    seconds: float = 3.0
    output: pathlib.Path = pathlib.Path("benchmarks", "results")

    def __post_init__(self) -> None:
        if unknown := set(self.cells) - set(CELLS):
            raise ValueError(f"no {sorted(unknown)}; there are {list(CELLS)}")
        for shape in self.shapes:
            Shape.parse(shape)
        if min(self.beside) < 0 or not self.seconds > 0:
            raise ValueError("busy must not be negative, and seconds must be positive")

    @property
    def beside(self) -> tuple[int, ...]:
        """How many processes run beside, one number for each column."""
        cores = os.cpu_count() or 1
        return self.busy or tuple(sorted({0, cores // 2, cores}))


@contextlib.contextmanager
def busy(count: int) -> Iterator[None]:
    """Keep some cores busy."""
    command = [sys.executable, "-S", "-c", "while True: pass"]
    processes = [subprocess.Popen(command) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def calls(name: str, shape: Shape, direction: str) -> dict[str, Callable[[], Any]]:
    """Return a call for each way, compiled."""
    cell = CELLS[name](shape.H)
    params = cell.init(jax.random.key(0), shape.D)
    xs = jax.random.normal(jax.random.key(1), (shape.T, shape.B, shape.D))

    def call(method: rj.methods.Method) -> Callable[[], Any]:
        def run(params: Any, xs: jax.Array) -> jax.Array:
            return jnp.sum(rj.unroll(cell, params, xs, method=method)[1] ** 2)

        if direction == BOTH:
            run = jax.value_and_grad(run, argnums=(0, 1))
        compiled = jax.jit(run)
        jax.block_until_ready(compiled(params, xs))
        return lambda: jax.block_until_ready(compiled(params, xs))

    return {way: call(method) for way, method in WAYS.items()}


def mean_times(calls: dict[str, Callable[[], Any]], limit: float) -> dict[str, float]:
    """Return the mean seconds of each call. They take turns of five."""
    total, count = dict.fromkeys(calls, 0.0), 0
    end = time.monotonic() + limit
    while time.monotonic() < end or count < 20:
        count += 5
        for way, call in calls.items():
            total[way] += sum(seconds(call)[0] for _ in range(5))
    return {way: sum_ / count for way, sum_ in total.items()}


def measure(config: Config, name: str, shape: Shape) -> list[dict[str, Any]]:
    """Return the rows of a cell and a shape."""
    rows = []
    for direction in (FORWARD, BOTH):
        ways = calls(name, shape, direction)
        row: dict[str, Any] = {
            "cell": name,
            "shape": str(shape),
            "direction": direction,
        }
        for count in config.beside:
            with busy(count):
                times = mean_times(ways, config.seconds)
            row[f"beside_{count}"] = times["loop"] / times["kernel"]
        rows.append(row)
    return rows


def markdown(rows: list[dict[str, Any]]) -> list[str]:
    """Return the table of a page."""
    counts = [key.removeprefix("beside_") for key in rows[0] if key[:7] == "beside_"]
    lines = [
        f"| cell | T, B, D, H | | {' | '.join(f'{n} beside' for n in counts)} |",
        "|" + "---|" * (3 + len(counts)),
    ]
    for row in rows:
        shape = row["shape"].replace(",", ", ")
        ratios = " | ".join(f"{row[f'beside_{n}']:.2f}" for n in counts)
        lines.append(f"| {row['cell']} | {shape} | {row['direction']} | {ratios} |")
    return lines


def work(config: Config, screen: Console, about: dict[str, Any]) -> int:
    """Measure, print and save; return the exit status."""
    rows = []
    for name in config.cells:
        for shape in config.shapes:
            rows += measure(config, name, Shape.parse(shape))
            screen.print("\n".join(markdown(rows)[-2:]), markup=False)
    screen.print("\n".join(markdown(rows)), markup=False)
    results.save(config.output, "busy", about, rows)
    screen.print(f"results are in {config.output}")
    return 0


def main(args: list[str] | None = None) -> int:
    """Run with these flags; return the exit status."""
    return program.main("benchmarks.busy", Config, work, args)


if __name__ == "__main__":
    sys.exit(main())
