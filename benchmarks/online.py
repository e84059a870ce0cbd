# SPDX-License-Identifier: Apache-2.0
"""Online gradients beside back-propagation: `python -m benchmarks.online --help`.

The loss is that of the last output alone, so T is how far back the gradient must reach.
The table has the cosine between both gradients, and how many numbers a learner keeps.
"""

import dataclasses
import functools
import pathlib
import sys
from collections.abc import Callable
from typing import Any

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.table import Table

import recurrent_jax as rj
from benchmarks import program, results

D = 3
CELLS: dict[str, Callable[[int], rj.Cell]] = {
    "GRU": rj.GRU,
    "LSTM": rj.LSTM,
    "Elman": rj.Elman,
    "DiagonalGRU": rj.DiagonalGRU,
    "LRU": rj.LRU,
}
LEARNERS = {
    "RTRL": rj.online.RTRL,
    "SnAp1": rj.online.SnAp1,
    "SnAp2": rj.online.SnAp2,
    "EProp": rj.online.EProp,
    "UORO": rj.online.UORO,
}


@dataclasses.dataclass(frozen=True)
class Config:
    """Compare online gradients with back-propagation through time.

    Attributes:
        cells: which cells.
        hidden: units of a layer.
        depths: the numbers of layers in a stack.
        times: the numbers of steps.
        draws: parameters, inputs and losses that are drawn; the mean is shown.
        output: folder for results and the picture.
    """

    cells: tuple[str, ...] = tuple(CELLS)
    hidden: int = 6
    depths: tuple[int, ...] = (1, 2)
    times: tuple[int, ...] = (2, 8, 32)
    draws: int = 8
    output: pathlib.Path = pathlib.Path("benchmarks", "results")

    def __post_init__(self) -> None:
        if min(self.hidden, self.draws, *self.depths, *self.times) < 1:
            raise ValueError("all numbers must be at least 1")
        if unknown := set(self.cells) - set(CELLS):
            raise ValueError(f"no cell {sorted(unknown)}; there are {list(CELLS)}")


@dataclasses.dataclass
class Row:
    """One learner of one cell at one number of steps."""

    cell: str
    depth: int
    T: int
    learner: str
    cosine: float
    numbers: int


def measure(config: Config, name: str, depth: int) -> list[Row]:
    """Return the rows of a cell in a stack of some depth."""
    one = CELLS[name](config.hidden)
    cell = one if depth == 1 else rj.Stack((one,) * depth)
    rows = []
    for label, make in LEARNERS.items():
        try:
            learner = make(cell)
        except TypeError:  # it has no separate recurrent product
            continue
        begin = functools.partial(start, learner)
        kept = jax.eval_shape(begin, jax.random.key(0)).memory
        numbers = sum(a.size for a in jax.tree.leaves(kept))
        run = jax.jit(jax.vmap(functools.partial(cosines, learner, config.times)))
        drawn = run(jax.random.split(jax.random.key(1), config.draws))
        for time, mean in zip(config.times, np.mean(drawn, axis=0), strict=True):
            rows.append(Row(name, depth, time, label, float(mean), numbers))
        jax.clear_caches()
    return rows


def start(learner: Any, key: jax.Array) -> Any:
    """Return the first state of a learner."""
    params = learner.cell.init(key, D, jnp.float32)
    return learner.init(params, jnp.zeros(D), key=key)


def cosines(learner: Any, times: tuple[int, ...], key: jax.Array) -> jax.Array:
    """Return the cosine between both gradients of a drawn loss of one output.

    The output is that of the last of T steps, for each T.
    """
    keys = jax.random.split(key, 4)
    params = learner.cell.init(keys[0], D, jnp.float32)
    xs = jax.random.normal(keys[1], (max(times), D))

    def outputs(params: Any) -> Any:
        return rj.unroll(learner.cell, params, xs, method=rj.Sequential())[1]

    ys, pull = jax.vjp(outputs, params)
    weights = jax.random.normal(keys[2], ys.shape[1:])
    last = jnp.asarray(times) - 1

    def through_time(t: jax.Array) -> jax.Array:
        return _flat(pull(jnp.zeros_like(ys).at[t].set(weights))[0])

    def body(state: Any, x: Any) -> Any:
        state, _ = learner.step(params, state, x)
        return state, _flat(learner.gradient(state, weights))

    begin = learner.init(params, xs[0], key=keys[3])
    got = jax.lax.scan(body, begin, xs)[1][last]
    want = jax.lax.map(through_time, last)
    size = jnp.linalg.norm(got, axis=1) * jnp.linalg.norm(want, axis=1)
    return jnp.sum(got * want, axis=1) / size


def _flat(tree: Any) -> jax.Array:
    return jax.flatten_util.ravel_pytree(tree)[0]


def markdown(rows: list[dict]) -> list[str]:
    """Return the lines of the table on the page."""
    times = results.unique(rows, "T")
    heads = ["cell", "layers", "learner", "numbers", *(f"T = {int(t)}" for t in times)]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    found: dict[Any, list[dict]] = {}
    for row in rows:
        key = row["cell"], row["depth"], row["learner"]
        found.setdefault(key, []).append(row)
    for (cell, depth, learner), mine in found.items():
        cosines = [f"{float(row['cosine']):.3f}" for row in mine]
        numbers = [str(int(depth)), f"`{learner}`", str(int(mine[0]["numbers"]))]
        parts = [f"`{cell}`", *numbers]
        lines.append(f"| {' | '.join([*parts, *cosines])} |")
    return lines


def show(rows: list[dict]) -> Table:
    """Return the cosines, a row for each learner of each cell."""
    times = results.unique(rows, "T")
    table = Table(title="cosine to back-propagation, by steps back")
    for column in ("cell", "layers", "learner", "numbers"):
        table.add_column(column)
    for time in times:
        table.add_column(f"T = {time}", justify="right")
    found = {(r["cell"], r["depth"], r["learner"], r["T"]): r for r in rows}
    for cell, depth, learner in dict.fromkeys(key[:3] for key in found):
        mine = [found[cell, depth, learner, time] for time in times]
        cosines = [f"{row['cosine']:.3f}" for row in mine]
        table.add_row(cell, str(depth), learner, str(mine[0]["numbers"]), *cosines)
    return table


def work(config: Config, screen: Console, about: dict[str, Any]) -> int:
    """Measure, print and save; return the exit status."""
    rows: list[dict] = []
    for cell in config.cells:
        for depth in config.depths:
            rows += map(dataclasses.asdict, measure(config, cell, depth))
            screen.print(f"{cell}, {depth} layers done", style="dim")
    screen.print(show(rows))
    results.save(config.output, "online", about, rows)
    from benchmarks import newton_plots  # late: slow to import

    newton_plots.online(config.output, rows)
    screen.print(f"results and the picture are in {config.output}")
    return 0


def main(args: list[str] | None = None) -> int:
    """Run with these flags; return the exit status."""
    return program.main("benchmarks.online", Config, work, args)


if __name__ == "__main__":
    sys.exit(main())
