# SPDX-License-Identifier: Apache-2.0
"""Time of linear cells against T: `python -m benchmarks.parallel --help`.

Every method of `unroll` runs each cell, forward and with the gradients of parameters
and inputs. Beside them run what people write by hand for an LRU, a complex
`lax.associative_scan` and a complex `lax.scan`, the loop of Flax over the steps of each
cell, and the cells of other libraries that are installed. Answers are compared before
they are timed. The memory is that of the temporary arrays of the compiled program.
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
from benchmarks import linear_peers, program, results, timing
from benchmarks.problems import BOTH, FORWARD
from benchmarks.tables import Table

CELLS: dict[str, Callable[[int], rj.Cell]] = {
    "lru": rj.LRU,
    "min_gru": rj.MinGRU,
    "sru": rj.SRU,
    "s4d": lambda H: rj.S4D(H, state_size=16),  # with more, a tree takes all memory
    "mamba": rj.Mamba,
    "mamba2": lambda H: rj.Mamba2(H, heads=2),
    "gated_linear_attention": lambda H: rj.GatedLinearAttention(H, heads=2),
    "gated_delta_net": lambda H: rj.GatedDeltaNet(H, heads=2),
    "kda": lambda H: rj.KDA(H, heads=2),
    "rwkv7": lambda H: rj.RWKV7(H, heads=2),
    "mlstm": lambda H: rj.MLSTM(H, heads=2),
}
LOOP, DEFAULT = "Sequential", "default"
METHODS = {
    LOOP: rj.Sequential(),
    DEFAULT: None,
    "Chunked": rj.Chunked(),
    "Associative": rj.Associative(),
}
TREE, BY_HAND = "lax.associative_scan", "lax.scan"


@dataclasses.dataclass(frozen=True)
class Config:
    """Time every method of linear cells, and scans that are written by hand.

    Attributes:
        cells: which cells.
        batch: sequences side by side.
        hidden: features of input and output.
        times: the numbers of steps.
        rounds: times each contender takes its turn, at least.
        output: folder for results and pictures.
    """

    cells: tuple[str, ...] = tuple(CELLS)
    batch: int = 4
    hidden: int = 64
    times: tuple[int, ...] = (256, 1024, 4096, 16_384)
    rounds: int = 5
    output: pathlib.Path = pathlib.Path("benchmarks", "results")

    def __post_init__(self) -> None:
        numbers = (self.batch, self.hidden, self.rounds, *self.times)
        if min(numbers) < 1 or not self.times:
            raise ValueError("sizes, times and rounds must be at least 1")
        if unknown := set(self.cells) - set(CELLS):
            raise ValueError(f"no cell {sorted(unknown)}; there are {list(CELLS)}")


@dataclasses.dataclass
class Row:
    """One contender at one number of steps."""

    cell: str
    contender: str
    direction: str
    T: int
    min_ms: float
    temporary_bytes: int
    samples_ms: list[float]


def contenders(name: str, cell: rj.Cell) -> dict[str, Callable[..., jax.Array]]:
    """Return functions from `(params, xs)` to the outputs."""

    def unrolled(method: Any) -> Callable[..., jax.Array]:
        return lambda params, xs: rj.unroll(cell, params, xs, method=method)[1]

    runs = {label: unrolled(method) for label, method in METHODS.items()}
    H = cell.hidden_size  # type: ignore[attr-defined]
    params = cell.init(jax.random.key(0), H)
    try:
        jax.eval_shape(runs["Associative"], params, jnp.zeros((2, H)))
    except TypeError:  # its steps do not combine
        del runs["Associative"]
    if name == "lru":
        runs |= {TREE: by_tree, BY_HAND: by_loop}
    return runs | linear_peers.installed(name, cell)


def by_tree(params: Any, xs: jax.Array) -> jax.Array:
    """Run an LRU as its public code does."""
    decay, added = _complex(params, xs)

    def join(first: Any, second: Any) -> Any:
        (a, b), (c, d) = first, second
        return c * a, c * b + d

    decays = jnp.broadcast_to(decay, added.shape)
    return _read(params, jax.lax.associative_scan(join, (decays, added))[1], xs)


def by_loop(params: Any, xs: jax.Array) -> jax.Array:
    """Run an LRU step by step, with both products outside of the loop."""
    decay, added = _complex(params, xs)

    def step(h: jax.Array, b: jax.Array) -> tuple[jax.Array, jax.Array]:
        h = decay * h + b
        return h, h

    return _read(params, jax.lax.scan(step, jnp.zeros_like(added[0]), added)[1], xs)


def _complex(params: Any, xs: jax.Array) -> tuple[jax.Array, jax.Array]:
    decay = jnp.exp(jax.lax.complex(-jnp.exp(params.nu), jnp.exp(params.theta)))
    gamma = jnp.exp(params.log_gamma)
    kernel = jax.lax.complex(gamma * params.kernel.real, gamma * params.kernel.imag)
    return decay, _complex_of(xs) @ kernel


def _read(params: Any, h: jax.Array, xs: jax.Array) -> jax.Array:
    kernel = params.output_kernel
    return (h @ jax.lax.complex(*kernel)).real + params.skip * xs


def _complex_of(a: jax.Array) -> jax.Array:
    return jax.lax.complex(a, jnp.zeros_like(a))


def measure(config: Config, name: str, T: int) -> list[Row]:
    """Return the rows of a cell at one number of steps."""
    cell = CELLS[name](config.hidden)
    keys = jax.random.split(jax.random.key(0), 3)
    params = cell.init(keys[0], config.hidden, jnp.float32)
    shape = (T, config.batch, config.hidden)
    xs = jax.random.normal(keys[1], shape, jnp.float32)
    cotangent = jax.random.normal(keys[2], shape, jnp.float32)

    def gradient(run: Callable[..., jax.Array]) -> Callable[..., Any]:
        def both(params: Any, xs: jax.Array) -> Any:
            ys, pull = jax.vjp(run, params, xs)
            return ys, pull(cotangent)

        return both

    runs, rows = contenders(name, cell), []
    for direction in (FORWARD, BOTH):
        calls, sizes, want = {}, {}, None
        for label, run in runs.items():
            wanted = run if direction == FORWARD else gradient(run)
            compiled = jax.jit(wanted).lower(params, xs).compile()
            sizes[label] = compiled.memory_analysis().temp_size_in_bytes
            calls[label] = lambda c=compiled: jax.block_until_ready(c(params, xs))
            got = calls[label]()
            want = got if want is None else want
            _agree(f"{name}, {label}, T={T}", got, want)
        for label, samples in timing.interleave(calls, config.rounds).items():
            times = [1e3 * s for s in samples]
            least, size = min(times), sizes[label]
            rows.append(Row(name, label, direction, T, least, size, times))
    return rows


def _agree(where: str, got: Any, want: Any) -> None:
    for a, b in zip(*map(jax.tree.leaves, (got, want)), strict=True):
        scale = max(float(np.max(np.abs(b))), 1e-6)
        worst = float(np.max(np.abs(a - b))) / scale
        if not worst < 2e-2:
            raise ValueError(f"{where}: answers differ by {worst:.1e} of the largest")


def show(rows: list[dict], direction: str) -> Table:
    """Return a table of milliseconds, and of the loop's time over them."""

    def text(row: dict, loop: dict) -> str:
        return f"{row['min_ms']:.2f} ({loop['min_ms'] / row['min_ms']:.2f})"

    title = f"{direction}: ms (times as fast as Sequential)"
    return _table(title, [r for r in rows if r["direction"] == direction], text)


