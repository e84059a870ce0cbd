# SPDX-License-Identifier: Apache-2.0
"""Iterations of Newton's method over time: `python -m benchmarks.newton --help`.

Three tables: every cell, at its initial parameters; a few cells against T, beside the
time of the loop; and a drawn family of cells from calm to chaotic, with what
`newton_outlook` says of each.
"""

import dataclasses
import functools
import inspect
import pathlib
import sys
from typing import Any

import jax
import jax.numpy as jnp
from rich.console import Console

import recurrent_jax as rj
from benchmarks import newton_tables, program, results, timing
from recurrent_jax.diagnostics import lyapunov_exponents, newton_report

D = 4
SPECIAL: dict[str, Any] = {
    "ForwardFill": lambda H: rj.ForwardFill(D),
    "ConvGRU": lambda H: rj.ConvGRU(2, spatial_shape=(4,)),
    "ConvLSTM": lambda H: rj.ConvLSTM(2, spatial_shape=(4,)),
    "RGLRU": lambda H: rj.RGLRU(D),
    "S4D": lambda H: rj.S4D(D),
}
AGAINST_TIME = {
    "DiagonalGRU": rj.DiagonalGRU,
    "IndRNN": lambda H: rj.IndRNN(H, activation=jnp.tanh),
    "GRU": rj.GRU,
    "LSTM": rj.LSTM,
}


# Drawn cells, the parameters that a drawn gain multiplies, and the largest gain.
DRAWN: dict[str, tuple[rj.Cell, str, float]] = {
    "Elman": (rj.Elman(16), "recurrent_kernel", 3.0),
    "GRU": (rj.GRU(16), "recurrent_kernel", 12.0),
    "DiagonalGRU": (rj.DiagonalGRU(16), "recurrent_scale", 12.0),
    "DiagonalLSTM": (rj.DiagonalLSTM(16), "recurrent_scale", 12.0),
}


@dataclasses.dataclass(frozen=True)
class Config:
    """Count the iterations of `rj.Newton`.

    Attributes:
        parts: which tables: "cells", "time", "drawn".
        hidden: units of a cell.
        steps: the number of steps for every cell and for drawn cells.
        times: the numbers of steps for a few cells.
        draws: how many cells are drawn.
        rounds: times the loop and Newton take their turn, at least.
        output: folder for results and pictures.
    """

    parts: tuple[str, ...] = ("cells", "time", "drawn")
    hidden: int = 4
    steps: int = 256
    times: tuple[int, ...] = (128, 1024, 8192, 65_536)
    draws: int = 120
    rounds: int = 3
    output: pathlib.Path = pathlib.Path("benchmarks", "results")

    def __post_init__(self) -> None:
        if min(self.hidden, self.steps, self.draws, self.rounds, *self.times) < 1:
            raise ValueError("all numbers must be at least 1")
        if unknown := set(self.parts) - {"cells", "time", "drawn"}:
            raise ValueError(f"no part {sorted(unknown)}")


@dataclasses.dataclass
class Row:
    """One cell at one number of steps."""

    part: str
    cell: str
    T: int
    exponent: float
    iterations: int
    residual: float
    converged: bool
    refused: str = ""
    loop_ms: float = 0.0
    newton_ms: float = 0.0


def every_cell(hidden: int) -> dict[str, rj.Cell]:
    """Return one cell of each class."""
    found = {}
    for name in sorted(rj.cells.__all__):
        cls = getattr(rj.cells, name)
        if not (inspect.isclass(cls) and issubclass(cls, rj.Cell)):
            continue
        heads = "heads" in inspect.signature(cls).parameters
        more = {"heads": 2} if heads and name != "RGLRU" else {}
        make = SPECIAL.get(name) or (lambda H, cls=cls, more=more: cls(H, **more))
        try:
            found[name] = make(hidden)
        except TypeError:  # it has one more field to give
            field = "rank" if name == "RWKV7" else "blocks"
            found[name] = cls(hidden, **more, **{field: 2})
    return found


def inputs_of(cell: rj.Cell, key: jax.Array, time: int) -> Any:
    """Return random inputs of one sequence, as the cell reads them."""
    name, shape = type(cell).__name__, (time, D)
    if hasattr(cell, "spatial_shape"):
        return jax.random.normal(key, (time, *cell.spatial_shape, D))
    x, elapsed = jax.random.normal(key, shape), jnp.ones(time)
    if name in ("CfC", "LTC", "TimeAwareLSTM"):
        return rj.cells.Timed(x, elapsed)
    if name == "ForwardFill":
        return rj.cells.Observed(x, x > 0, elapsed)
    if name == "GRUD":
        return rj.cells.Filled(x, x > 0, jnp.ones(shape))
    return x


