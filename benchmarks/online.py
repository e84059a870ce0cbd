# SPDX-License-Identifier: Apache-2.0
"""Online gradients beside back-propagation: `python -m benchmarks.online --help`.

Three tables. In the first, the loss is that of the last output alone, so T is how far
back the gradient must reach; it has the cosine between both gradients. The second has
the mean of many draws of the random ones, beside its standard error. The third has how
many numbers a learner keeps and the time of a step, against the units.
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

import recurrent_jax as rj
from benchmarks import online_cost, online_mean, program, results
from benchmarks.tables import Table

D, MEAN_TIME = 3, 16
# Programs of the first table run for milliseconds. Optimising them took minutes.
QUICKLY = {"xla_backend_optimization_level": 0}
CELLS: dict[str, Callable[[int], rj.Cell]] = {
    "GRU": rj.GRU,
    "LSTM": rj.LSTM,
    "Elman": rj.Elman,
    "DiagonalGRU": rj.DiagonalGRU,
    "LRU": rj.LRU,
}
PAGE = "GRU", "LSTM", "DiagonalGRU"
LEARNERS = {
    "RTRL": rj.online.RTRL,
    "SnAp1": rj.online.SnAp1,
    "SnAp2": rj.online.SnAp2,
    "EProp": rj.online.EProp,
    "UORO": rj.online.UORO,
    "KFRTRL": rj.online.KFRTRL,
}
RANDOM = "UORO", "KFRTRL"


@dataclasses.dataclass(frozen=True)
class Config:
    """Compare online gradients with back-propagation through time.

    Attributes:
        cells: which cells.
        hidden: units of a layer, for cosines.
        depths: the numbers of layers in a stack.
        times: the numbers of steps.
        draws: parameters, inputs and losses that are drawn; the mean is shown.
        signs: draws of the signs of the random learners; not of parameters.
        sizes: units of a layer, for costs. None are measured if it is empty.
        rounds: times the learners take their turn, at least.
        output: folder for results and the picture.
    """

    cells: tuple[str, ...] = tuple(CELLS)
    hidden: int = 6
    depths: tuple[int, ...] = (1, 2, 3)
    times: tuple[int, ...] = (2, 8, 32, 128)
    draws: int = 16
    signs: int = 4000
    sizes: tuple[int, ...] = (4, 16, 64)
    rounds: int = 7
    output: pathlib.Path = pathlib.Path("benchmarks", "results")

    def __post_init__(self) -> None:
        counts = self.hidden, self.draws, self.signs, self.rounds
        if min(*counts, *self.depths, *self.times, *self.sizes) < 1:
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
    keys = jax.random.split(jax.random.key(1), config.draws)
    draws = run(functools.partial(drawn, cell, max(config.times)), keys)
    want = run(functools.partial(through_time, cell, config.times), *draws)
    rows = []
    for label, learner in learners_of(cell, D).items():
        numbers = online_cost.numbers(learner, D)
        got = run(functools.partial(forward, learner, config.times), *draws, keys)
        for time, mean in zip(config.times, cosines(got, want), strict=True):
            rows.append(Row(name, depth, time, label, float(mean), numbers))
    jax.clear_caches()
    return rows


def learners_of(cell: rj.Cell, features: int) -> dict[str, Any]:
    """Return the learners that can run a cell."""
    found = {}
    for label, make in LEARNERS.items():
        try:
            found[label] = make(cell)
            online_cost.numbers(found[label], features)
        except TypeError:  # the recurrent product is not of the form that it needs
            found.pop(label, None)
    return found


def run(function: Callable[..., Any], *args: Any) -> Any:
    """Return the result for all draws, each along a first axis."""
    return jax.jit(jax.vmap(function), compiler_options=QUICKLY)(*args)


def cosines(got: jax.Array, want: jax.Array) -> np.ndarray:
    """Return the mean cosine over all draws, `(times,)`, of `(draws, times, P)`."""
    got, want = (np.asarray(each, float) for each in (got, want))
    size = np.linalg.norm(got, axis=-1) * np.linalg.norm(want, axis=-1)
    return np.mean(np.sum(got * want, axis=-1) / size, axis=0)


def drawn(cell: rj.Cell, time: int, key: jax.Array) -> tuple[Any, ...]:
    """Return parameters, inputs, and the weights of the outputs in the loss."""
    keys = jax.random.split(key, 3)
    params = cell.init(keys[0], D, jnp.float32)
    xs = jax.random.normal(keys[1], (time, D))
    carry = cell.initial_carry((), jnp.float32, params)
    y = jax.eval_shape(cell.step, params, carry, xs[0])[1]
    return params, xs, jax.random.normal(keys[2], y.shape)


def through_time(
    cell: rj.Cell, times: tuple[int, ...], params: Any, xs: jax.Array, weights: Any
) -> jax.Array:
    """Return the gradient of the last of T outputs for each T, `(times, P)`."""

    def outputs(params: Any) -> Any:
        return rj.unroll(cell, params, xs, method=rj.Sequential())[1]

    ys, pull = jax.vjp(outputs, params)

    def one(t: jax.Array) -> jax.Array:
        return _flat(pull(jnp.zeros_like(ys).at[t].set(weights))[0])

    return jax.lax.map(one, jnp.asarray(times) - 1)


def forward(
    learner: Any, times: tuple[int, ...], params: Any, xs: Any, weights: Any, key: Any
) -> jax.Array:
    """Return the online gradient of the last of T outputs for each T, `(times, P)`."""

    def body(state: Any, x: Any) -> Any:
        state, _ = learner.step(params, state, x)
        return state, _flat(learner.gradient(state, weights))

    begin = learner.init(params, xs[0], key=key)
    return jax.lax.scan(body, begin, xs)[1][jnp.asarray(times) - 1]


def _flat(tree: Any) -> jax.Array:
    return jax.flatten_util.ravel_pytree(tree)[0]


def markdown(rows: list[dict], cells: tuple[str, ...] = PAGE) -> list[str]:
    """Return the lines of the table on the page: some cells, without SnAp2."""
    rows = [r for r in rows if r["cell"] in cells and r["learner"] != "SnAp2"]
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
    from benchmarks import online_plots  # late: slow to import

    online_plots.cosines(config.output, rows)
    means = means_of(config)
    for line in online_mean.markdown(means):
        screen.print(line, soft_wrap=True)
    results.save(config.output, "online-mean", about, means)
    if config.sizes:
        costs = costs_of(config)
        for line in online_cost.markdown(costs):
            screen.print(line, soft_wrap=True)
        results.save(config.output, "online-cost", about, costs)
        online_plots.costs(config.output, costs)
    screen.print(f"results and pictures are in {config.output}")
    return 0


def means_of(config: Config) -> list[dict]:
    """Return how far the mean of each random learner is from back-propagation."""
    rows: list[online_mean.Row] = []
    for name in config.cells:
        cell = CELLS[name](config.hidden)
        sample = drawn(cell, MEAN_TIME, jax.random.key(0))
        for label, learner in learners_of(cell, D).items():
            if label in RANDOM:
                rows.append(online_mean.measure(cell, learner, sample, config.signs))
        jax.clear_caches()
    return [dataclasses.asdict(row) for row in rows]


def costs_of(config: Config) -> list[dict]:
    """Return what each learner keeps and takes, by cell and units."""
    rows: list[online_cost.Row] = []
    for cell in online_cost.CELLS:
        for size in config.sizes:
            made = learners_of(online_cost.CELLS[cell](size), online_cost.D)
            rows += online_cost.measure(cell, size, made, config.rounds)
    return [dataclasses.asdict(row) for row in rows]


def main(args: list[str] | None = None) -> int:
    """Run with these flags; return the exit status."""
    return program.main("benchmarks.online", Config, work, args)


if __name__ == "__main__":
    sys.exit(main())