def class_of(name: str) -> str:
    """Return the name of the class of a cell."""
    return type(CELLS[name](8)).__name__


def markdown(rows: list[dict], T: int) -> list[str]:
    """Return a table for the documents: speed against the loop, and memory."""
    found = {(r["cell"], r["contender"], r["direction"], r["T"]): r for r in rows}
    lines = []
    for cell in results.unique(rows, "cell"):
        texts = [f"`{class_of(cell)}`"]
        for direction in (FORWARD, BOTH):
            loop = found[cell, LOOP, direction, T]["min_ms"]
            for label in (DEFAULT, "Associative"):
                row = found.get((cell, label, direction, T))
                texts.append(f"{loop / row['min_ms']:.2f}" if row else "–")
        for label in (DEFAULT, LOOP, linear_peers.FLAX):
            row = found[cell, label, BOTH, max(results.unique(rows, "T"))]
            texts.append(f"{row['temporary_bytes'] / 2**20:.0f}")
        lines.append("| " + " | ".join(texts) + " |")
    return lines


def against(rows: list[dict], least: int) -> list[str]:
    """Return how many times as long as the default others take, from a T on."""
    times = {
        (r["cell"], r["contender"], r["direction"], r["T"]): r["min_ms"]
        for r in rows
        if r["T"] >= least
    }
    lines = []
    for label in (TREE, BY_HAND, *linear_peers.labels()):
        texts = [f"`{label}`"]
        for direction in (FORWARD, BOTH):
            ratios = [
                ms / times[cell, DEFAULT, direction, T]
                for (cell, who, way, T), ms in times.items()
                if (who, way) == (label, direction)
            ]
            mean, low = results.geometric_mean(ratios), min(ratios)
            texts.append(f"{mean:.2f} ({low:.2f} to {max(ratios):.2f})")
        lines.append("| " + " | ".join(texts) + " |")
    return lines


