# SPDX-License-Identifier: Apache-2.0
"""The table, its file and the picture."""

import csv
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import stream_data as data
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

NAMES = {
    "rtrl": "RTRL, DiagonalGRU",
    "window": "truncated, DiagonalGRU",
    "chunks": "chunks, DiagonalGRU",
    "uoro": "UORO, DiagonalGRU",
    "snap1": "SnAp1, GRU",
    "eprop": "EProp, GRU",
    "gru_window": "truncated, GRU",
    "gru_chunks": "chunks, GRU",
}
COLOURS = dict(
    zip(
        NAMES,
        "#d55e00 #0072b2 #56b4e9 #cc79a7 #009e73 #e69f00 #4b2e83 #9a86c4".split(),
        strict=True,
    )
)
PANELS = {"DiagonalGRU": ("rtrl", "window", "chunks", "uoro")}
PANELS["GRU"] = ("snap1", "eprop", "gru_window", "gru_chunks")
ORDERS = 1, 4  # symbols that counting looks at
COLUMNS = ("steps", "way", "seed", "bits", "us_per_step", "numbers", "skipped")


class Results(NamedTuple):
    """Bits per symbol, by way or baseline, `(seeds, stretches)`, and costs by way."""

    steps: np.ndarray  # (stretches,), at the end of each
    bits: dict[str, np.ndarray]
    baselines: dict[str, np.ndarray]  # (stretches,)
    us: dict[str, np.ndarray]  # (stretches,), microseconds per step and network
    numbers: dict[str, int]
    skipped: dict[str, np.ndarray]  # (seeds,), updates that were not finite

    @classmethod
    def of(
        cls,
        config: Any,
        saved: Any,
        numbers: dict[str, int],
        skipped: dict[str, np.ndarray],
        symbols: np.ndarray,
    ) -> Self:
        """Return the results of what was saved."""
        done = int(saved.done)
        symbols = symbols[: done * config.stretch + 1]
        baselines = {"the last symbol again": data.persistence(symbols)}
        for order in ORDERS:
            plural = "" if order == 1 else "s"
            name = f"counts after {order} symbol{plural}"
            baselines[name] = data.counting(symbols, order)
        seconds = {name: np.asarray(s)[:done] for name, s in saved.seconds.items()}
        scale = 1e6 / config.stretch / config.seeds
        return cls(
            steps=config.stretch * np.arange(1, done + 1),
            bits={
                name: np.asarray(saved.bits[name])[:, :done]
                for name in NAMES  # what was restored has another order
                if name in saved.bits
            },
            baselines={
                name: each.reshape(done, -1).mean(1) for name, each in baselines.items()
            },
            us={name: scale * each for name, each in seconds.items()},
            numbers=numbers,
            skipped=skipped,
        )


def table(console: Console, results: Results) -> None:
    """Print bits per symbol and what a step costs."""
    shown = Table(title="Bits per symbol", title_justify="left")
    shown.add_column("gradient", no_wrap=True)
    for name in ("mean", "last tenth", "µs/step", "numbers", "skipped"):
        shown.add_column(name, justify="right")
    for name, bits in results.bits.items():
        each = [f"{value:.4f}" for value in means(bits.mean(0))]
        us = f"{np.median(results.us[name]):.0f}"
        costs = us, f"{results.numbers[name]:,}", f"{results.skipped[name].sum()}"
        shown.add_row(NAMES[name], *each, *costs)
    shown.add_section()
    for name, bits in results.baselines.items():
        shown.add_row(name, *(f"{value:.4f}" for value in means(bits)))
    console.print(shown)
    seeds = len(next(iter(results.bits.values())))
    console.print(
        f"Means of {seeds} seeds. Each symbol counts before it is learned. Times are "
        "medians over stretches, of a network of several that learn side by side. "
        "Updates whose gradient was not finite are skipped."
    )


