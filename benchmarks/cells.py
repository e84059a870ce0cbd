# SPDX-License-Identifier: Apache-2.0
"""The cost of every cell against LSTM: `python -m benchmarks.cells --help`.

Times forward and backward of each cell in the table of docs/cells.md, all in one
process and in turns, and writes the ratios into its last column.
"""

import dataclasses
import pathlib
import re
import sys
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from rich.console import Console

import recurrent_jax as rj
from benchmarks import program, results, timing
from benchmarks.problems import Shape
from benchmarks.tables import Table

PAGE = pathlib.Path("docs", "cells.md")
ROW = re.compile(r"^\| `(?P<code>[^`]+)` \|.*\| (?P<cost>[^|]*) \|$", re.MULTILINE)
AGAINST = "LSTM(H)"


@dataclasses.dataclass(frozen=True)
class Config:
    """Time every cell in docs/cells.md against LSTM, and fill its column of costs.

    Attributes:
        shape: T,B,D,H; sizes that a cell has besides follow from H.
        rounds: times each cell takes its turn, at least.
        cells: the first columns of the rows to time, without writing the page; all
            of them, and write it, if none.
        page: the page with the table; `cells-cost.csv` is written beside it.
        output: folder for JSON with each sample.
    """

    shape: str = "100,32,64,128"
    rounds: int = 7
    cells: tuple[str, ...] = ()
    page: pathlib.Path = PAGE
    output: pathlib.Path = pathlib.Path("benchmarks", "results")

    def __post_init__(self) -> None:
        Shape.parse(self.shape)
        if self.rounds < 1:
            raise ValueError("rounds must be at least 1")


def build(code: str, shape: Shape) -> rj.Cell:
    """Return the cell that a row's code stands for, letters replaced by sizes."""
    H = shape.H
    sizes = {"D": shape.D, "H": H, "Y": H, "P": max(1, H // 4), "R": 5, "N": 4, "B": H}
    return eval(f"rj.{code}", {"rj": rj, **sizes})


def comparable(cell: rj.Cell) -> bool:
    """Say whether a cell has a hidden size: images and ForwardFill have not."""
    return cell.feature_axes == 1 and hasattr(cell, "hidden_size")


def draw(cell: rj.Cell, shape: Shape, key: jax.Array) -> Any:
    """Return inputs for a cell: an array, or one with times or a mask beside it."""
    T, B, D, _ = shape
    x = jax.random.normal(key, (T, B, D), jnp.float32)
    if isinstance(cell, rj.TimeAwareLSTM | rj.CfC | rj.LTC):
        return rj.cells.Timed(x, jnp.ones((T, B), jnp.float32))
    if isinstance(cell, rj.GRUD):
        return rj.cells.Filled(x, x > 0, jnp.ones((T, B, D), jnp.float32))
    return x


def contend(cell: rj.Cell, shape: Shape) -> Callable[[], Any]:
    """Return a call of forward and backward, compiled, with its data on the device."""
    keys = jax.random.split(jax.random.key(0), 3)
    params = cell.init(keys[0], shape.D, jnp.float32)
    xs = draw(cell, shape, keys[1])

    def run(params: Any, xs: Any, cotangent: jax.Array) -> Any:
        def outputs(params: Any, x: jax.Array) -> jax.Array:
            replaced = xs._replace(x=x) if hasattr(xs, "_replace") else x
            return rj.unroll(cell, params, replaced)[1]

        ys, pull = jax.vjp(outputs, params, getattr(xs, "x", xs))
        return ys, pull(cotangent)

    ys = jax.eval_shape(lambda: rj.unroll(cell, params, xs)[1])
    cotangent = jax.random.normal(keys[2], ys.shape, ys.dtype)
    compiled = jax.jit(run).lower(params, xs, cotangent).compile()
    return lambda: jax.block_until_ready(compiled(params, xs, cotangent))


def measure(codes: list[str], shape: Shape, rounds: int) -> list[dict[str, Any]]:
    """Return a row for each cell that has a hidden size; the first is that of LSTM."""
    codes = [AGAINST, *(code for code in codes if code != AGAINST)]
    cells = {code: build(code, shape) for code in codes}
    calls = {c: contend(cell, shape) for c, cell in cells.items() if comparable(cell)}
    samples = timing.interleave(calls, rounds)
    least = min(samples[AGAINST])
    return [
        {
            "cell": code,
            "shape": str(shape),
            "min_ms": 1e3 * min(times),
            "ratio": round(min(times) / least, 3),
            "samples_ms": [1e3 * seconds for seconds in times],
        }
        for code, times in samples.items()
    ]


def fill(page: pathlib.Path, rows: list[dict[str, Any]]) -> None:
    """Write the ratios into the last column of the table; a dash where none is."""
    ratios = {row["cell"]: f"{row['ratio']:.2f}" for row in rows}

    def row(match: re.Match[str]) -> str:
        line = match.group()
        before = line[: match.start("cost") - match.start()]
        return f"{before}{ratios.get(match['code'], '–')} |"

    page.write_text(ROW.sub(row, page.read_text()))


def show(rows: list[dict[str, Any]]) -> Table:
    """Return a table of times, from cheap to dear."""
    table = Table("cell")
    for name in ("min ms", "time over LSTM"):
        table.add_column(name, justify="right")
    for row in sorted(rows, key=lambda row: row["ratio"]):
        table.add_row(row["cell"], f"{row['min_ms']:.2f}", f"{row['ratio']:.2f}")
    return table


def work(config: Config, screen: Console, about: dict[str, Any]) -> int:
    """Measure, print and save; return the exit status."""
    codes = [match["code"] for match in ROW.finditer(config.page.read_text())]
    shape = Shape.parse(config.shape)
    rows = measure(list(config.cells) or codes, shape, config.rounds)
    screen.print(show(rows))
    results.save(config.output, "cells", about, rows)
    if not config.cells:
        saved = config.output / "cells.csv"
        (config.page.parent / "cells-cost.csv").write_text(saved.read_text())
        fill(config.page, rows)
    return 0


def main(args: list[str] | None = None) -> int:
    """Run with these flags; return the exit status."""
    return program.main("benchmarks.cells", Config, work, args)


if __name__ == "__main__":
    sys.exit(main())
