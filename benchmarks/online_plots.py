# SPDX-License-Identifier: Apache-2.0
"""Pictures of `benchmarks.online`."""

import pathlib
from typing import Any

import matplotlib

matplotlib.use("agg")

import matplotlib.pyplot as plt  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402

from benchmarks.online_cost import T  # noqa: E402
from benchmarks.plots import COLORS, MARKERS  # noqa: E402
from benchmarks.results import unique  # noqa: E402


def cosines(folder: pathlib.Path, rows: list[dict]) -> pathlib.Path:
    """Draw cosines to back-propagation by steps back, a row of panels for each depth.

    Learners that coincide lie on each other, so the markers of later ones are smaller.
    """
    cells, depths = unique(rows, "cell"), unique(rows, "depth")
    figure, grid = _panels(len(depths), len(cells))
    learners = unique(rows, "learner")
    for axes, depth in zip(grid, depths, strict=True):
        axes[0].set_ylabel(f"cosine, {_layers(depth)}")
        for axis, cell in zip(axes, cells, strict=True):
            here = [r for r in rows if (r["cell"], r["depth"]) == (cell, depth)]
            for n, learner in enumerate(learners):
                mine = [row for row in here if row["learner"] == learner]
                _line(axis, mine, "T", "cosine", n, learner)
            axis.set(xscale="log", ylim=(-0.1, 1.08))
            axis.set_xticks(unique(rows, "T"), [f"{t:g}" for t in unique(rows, "T")])
            axis.minorticks_off()
    for axis, cell in zip(grid[0], cells, strict=True):
        axis.set_title(cell)
    for axis in grid[-1]:
        axis.set_xlabel("steps back")
    return _save(figure, grid, folder / "online.png")


def costs(folder: pathlib.Path, rows: list[dict]) -> pathlib.Path:
    """Draw what a learner keeps, and the time of a step, against the units."""
    cells = unique(rows, "cell")
    figure, grid = _panels(2, len(cells))
    learners = unique(rows, "learner")
    sizes = unique(rows, "H")
    for column, cell in zip(grid.T, cells, strict=True):
        for n, learner in enumerate(learners):
            mine = [r for r in rows if (r["cell"], r["learner"]) == (cell, learner)]
            _line(column[0], mine, "H", "numbers", n, learner)
            _line(column[1], mine, "H", "times_bptt", n, learner)
        column[0].set_title(cell)
        column[1].axhline(1, color="0.5", linewidth=1)
        column[1].set_xlabel("units H")
    grid[0][0].set_ylabel("numbers kept")
    grid[1][0].set_ylabel(f"time of a step /\nstep of BPTT over {T} steps")
    for axis in grid.ravel():
        axis.set(xscale="log", yscale="log")
        axis.set_xticks(sizes, [f"{size:g}" for size in sizes])
        axis.minorticks_off()
    return _save(figure, grid, folder / "online-cost.png")


def _layers(depth: Any) -> str:
    return "one layer" if int(depth) == 1 else f"{int(depth)} layers"


def _panels(rows: int, columns: int) -> tuple[Figure, Any]:
    plt.rcParams.update({"font.size": 9, "savefig.dpi": 150})
    size = (1 + 2.4 * max(columns, 2), 0.9 + 2.2 * rows)
    return plt.subplots(
        rows,
        columns,
        figsize=size,
        sharex=True,
        sharey="row",
        squeeze=False,
        layout="constrained",
    )


def _line(axis: Any, rows: list[dict], x: str, y: str, n: int, label: str) -> None:
    look = {"color": COLORS[n], "marker": MARKERS[n], "markersize": 9 - n}
    axis.plot([row[x] for row in rows], [row[y] for row in rows], label=label, **look)


def _save(figure: Figure, grid: Any, path: pathlib.Path) -> pathlib.Path:
    for axis in grid.ravel():
        axis.grid(alpha=0.3)
    handles, labels = grid[0][0].get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside lower center", ncols=len(labels), frameon=False
    )
    figure.savefig(path)
    plt.close(figure)
    return path