def show_memory(rows: list[dict]) -> Table:
    """Return a table of the temporary arrays of a gradient, in MiB."""

    def text(row: dict, loop: dict) -> str:
        return f"{row['temporary_bytes'] / 2**20:.1f}"

    title = "temporary arrays of forward+backward: MiB"
    return _table(title, [r for r in rows if r["direction"] == BOTH], text)


def _table(title: str, rows: list[dict], text: Callable[[dict, dict], str]) -> Table:
    """Return a table with a row for each contender, and a column for each T."""
    times = results.unique(rows, "T")
    table = Table(title=title)
    table.add_column("")
    for T in times:
        table.add_column(f"T = {T:,}", justify="right")
    found = {(r["cell"], r["contender"], r["T"]): r for r in rows}
    for cell in results.unique(rows, "cell"):
        table.add_section()
        for label in (*METHODS, TREE, BY_HAND, *linear_peers.labels()):
            if (cell, label, times[0]) in found:
                cells = (
                    text(found[cell, label, T], found[cell, LOOP, T]) for T in times
                )
                table.add_row(f"{cell}, {label}", *cells)
    return table


def work(config: Config, screen: Console, about: dict[str, Any]) -> int:
    """Measure, print and save; return the exit status."""
    rows: list[dict] = []
    for cell in config.cells:
        for T in config.times:
            rows += map(dataclasses.asdict, measure(config, cell, T))
            screen.print(f"{cell}, T = {T:,} done", style="dim")
            jax.clear_caches()
    for direction in (FORWARD, BOTH):
        screen.print(show(rows, direction))
    screen.print(show_memory(rows))
    results.save(config.output, "parallel", about, rows)
    from benchmarks import plots  # late: slow to import

    titles = {cell: class_of(cell) for cell in config.cells}
    plots.methods_against_time(config.output, rows, LOOP, titles)
    screen.print(f"results and the picture are in {config.output}")
    return 0


def main(args: list[str] | None = None) -> int:
    """Run with these flags; return the exit status."""
    return program.main("benchmarks.parallel", Config, work, args)


if __name__ == "__main__":
    sys.exit(main())
