# SPDX-License-Identifier: Apache-2.0
"""The table and the picture."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

WINDOW = 8  # steps over which the accuracy of parity is averaged
SOLVED = 0.99  # accuracy of every seed, at which a number is bold
COLOURS = ("#0072b2", "#e69f00", "#999999", "#cc79a7", "#56b4e9", "#009e73", "#000000")
STYLES = ("-", "-", "-", "-", "--", "-", ":")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
CELLS = {  # colours and markers of the other panels
    "LRU": ("#0072b2", "o"),
    "MinGRU": ("#e69f00", "s"),
    "MinLSTM": ("#d55e00", "*"),
    "LSTM": ("#000000", "X"),
}
TRACKING = {"parity": "Parity", "swaps": "Swaps of three things"}
TITLES = {"copying": "Selective copying", "recall": "Recall"}
NOTE = (
    "Means over {seeds} seeds; bold if every seed is at least {solved:.0%} right.\n"
    "Chance: {chances}.\n"
    "Parity and swaps are learned over {length} steps. The accuracy up to a step is\n"
    "that of the last {window} answers. Negative stands for negative_eigenvalues=True."
)


class Result(NamedTuple):
    """The accuracy of one network on one task."""

    panel: str
    name: str
    chance: float
    updates: list[int]
    curve: list[list[float]]  # by check and seed, at the length of training
    steps: list[list[float]]  # by seed and answer, after training
    seconds: float

    def upto(self, length: int) -> np.ndarray:
        """Return the accuracy of each seed over the last few answers to a step."""
        return np.asarray(self.steps)[:, :length][:, -WINDOW:].mean(1)


def table(console: Console, results: list[Result], length: int, tested: int) -> None:
    """Print the accuracy of every network, for each task."""
    steps = marks(length, tested)
    for panel, title in TRACKING.items():
        shown = Table(title=f"{title}: accuracy up to a step", title_justify="left")
        shown.add_column("")
        for step in steps:
            shown.add_column(str(step), justify="right")
        for result in results:
            if result.panel == panel:
                each = (entry(result.upto(step)) for step in steps)
                shown.add_row(result.name, *each)
        if shown.rows:
            console.print(shown)
    for panel, title in TITLES.items():
        shown = Table(title=f"{title}: accuracy", title_justify="left")
        shown.add_column("")
        for column in ("mean", "worst seed"):
            shown.add_column(column, justify="right")
        for result in results:
            if result.panel == panel:
                each = np.mean(result.steps, axis=1)
                shown.add_row(result.name, entry(each), f"{each.min():.1%}")
        if shown.rows:
            console.print(shown)
    chances = {result.panel: result.chance for result in results}
    console.print(
        NOTE.format(
            seeds=len(results[0].steps),
            solved=SOLVED,
            chances=", ".join(f"{c:.0%} in {panel}" for panel, c in chances.items()),
            length=length,
            window=WINDOW,
        ),
        highlight=False,
    )


def entry(each: np.ndarray) -> str:
    """Return the mean over seeds, in bold where every seed is nearly always right."""
    shown = f"{each.mean():.1%}"
    return f"[bold]{shown}[/bold]" if each.min() >= SOLVED else shown


def marks(length: int, tested: int) -> list[int]:
    """Return the length of training, and further ones up to that of the test."""
    return [
        length,
        *(2**n for n in range(3, 20) if length < 2**n < tested),
        tested,
    ]


def picture(
    path: Path, results: list[Result], length: int, lengths: dict[str, int]
) -> None:
    """Save the accuracy by step of two tasks, and the curves of the other two."""
    figure = Figure(figsize=(11, 11), layout="constrained")
    figure.suptitle(
        "What cells that are linear in their state can and cannot do",
        fontsize=14,
        fontweight="bold",
    )
    panels = figure.subplots(2, 2).ravel()
    for axes, panel in zip(panels[:2], TRACKING, strict=True):
        draw_tracking(axes, results, panel, length)
    for axes, (panel, title) in zip(panels[2:], TITLES.items(), strict=True):
        draw_curves(axes, results, panel)
        axes.set(title=f"{title}, {lengths[panel]:,} steps", xlabel="updates")
    for axes in panels:
        axes.set(ylabel="accuracy, mean and range over seeds", ylim=(0, 1.04))
        axes.yaxis.set_major_formatter(lambda y, _: f"{y:.0%}")
        axes.grid(alpha=0.3)
        if axes.lines:  # not of a task that Ctrl-C left out
            axes.legend(
                loc="upper center", bbox_to_anchor=(0.5, -0.13), ncols=2, frameon=False
            )
    figure.savefig(path, dpi=130)


def draw_tracking(axes: Axes, results: list[Result], panel: str, length: int) -> None:
    """Draw the accuracy of each network by step, after training."""
    shown = [result for result in results if result.panel == panel]
    axes.axvspan(0, length, color="#999999", alpha=0.15, lw=0)
    for n, result in enumerate(shown):
        steps = np.asarray(result.steps)
        count = steps.shape[1] // WINDOW
        each = steps[:, : count * WINDOW].reshape(len(steps), count, WINDOW).mean(-1)
        at = WINDOW * (np.arange(count) + 1)
        draw(axes, at, each, result.name, COLOURS[n], STYLES[n], MARKERS[n])
    chance(axes, shown)
    axes.text(
        length / 2, 0.22, "trained", color="#555555", ha="center", rotation="vertical"
    )
    title = f"{TRACKING[panel]}, trained on {length} steps"
    axes.set(title=title, xlabel="step of the test")


def draw_curves(axes: Axes, results: list[Result], panel: str) -> None:
    """Draw the accuracy of each network during training."""
    shown = [result for result in results if result.panel == panel]
    for result in shown:
        cell, _, layers = result.name.partition(", ")
        style = {"1": ":", "2": "--"}.get(layers[:1], "-")
        each = np.asarray(result.curve).T
        colour, marker = CELLS[cell]
        draw(axes, result.updates, each, result.name, colour, style, marker)
    chance(axes, shown)


def draw(
    axes: Axes,
    at: list[int] | np.ndarray,
    each: np.ndarray,
    name: str,
    colour: str,
    style: str,
    marker: str,
) -> None:
    """Draw a mean over seeds, and their range."""
    axes.fill_between(at, each.min(0), each.max(0), color=colour, alpha=0.12, lw=0)
    axes.plot(
        at,
        each.mean(0),
        style,
        color=colour,
        marker=marker,
        markersize=5,
        markevery=max(1, len(at) // 5),
        label=name,
    )


def chance(axes: Axes, shown: list[Result]) -> None:
    """Draw the accuracy of a random answer."""
    if shown:
        axes.axhline(
            shown[0].chance, color="#777777", lw=1, ls=(0, (1, 1)), label="chance"
        )