def means(bits: np.ndarray) -> tuple[float, float]:
    """Return the mean of all stretches, and that of the last tenth."""
    last = max(1, len(bits) // 10)
    return float(bits.mean()), float(bits[-last:].mean())


def write(path: Path, results: Results) -> None:
    """Write every stretch as a row; baselines have no seed and no cost."""
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for name, bits in results.bits.items():
            for seed, mine in enumerate(bits):
                for step, bit, us in zip(
                    results.steps, mine, results.us[name], strict=True
                ):
                    row = (step, name, seed, f"{bit:.5f}", f"{us:.1f}")
                    costs = results.numbers[name], results.skipped[name][seed]
                    writer.writerow((*row, *costs))
        for name, bits in results.baselines.items():
            for step, bit in zip(results.steps, bits, strict=True):
                writer.writerow((step, name, "", f"{bit:.5f}", "", "", ""))


def markdown(rows: list[dict[str, str]]) -> list[str]:
    """Return the lines of the table on the page, from the rows that `write` wrote."""
    lines = [
        "| gradient | bits per symbol | last tenth | µs a step | kept | skipped |",
        "|---|---|---|---|---|---|",
    ]
    found: dict[str, list[dict[str, str]]] = {}
    for row in rows:
        found.setdefault(row["way"], []).append(row)
    for way, mine in found.items():
        last = max(int(row["steps"]) for row in mine)
        late = [row for row in mine if int(row["steps"]) > 0.9 * last]
        bits = [
            f"{np.mean([float(r['bits']) for r in part]):.3f}" for part in (mine, late)
        ]
        costs = [""] * 3
        if mine[0]["numbers"]:
            us = np.median([float(row["us_per_step"]) for row in mine])
            skipped = sum(
                int(row["skipped"]) for row in mine if row["steps"] == str(last)
            )
            costs = [f"{us:.0f}", f"{int(mine[0]['numbers']):,}", f"{skipped:,}"]
        lines.append(f"| {' | '.join([NAMES.get(way, way), *bits, *costs])} |")
    return lines


def picture(path: Path, results: Results) -> None:
    """Save the running loss of each way, and how far each is from the first."""
    panels = {
        cell: [name for name in names if name in results.bits]
        for cell, names in PANELS.items()
    }
    panels = {cell: names for cell, names in panels.items() if names}
    figure = Figure(figsize=(1 + 5.5 * len(panels), 8), layout="constrained")
    figure.suptitle(
        "Learning from a stream: each symbol is predicted, then learned, once",
        fontsize=14,
        fontweight="bold",
    )
    grid = figure.subplots(
        2, len(panels), squeeze=False, sharex=True, sharey="row", height_ratios=(3, 2)
    )
    for n, (cell, names) in enumerate(panels.items()):
        grid[0, n].set_title(cell)
        losses(grid[0, n], results, names)
        against(grid[1, n], results, names)
    for axes in grid.ravel():
        axes.grid(alpha=0.3)
        axes.xaxis.set_major_formatter(lambda x, _: f"{x / 1000:,.0f}k")
    for axes in grid[1]:
        axes.set_xlabel("steps; running means, bands: the seeds")
    grid[0, 0].set_ylabel("bits per symbol")
    figure.savefig(path, dpi=130)


def losses(axes: Axes, results: Results, names: list[str]) -> None:
    """Draw the running loss of each way and of those that only count."""
    smooth = max(1, len(results.steps) // 20)
    steps = results.steps[smooth - 1 :]
    told, *counted = results.baselines.items()
    mean = told[1].mean()
    axes.plot([], [], " ", label=f"{told[0]}: {mean:.2f}, above the picture")
    for (label, bits), style in zip(counted, ("--", ":"), strict=True):
        axes.plot(steps, running(bits, smooth), style, color="#777777", label=label)
    for n, name in enumerate(names):
        curves = np.stack([running(b, smooth) for b in results.bits[name]])
        band(axes, steps, curves, name, n)
    lowest = min(bits.min() for bits in results.bits.values())
    axes.set_ylim(0.95 * lowest, 1.25 * running(counted[0][1], smooth).max())
    axes.legend(frameon=False, fontsize=9, loc="upper right", ncols=2)


def against(axes: Axes, results: Results, names: list[str]) -> None:
    """Draw the running difference of each way from the first one, seed by seed."""
    smooth = max(1, len(results.steps) // 10)
    steps = results.steps[smooth - 1 :]
    for n, name in enumerate(names):
        more = results.bits[name] - results.bits[names[0]]
        band(axes, steps, np.stack([running(m, smooth) for m in more]), name, n)
    axes.set_ylim(-0.06, 0.06)
    axes.set_ylabel(f"bits per symbol, minus {short(names[0])}")


def band(axes: Axes, steps: Any, curves: np.ndarray, name: str, dash: int) -> None:
    """Draw the mean over seeds, and a band from the lowest to the highest."""
    colour = COLOURS[name]
    low, high = curves.min(0), curves.max(0)
    axes.fill_between(steps, low, high, color=colour, alpha=0.2, linewidth=0)
    style = "-" if dash != 1 else (0, (4, 3))  # it lies on the first
    label = short(name)
    axes.plot(steps, curves.mean(0), ls=style, color=colour, linewidth=2, label=label)


def short(name: str) -> str:
    """Return the name of a way without that of the cell."""
    return NAMES[name].partition(",")[0]


def running(bits: np.ndarray, smooth: int) -> np.ndarray:
    """Return the mean of the last stretches, `(stretches - smooth + 1,)`."""
    return np.convolve(bits, np.ones(smooth) / smooth, mode="valid")
