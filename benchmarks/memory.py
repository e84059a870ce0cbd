# SPDX-License-Identifier: Apache-2.0
"""Memory, time and compilation against T: `python -m benchmarks.memory --help`.

Every way to run a cell over T steps gives the final carry, or the gradient of all
parameters from a given cotangent of it: results whose size does not depend on T. So
what grows with T is what the way itself keeps.
"""

import dataclasses
import pathlib
import sys
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
from rich.console import Console

import recurrent_jax as rj
from benchmarks import program, results, timing
from benchmarks.peers.ours import strategies
from benchmarks.problems import CELLS
from benchmarks.tables import Table

FORWARD, STEP, DEFAULT = "forward", "step by step", "gradient, default"
STEPS = 1000  # of the streaming loop, at most


@dataclasses.dataclass(frozen=True)
class Config:
    """Measure memory, time and compilation of recurrent_jax from 100 to 100,000 steps.

    Attributes:
        cell: which cell.
        batch: sequences side by side.
        features: of the input.
        hidden: units.
        times: the numbers of steps.
        rounds: times each way is timed.
        output: folder for results and pictures.
    """

    cell: Literal["lstm", "gru", "elman"] = "lstm"
    batch: int = 4
    features: int = 16
    hidden: int = 32
    times: tuple[int, ...] = (100, 300, 1000, 3000, 10_000, 30_000, 100_000)
    rounds: int = 3
    output: pathlib.Path = pathlib.Path("benchmarks", "results")

    def __post_init__(self) -> None:
        numbers = (self.batch, self.features, self.hidden, self.rounds, *self.times)
        if min(numbers) < 1 or not self.times:
            raise ValueError("sizes, times and rounds must be at least 1")


@dataclasses.dataclass
class Row:
    """One way to run T steps.

    Attributes:
        way: forward, step by step, or the gradient under a strategy.
        T: steps.
        peak_bytes: temporary memory and results, as the compiler reports them.
        equations: in the jaxpr, inner ones included.
        compile_s: of tracing, lowering and compiling.
        min_ms: best time of a run.
        us_per_step: that over T.
    """

    way: str
    T: int
    peak_bytes: int | None
    equations: int
    compile_s: float
    min_ms: float = 0.0
    us_per_step: float = 0.0


def ways(cell: rj.Cell) -> dict[str, Callable[..., Any]]:
    """Return functions of `(params, xs, cotangent)`, by name."""

    def gradient(**options: Any) -> Callable[..., Any]:
        def run(params: Any, xs: jax.Array, cotangent: Any) -> Any:
            def final(params: Any) -> Any:
                return rj.unroll(cell, params, xs, **options)[0]

            return jax.vjp(final, params)[1](cotangent)

        return run

    def forward(params: Any, xs: jax.Array, cotangent: Any) -> Any:
        return rj.unroll(cell, params, xs)[0]

    named = {f"gradient, {name}": gradient(**how) for name, how in strategies().items()}
    return {FORWARD: forward, DEFAULT: gradient(), **named}


def measure(config: Config, T: int) -> list[Row]:
    """Return one row for each way."""
    cell = CELLS[config.cell](config.hidden)
    keys = jax.random.split(jax.random.key(0), 3)
    params = cell.init(keys[0], config.features, jnp.float32)
    shape = (T, config.batch, config.features)
    xs = jax.random.normal(keys[1], shape, jnp.float32)
    carry = cell.initial_carry((config.batch,), jnp.float32)
    cotangent = jax.tree.map(
        lambda c: jax.random.normal(keys[2], c.shape, c.dtype), carry
    )
    rows, calls = {}, {}
    for way, run in ways(cell).items():
        rows[way], compiled = _compile(way, T, run, params, xs, cotangent)
        calls[way] = _call(compiled, params, xs, cotangent)
    rows[STEP], compiled = _compile(STEP, T, cell.step, params, carry, xs[0])
    steps = min(T, STEPS)
    calls[STEP] = _call(_stream, compiled, params, carry, list(xs[:steps]))
    for way, samples in timing.interleave(calls, config.rounds).items():
        taken = min(samples) * (T / steps if way == STEP else 1)
        rows[way].min_ms, rows[way].us_per_step = 1e3 * taken, 1e6 * taken / T
    return list(rows.values())


def _compile(way: str, T: int, run: Callable, *args: Any) -> tuple[Row, Callable]:
    equations = str(jax.make_jaxpr(run)(*args)).split().count("=")
    took, compiled = timing.seconds(lambda: jax.jit(run).lower(*args).compile())
    memory = compiled.memory_analysis()
    peak = memory and memory.temp_size_in_bytes + memory.output_size_in_bytes
    return Row(way, T, peak, equations, took), compiled


def _call(run: Callable, *args: Any) -> Callable[[], Any]:
    return lambda: jax.block_until_ready(run(*args))


def _stream(step: Callable, params: Any, carry: Any, xs: list[jax.Array]) -> Any:
    """Run step by step from Python, as for data that arrive one at a time."""
    for x in xs:
        carry, _ = step(params, carry, x)
    return carry


def show(rows: list[dict]) -> Table:
    """Return a table by way and T."""
    table = Table()
    table.add_column("")
    columns = "T", "peak", "ms", "us/step", "x default", "compile s", "equations"
    for name in columns:
        table.add_column(name, justify="right")
    default = {row["T"]: row["min_ms"] for row in rows if row["way"] == DEFAULT}
    for way in results.unique(rows, "way"):
        table.add_section()
        for row in rows:
            if row["way"] == way:
                table.add_row(
                    way,
                    f"{row['T']:,}",
                    _size(row["peak_bytes"]),
                    f"{row['min_ms']:.2f}",
                    f"{row['us_per_step']:.2f}",
                    f"{row['min_ms'] / default[row['T']]:.2f}",
                    f"{row['compile_s']:.2f}",
                    str(row["equations"]),
                )
    return table


def _size(size: int | None) -> str:
    if size is None:
        return "-"
    return f"{size / 2**20:.2f} MiB" if size >= 2**20 else f"{size / 2**10:.1f} KiB"


def work(config: Config, screen: Console, about: dict[str, Any]) -> int:
    """Measure, print and save; return the exit status."""
    rows: list[dict] = []
    for T in config.times:
        rows += map(dataclasses.asdict, measure(config, T))
        screen.print(f"T = {T:,} done", style="dim")
    screen.print(show(rows))
    results.save(config.output, "memory", about, rows)
    from benchmarks import plots  # late: slow to import

    plots.against_time(config.output, rows, f"{config.cell}, {_sizes(config)}")
    screen.print(f"results and the picture are in {config.output}")
    return 0


def main(args: list[str] | None = None) -> int:
    """Run with these flags; return the exit status."""
    return program.main("benchmarks.memory", Config, work, args)


def _sizes(config: Config) -> str:
    return f"B={config.batch}, D={config.features}, H={config.hidden}"


if __name__ == "__main__":
    sys.exit(main())
