# SPDX-License-Identifier: Apache-2.0
"""The table and the picture."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from rich.console import Console
from rich.table import Table

from recurrent_jax import diagnostics

COLOURS = ("#0072b2", "#e69f00", "#d55e00", "#000000", "#009e73")
MARKERS = ("o", "s", "^", "D", "v")
LEAST = 0.01  # lower values are drawn here
NOTE = (
    "Solved: at most {solved:.0%} of the loss without memory, within {steps} steps.\n"
    "Lengths run in order, up to the first that is not solved. There is one seed,\n"
    "so a difference of one length is not significant.\n"
    "* Before training, for the first task at the longest length: the decades that\n"
    "the gradient of the last output gains over 100 steps backward."
)


class Results(NamedTuple):
    """The results."""

    curves: dict[tuple[str, str, int], list[float]]  # task, network, length
    gradients: dict[str, np.ndarray]  # by network, before training
    lengths: tuple[int, ...]
    tasks: tuple[str, ...]
    solved: float

    def longest(self, task: str, network: str) -> int:
        """Return the longest length solved, or 0."""
        return max(
            (
                length
                for length in self.lengths
                if self.last(task, network, length) <= self.solved
            ),
            default=0,
        )

    def last(self, task: str, network: str, length: int) -> float:
        """Return the last loss of training, or NaN."""
        return self.curves.get((task, network, length), [np.nan])[-1]

    def decades(self, network: str) -> float:
        """Return the decades that a gradient gains over 100 steps."""
        return float(diagnostics.decades(self.gradients[network]))


def table(console: Console, results: Results, steps: int) -> None:
    """Print the longest length of each task that each network solves."""
    shown = Table(title="Longest length solved", title_justify="left")
    shown.add_column("")
    for task in results.tasks:
        shown.add_column(task, justify="right")
    shown.add_column("gradient*", justify="right")
    for network in results.gradients:
        cells = [entry(results, task, network) for task in results.tasks]
        shown.add_row(network, *cells, f"{results.decades(network):+.2f}")
    console.print(shown)
    console.print(NOTE.format(steps=steps, solved=results.solved))


def entry(results: Results, task: str, network: str) -> str:
    """Return the longest length solved, and the loss left at the next one."""
    longest = results.longest(task, network)
    for length in results.lengths:
        last = results.last(task, network, length)
        if last > results.solved:
            return f"[bold]{longest or '-'}[/bold] ({last:.0%} left at {length})"
    return f"[bold]{longest or '-'}[/bold]"


def picture(path: Path, results: Results) -> None:
    """Save the loss by length for each task, and the gradient by lag."""
    count = len(results.tasks) + 1
    rows = 1 if count == 2 else 2
    figure = Figure(figsize=(11, 1 + 4 * rows), layout="constrained")
    figure.suptitle(
        "Tasks solved at growing length, and the gradient before training",
        fontsize=14,
        fontweight="bold",
    )
    panels = figure.subplots(rows, 2).flatten()
    for axes, task in zip(panels, results.tasks, strict=False):
        draw_task(axes, results, task)
    draw_gradients(panels[count - 1], results)
    for axes in panels[count:]:
        axes.remove()
    handles, labels = panels[count - 1].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
    figure.savefig(path, dpi=130)


def draw_task(axes: Axes, results: Results, task: str) -> None:
    """Draw the remaining loss of every network by length."""
    axes.axhspan(LEAST / 2, results.solved, color="#009e73", alpha=0.08, lw=0)
    axes.axhline(1, color="#bbbbbb", linewidth=1)
    networks = zip(results.gradients, COLOURS, MARKERS, strict=False)
    for place, (network, colour, marker) in enumerate(networks):
        left = [results.last(task, network, length) for length in results.lengths]
        aside = 1.015 ** (place - 2)  # so that no point hides another
        axes.plot(
            np.multiply(results.lengths, aside),
            np.clip(left, LEAST, 1.9),
            marker=marker,
            color=colour,
            alpha=0.85,
        )
    axes.set(
        xscale="log",
        yscale="log",
        ylim=(0.9 * LEAST, 2),
        title=task,
        xlabel="length, steps",
    )
    axes.set_ylabel("loss, relative to that without memory")
    axes.set_xlim(0.85 * results.lengths[0], 1.18 * results.lengths[-1])
    axes.text(
        0.97, 0.03, "solved", color="#006b4e", ha="right", transform=axes.transAxes
    )
    axes.set_xticks(results.lengths, [str(n) for n in results.lengths])
    axes.minorticks_off()
    axes.grid(alpha=0.3)


def draw_gradients(axes: Axes, results: Results) -> None:
    """Draw the gradient by lag of the untrained networks."""
    for (network, curve), colour, marker in zip(
        results.gradients.items(), COLOURS, MARKERS, strict=False
    ):
        mean = curve.reshape(len(curve), -1).mean(1)
        axes.plot(
            np.arange(1, len(curve) + 1),
            np.where(np.isfinite(mean), mean, np.nan),
            color=colour,
            marker=marker,
            markevery=max(1, len(curve) // 5),
            label=f"{network} ({results.decades(network):+.2f} decades / 100 steps)",
        )
    axes.axhline(0, color="#bbbbbb", linewidth=1)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.yaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.yaxis.set_major_formatter(lambda y, _: f"$10^{{{y:g}}}$")
    axes.set(title="gradient by lag, untrained", xlabel="steps back from the loss")
    axes.set_ylabel("gradient norm")
    axes.grid(alpha=0.3)
