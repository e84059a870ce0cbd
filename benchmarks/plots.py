# SPDX-License-Identifier: Apache-2.0
"""Pictures of result files."""

import pathlib

import matplotlib

matplotlib.use("agg")

import matplotlib.pyplot as plt  # noqa: E402

from benchmarks.pages import NAMES  # noqa: E402
from benchmarks.peers.ours import DEFAULT  # noqa: E402
from benchmarks.results import BEST, ratios, unique  # noqa: E402

COLORS = plt.get_cmap("tab10").colors
MARKERS = "osDv^P*Xhd<>p"
GRAY = "0.35"
# The same in every picture: the colour of a library, its marker, and the marker of its
# second contender.
LIBRARIES = {
    "linen": (COLORS[2], "D", "v"),
    "nnx": (COLORS[4], "^", "^"),
    "haiku": (COLORS[5], "P", "P"),
    "equinox": (COLORS[6], "*", "*"),
    "keras": (COLORS[1], "X", "X"),
    "torch": (COLORS[0], "h", "d"),
    "cudnn": (COLORS[3], "p", "p"),
}
SECOND = "linen Optimized", ", 1 thread"  # in the name of a second contender
STRATEGIES = {"Deferred": "o", "Fused": "s", "Autodiff": "<", "Checkpointed": ">"}


def ratio_by_shape(folder: pathlib.Path, rows: list[dict]) -> list[pathlib.Path]:
    """Draw one picture for each cell: time over our time, by shape."""
    plt.rcParams.update({"font.size": 9, "savefig.dpi": 150})
    paths = []
    for cell in unique(rows, "cell"):
        directions = [d for d in unique(rows, "direction") if ratios(rows, cell, d)]
        figure = _picture(rows, cell, directions)
        paths.append(folder / f"ratio-{cell.replace(' ', '-')}.png")
        figure.savefig(paths[-1])
        plt.close(figure)
    return paths


