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
    for n, cell in enumerate(unique(rows, "cell")):
        for converged, filled in ((True, COLORS[n]), (False, "none")):
            mine = [
                row
                for row in rows
                if row["cell"] == cell and row["converged"] == converged
            ]
            axis.scatter(
                [row["exponent"] for row in mine],
                [row["iterations"] for row in mine],
                facecolor=filled,
                edgecolor=COLORS[n],
                marker=MARKERS[n],
                label=f"{cell}, {'converged' if converged else 'not converged'}",
            )
    axis.axvline(0, color="0.5", linewidth=1)
    axis.set(xlabel="largest Lyapunov exponent, nats per step", ylabel="iterations")
    axis.set_title("Drawn cells: iterations against chaos")