@functools.partial(jax.jit, static_argnums=0)
def _measured(cell: rj.Cell, params: Any, xs: Any) -> tuple[Any, jax.Array]:
    """Return the report and the largest exponent; parameters may be a key."""
    if not isinstance(params, tuple):
        params = cell.init(params, D, jnp.float32)
    exponent = lyapunov_exponents(cell, params, xs, count=1)
    return newton_report(cell, params, xs), jnp.max(exponent)


def count(part: str, name: str, cell: rj.Cell, params: Any, xs: Any) -> Row:
    """Return the row of one cell."""
    time = jax.tree.leaves(xs)[0].shape[0]
    try:
        done, exponent = _measured(cell, params, xs)
    except TypeError as refusal:
        why = str(refusal).rpartition("): ")[2].partition("\n")[0]
        return Row(part, name, time, 0.0, 0, 0.0, False, why)
    steps = int(done.iterations[0])
    residual = float(done.residuals[0, steps - 1])
    converged = bool(done.converged.all())
    return Row(part, name, time, float(exponent), steps, residual, converged)


def all_cells(config: Config) -> list[Row]:
    """Return a row for each cell at its initial parameters."""
    rows, keys = [], jax.random.split(jax.random.key(0), 2)
    for name, cell in every_cell(config.hidden).items():
        xs = inputs_of(cell, keys[1], config.steps)
        rows.append(count("cells", name, cell, keys[0], xs))
        print(f"{name} done", file=sys.stderr)
    return rows


def against_time(config: Config) -> list[Row]:
    """Return rows of a few cells at several lengths, with the time of the loop."""
    rows, keys = [], jax.random.split(jax.random.key(0), 2)
    for name, make in AGAINST_TIME.items():
        cell = make(config.hidden)
        params = cell.init(keys[0], D, jnp.float32)
        for time in config.times:
            xs = jax.random.normal(keys[1], (time, D))
            row = count("time", name, cell, params, xs)
            calls = {}
            for label, method in (("loop", rj.Sequential()), ("newton", rj.Newton())):

                def run(p: Any, x: Any, cell: Any = cell, method: Any = method) -> Any:
                    return rj.unroll(cell, p, x, method=method)[1]

                done = jax.jit(run).lower(params, xs).compile()
                calls[label] = lambda c=done, p=params, x=xs: jax.block_until_ready(
                    c(p, x)
                )
            for label, samples in timing.interleave(calls, config.rounds).items():
                setattr(row, f"{label}_ms", 1e3 * min(samples))
            rows.append(row)
            jax.clear_caches()
    return rows


def drawn(config: Config) -> list[Row]:
    """Return rows of cells with drawn gains, seeds and inputs."""
    rows = []
    for name, (cell, field, most) in DRAWN.items():
        for n in range(config.draws // len(DRAWN)):
            keys = jax.random.split(jax.random.key(n), 4)
            params = cell.init(keys[0], D, jnp.float32)
            gain = jax.random.uniform(keys[1], minval=0.3, maxval=most)
            params = params._replace(**{field: gain * getattr(params, field)})
            scale = jax.random.uniform(keys[2], minval=0.1, maxval=1.0)
            xs = scale * jax.random.normal(keys[3], (config.steps, D))
            rows.append(count("drawn", name, cell, params, xs))
    return rows


def work(config: Config, screen: Console, about: dict[str, Any]) -> int:
    """Count, print and save; return the exit status."""
    runs = {"cells": all_cells, "time": against_time, "drawn": drawn}
    rows: list[dict] = []
    for part in config.parts:
        mine = [dataclasses.asdict(row) for row in runs[part](config)]
        screen.print(newton_tables.show(mine, part))
        results.save(config.output, f"newton-{part}", about, mine)
        rows += mine
    if "drawn" in config.parts:
        right, of = newton_tables.hits(rows)
        screen.print(f"newton_outlook was right for {right} of {of} drawn cells")
    from benchmarks import newton_plots  # late: slow to import

    newton_plots.draw(config.output, rows)
    screen.print(f"results and the pictures are in {config.output}")
    return 0


def main(args: list[str] | None = None) -> int:
    """Run with these flags; return the exit status."""
    return program.main("benchmarks.newton", Config, work, args)


if __name__ == "__main__":
    sys.exit(main())