def _picture(rows: list[dict], cell: str, directions: list[str]) -> plt.Figure:
    tables = {d: ratios(rows, cell, d) for d in directions}
    shapes = list(next(iter(tables.values()))[DEFAULT])
    names = list(dict.fromkeys(name for table in tables.values() for name in table))
    names = sorted((n for n in names if n not in (DEFAULT, *BEST)), key=_place)
    figure, axes = plt.subplots(
        1,
        len(directions),
        figsize=(1 + 4.2 * len(directions), 2.2 + 0.42 * len(shapes)),
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    for axis, direction in zip(axes[0], directions, strict=True):
        for number, name in enumerate(names):
            offset = 0.75 * ((number + 0.5) / len(names) - 0.5)
            points = tables[direction].get(name, {})
            at = [shapes.index(shape) + offset for shape in points]
            axis.scatter(list(points.values()), at, label=name, **_look(name))
        _dress(axis, direction, shapes)
    axes[0][0].set_ylabel("T, B, D, H")
    cell = NAMES.get(cell, cell).replace("`", "")
    figure.suptitle(f"{cell}: time of others over that of recurrent_jax")
    # Every panel has every name, if only for the legend.
    handles, labels = axes[0][-1].get_legend_handles_labels()
    columns = 2 * len(directions)
    figure.legend(
        handles, labels, loc="outside lower center", ncols=columns, frameon=False
    )
    return figure


def _place(name: str) -> int:
    """Return where a contender stands: ours first, then library by library."""
    library, _, rest = name.partition(" ")
    if library == DEFAULT:
        return list(STRATEGIES).index(rest)
    return len(STRATEGIES) + list(LIBRARIES).index(library)


def _look(name: str) -> dict:
    """Return how a contender is drawn: filled, or hollow if it is ours."""
    library, _, rest = name.partition(" ")
    if library == DEFAULT:
        color, marker = GRAY, STRATEGIES[rest]
    else:
        color, *markers = LIBRARIES[library]
        marker = markers[any(part in name for part in SECOND)]
    return {
        "marker": marker,
        "facecolors": "none" if library == DEFAULT else color,
        "edgecolors": color,
        "s": 30,
        "linewidths": 1.2,
        "zorder": 3,
    }


def _dress(axis: plt.Axes, direction: str, shapes: list[str]) -> None:
    axis.set_title(direction)
    axis.set_xscale("log", base=2)
    low, high = axis.get_xlim()
    axis.set_xlim(min(low, 0.45), max(high, 2.2))
    axis.xaxis.set_major_formatter(lambda value, _: f"{value:g}x")
    axis.axvline(1, color=GRAY, lw=1.2)
    axis.set_yticks(range(len(shapes)), [f"({s.replace(',', ', ')})" for s in shapes])
    axis.set_ylim(len(shapes) - 0.5, -0.5)
    axis.set_xlabel("above 1x: recurrent_jax is faster")
    axis.grid(axis="x", color="0.9")
    for row in range(1, len(shapes)):
        axis.axhline(row - 0.5, color="0.9", lw=0.8)
    axis.spines[["top", "right"]].set_visible(False)


PANELS = {
    "peak_bytes": ("peak memory", "bytes"),
    "us_per_step": ("time of a step", "microseconds"),
    "compile_s": ("compilation", "seconds"),
    "equations": ("jaxpr", "equations"),
}


def against_time(folder: pathlib.Path, rows: list[dict], title: str) -> pathlib.Path:
    """Draw memory, time and compilation against the number of steps."""
    plt.rcParams.update({"font.size": 9, "savefig.dpi": 150})
    figure, axes = plt.subplots(2, 2, figsize=(9, 6.4), layout="constrained")
    for axis, (column, (name, unit)) in zip(axes.flat, PANELS.items(), strict=True):
        for number, way in enumerate(unique(rows, "way")):
            points = [(r["T"], r[column]) for r in rows if r["way"] == way]
            axis.plot(
                *zip(*[p for p in points if p[1] is not None], strict=True),
                marker=MARKERS[number],
                ms=9 if "default" in way else 5,  # it hides behind another
                color=COLORS[number],
                mfc="none" if "default" in way else COLORS[number],
                label=way,
            )
        axis.set_xscale("log")
        if column == "peak_bytes":
            axis.set_yscale("log")
        else:
            axis.set_ylim(bottom=0)
        axis.set_title(f"{name} ({unit})")
        axis.set_xlabel("steps T")
        axis.grid(color="0.9")
        axis.spines[["top", "right"]].set_visible(False)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
    figure.suptitle(title)
    path = folder / "memory.png"
    figure.savefig(path)
    plt.close(figure)
    return path


def methods_against_time(
    folder: pathlib.Path, rows: list[dict], loop: str, titles: dict[str, str]
) -> pathlib.Path:
    """Draw how many times as fast as the loop each method of a cell is, against T.

    The titles are by the names of the cells in the rows.
    """
    plt.rcParams.update({"font.size": 9, "savefig.dpi": 150})
    cells, directions = unique(rows, "cell"), unique(rows, "direction")
    columns = min(4, len(cells))
    bands = -(-len(cells) // columns)  # of as many rows as there are directions
    figure, axes = plt.subplots(
        bands * len(directions),
        columns,
        figsize=(1 + 2.2 * columns, 1 + 2.2 * bands * len(directions)),
        layout="constrained",
        sharex=True,
        sharey=True,
        squeeze=False,
    )
    for axis in axes.flat:
        axis.set_visible(False)  # unless there is a cell for it
    labels = [name for name in unique(rows, "contender") if name != loop]
    time = {
        (r["cell"], r["direction"], r["contender"], r["T"]): r["min_ms"] for r in rows
    }
    for row, direction in enumerate(directions):
        for place, cell in enumerate(cells):
            band, column = divmod(place, columns)
            axis = axes[band * len(directions) + row, column]
            axis.set_visible(True)
            axis.axhline(1, color="0.6", lw=1)
            for number, label in enumerate(labels):
                points = [
                    (
                        T,
                        time[cell, direction, loop, T]
                        / time[cell, direction, label, T],
                    )
                    for T in unique(rows, "T")
                    if (cell, direction, label, T) in time
                ]
                if points:
                    axis.plot(
                        *zip(*points, strict=True),
                        marker=MARKERS[number],
                        color=COLORS[number],
                        ms=8 if label == "default" else 5,  # it hides behind another
                        mfc="none" if label == "default" else COLORS[number],
                        label=label,
                    )
            axis.set_xscale("log")
            axis.set_yscale("log")
            axis.grid(color="0.9")
            axis.spines[["top", "right"]].set_visible(False)
            if row == 0:
                axis.set_title(titles[cell])
            if row == len(directions) - 1:
                axis.set_xlabel("steps T")
                axis.tick_params(labelbottom=True)  # `sharex` hides all but the last
            if column == 0:
                axis.set_ylabel(f"{direction}\ntimes as fast as the loop")
    lines = {
        label: line
        for axis in axes.flat
        for line, label in zip(*axis.get_legend_handles_labels(), strict=True)
    }
    figure.legend(
        lines.values(), lines, loc="outside lower center", ncols=5, frameon=False
    )
    path = folder / "parallel.png"
    figure.savefig(path)
    plt.close(figure)
    return path
