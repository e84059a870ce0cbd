# SPDX-License-Identifier: Apache-2.0
"""Few bits beside float64: `python -m benchmarks.precision --help`.

Two tables. In the first, each row is the relative distance of a gradient from the one
in float64, over all parameters of one name: |g - g64| / |g64|. The loss reads every
output, with random weights. Three ways are compared: float32, `MixedPrecision` with
products in bfloat16, and everything in bfloat16. The second has the outputs of cells
whose `Chunked` form inverts a triangular system: how far they are in float32 from those
in float64, relative to the largest.
"""

import dataclasses
import pathlib
import sys
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console

import recurrent_jax as rj
from benchmarks import program, results

D = 16
CELLS: dict[str, Callable[[int], rj.Cell]] = {"LSTM": rj.LSTM, "GRU": rj.GRU}
STRATEGIES = {
    "Deferred": rj.Deferred(),
    "Checkpointed": rj.Checkpointed(),
    "Autodiff": rj.Autodiff(),
}
WAYS = ("float32", "mixed", "bfloat16")
SOLVING: dict[str, Callable[[int], rj.Cell]] = {
    "DeltaNet": rj.DeltaNet,
    "GatedDeltaNet": rj.GatedDeltaNet,
    "RWKV7": rj.RWKV7,
}
# A chunk is set, since without one a CPU may take the steps in a loop.
METHODS = {"Sequential": rj.Sequential(), "Chunked": rj.Chunked(64)}


@dataclasses.dataclass(frozen=True)
class Config:
    """Measure how far gradients in few bits are from those in float64.

    Attributes:
        cells: which cells.
        strategies: which strategies.
        hidden: units.
        time: steps.
        batch: sequences.
        long_time: steps for outputs; those of no cell are measured if it is zero.
        seeds: draws for outputs, of which the worst counts.
        output: folder for results.
    """

    cells: tuple[str, ...] = tuple(CELLS)
    strategies: tuple[str, ...] = tuple(STRATEGIES)
    hidden: int = 64
    time: int = 1000
    batch: int = 8
    long_time: int = 4096
    seeds: int = 4
    output: pathlib.Path = pathlib.Path("benchmarks", "results")

    def __post_init__(self) -> None:
        if (
            min(self.hidden, self.time, self.batch, self.seeds) < 1
            or self.long_time < 0
        ):
            raise ValueError("all numbers must be at least 1, and long_time 0")
        for given, known in ((self.cells, CELLS), (self.strategies, STRATEGIES)):
            if unknown := set(given) - set(known):
                raise ValueError(f"no {sorted(unknown)}; there are {list(known)}")


def measure(config: Config, name: str) -> list[dict[str, Any]]:
    """Return the rows of a cell."""
    keys = jax.random.split(jax.random.key(0), 3)
    cell = CELLS[name](config.hidden)
    lead = config.time, config.batch
    with jax.enable_x64(True):
        drawn = (
            cell.init(keys[0], D),
            jax.random.normal(keys[1], (*lead, D)),
            jax.random.normal(keys[2], (*lead, config.hidden)),
        )
        exact = gradient(cell, "float64", rj.Autodiff(), drawn)
        rows = []
        for label in config.strategies:
            for way in WAYS:
                got = gradient(cell, way, STRATEGIES[label], drawn)
                far = {k: distance(got[k], exact[k]) for k in exact}
                rows.append({"cell": name, "strategy": label, "way": way} | far)
    return rows


def outputs(config: Config, name: str) -> list[dict[str, Any]]:
    """Return how far the outputs of a cell in float32 are, for each method."""
    cell, far = SOLVING[name](config.hidden), dict.fromkeys(METHODS, 0.0)

    def run(method: Any, params: Any, xs: jax.Array) -> np.ndarray:
        call = jax.jit(lambda p, x: rj.unroll(cell, p, x, method=method)[1])
        return np.asarray(call(params, xs), "float64")

    for seed in range(config.seeds):
        keys = jax.random.split(jax.random.key(seed))
        with jax.enable_x64(True):
            xs = jax.random.normal(keys[1], (config.long_time, 1, config.hidden))
            drawn = cell.init(keys[0], config.hidden), xs
            exact = run(rj.Sequential(), *drawn)
            few = jax.tree.map(lambda a: a.astype("float32"), drawn)
            for label, method in METHODS.items():
                error = np.abs(run(method, *few) - exact).max() / np.abs(exact).max()
                far[label] = max(far[label], float(error))
    return [{"cell": name, "method": label, "error": far[label]} for label in METHODS]


def gradient(
    cell: rj.Cell, way: str, backward: Any, drawn: Any
) -> dict[str, np.ndarray]:
    """Return the gradient of a loss, computed in one of the ways, by name."""
    wide = "float64" if way == "float64" else "float32"
    params, xs, weights = jax.tree.map(lambda a: a.astype(wide), drawn)
    if way == "mixed":
        cell = rj.MixedPrecision(cell, jnp.bfloat16)

    @jax.jit
    @jax.grad
    def run(params: Any) -> jax.Array:
        given = params, xs
        if way == "bfloat16":
            given = jax.tree.map(lambda a: a.astype(jnp.bfloat16), given)
        ys = rj.unroll(cell, *given, backward=backward)[1]
        return jnp.mean(weights * ys.astype(wide))

    found = jax.device_get(run(params))
    return {k: np.asarray(a, "float64") for k, a in found._asdict().items()}


def distance(got: np.ndarray, exact: np.ndarray) -> float:
    """Return the relative distance of two arrays."""
    return float(np.linalg.norm(got - exact) / np.linalg.norm(exact))


def markdown(rows: list[dict[str, Any]]) -> list[str]:
    """Return the table of a page: one line for each cell and strategy."""
    head = "| cell | strategy | float32 | products in bfloat16 | all in bfloat16 |"
    lines = [head, "|" + "---|" * 5]
    for cell in results.unique(rows, "cell"):
        for strategy in results.unique(rows, "strategy"):
            mine = {
                r["way"]: [v for k, v in r.items() if k.endswith(("kernel", "bias"))]
                for r in rows
                if (r["cell"], r["strategy"]) == (cell, strategy)
            }
            worst = " | ".join(
                f"{max(v for v in mine[way] if v is not None):.1e}" for way in WAYS
            )
            lines.append(f"| {cell} | `{strategy}` | {worst} |")
    return lines


def work(config: Config, screen: Console, about: dict[str, Any]) -> int:
    """Measure, print and save; return the exit status."""
    rows = [row for name in config.cells for row in measure(config, name)]
    names = dict.fromkeys(key for row in rows for key in row)
    rows = [{name: row.get(name) for name in names} for row in rows]
    screen.print("\n".join(markdown(rows)), markup=False)
    results.save(config.output, "precision", about, rows)
    if config.long_time:
        rows = [row for name in SOLVING for row in outputs(config, name)]
        for row in rows:
            screen.print(f"{row['cell']}, {row['method']}: {row['error']:.1e}")
        results.save(config.output, "precision-outputs", about, rows)
    screen.print(f"results are in {config.output}")
    return 0


def main(args: list[str] | None = None) -> int:
    """Run with these flags; return the exit status."""
    return program.main("benchmarks.precision", Config, work, args)


if __name__ == "__main__":
    sys.exit(main())
