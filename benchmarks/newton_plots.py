# SPDX-License-Identifier: Apache-2.0
"""Pictures of `benchmarks.newton`."""

import pathlib

import matplotlib

matplotlib.use("agg")

import matplotlib.pyplot as plt  # noqa: E402

from benchmarks.plots import COLORS, MARKERS  # noqa: E402
from benchmarks.results import unique  # noqa: E402


def draw(folder: pathlib.Path, rows: list[dict]) -> list[pathlib.Path]:
    """Draw a picture for each part that has rows; return their paths."""
    plt.rcParams.update({"font.size": 9, "savefig.dpi": 150})
    paths = []
    for part, picture in (("time", _against_time), ("drawn", _against_exponent)):
        mine = [row for row in rows if row["part"] == part]
        if mine:
            figure, axis = plt.subplots(figsize=(5.5, 3.6), layout="constrained")
            picture(axis, mine)
            axis.grid(alpha=0.3)
            axis.legend(frameon=False)
            paths.append(folder / f"newton-{part}.png")
            figure.savefig(paths[-1])
            plt.close(figure)
    return paths


def _against_time(axis: plt.Axes, rows: list[dict]) -> None:
    for n, cell in enumerate(unique(rows, "cell")):
        mine = [row for row in rows if row["cell"] == cell]
        axis.plot(
            [row["T"] for row in mine],
            [row["iterations"] for row in mine],
            color=COLORS[n],
            marker=MARKERS[n],
            markersize=13 - 3 * n,  # so that equal counts show beneath each other
            label=cell,
        )
    most = max(row["iterations"] for row in rows) + 1
    axis.set(xscale="log", xlabel="steps T", ylabel="iterations", ylim=(0, most))
    axis.set_title("Iterations of rj.Newton at initial parameters")


def _against_exponent(axis: plt.Axes, rows: list[dict]) -> None:
    """Draw cells that converged by iterations, and the others above the limit.

    Above the limit there is a row for each cell, so that marks do not hide each other.
    """
    cells = unique(rows, "cell")
    limit = max(row["iterations"] for row in rows)
    step = 0.05 * limit
    for n, cell in enumerate(cells):
        mine = [row for row in rows if row["cell"] == cell]
        done = [row for row in mine if _converged(row)]
        axis.scatter(
            [row["exponent"] for row in done],
            [row["iterations"] for row in done],
            color=COLORS[n],
            marker=MARKERS[n],
            alpha=0.7,
            label=cell,
        )
        others = [row["exponent"] for row in mine if not _converged(row)]
        axis.scatter(
            others,
            [limit + step * (len(cells) - n)] * len(others),
            facecolor="none",
            edgecolor=COLORS[n],
            marker=MARKERS[n],
        )
    if not all(map(_converged, rows)):
        top = limit + step * (len(cells) + 1)
        axis.axhline(limit, color="0.5", linewidth=1)
        axis.axhspan(limit, top, color="0.95", zorder=0)
        words = f"hollow: not converged at {limit:g},\nthe limit; a row for each cell"
        axis.text(0.02, limit + 0.5 * step, words, transform=axis.get_yaxis_transform())
        axis.set_ylim(0, top)
        axis.set_yticks([*range(0, int(limit), 10), limit])
    axis.axvline(0, color="0.5", linewidth=1)
    axis.set(xlabel="largest Lyapunov exponent, nats per step", ylabel="iterations")
    axis.set_title("Drawn cells: iterations against the Lyapunov exponent")


def _converged(row: dict) -> bool:
    return str(row["converged"]) == "True"  # text in a CSV file
