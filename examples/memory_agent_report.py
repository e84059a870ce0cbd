# SPDX-License-Identifier: Apache-2.0
"""The table and the picture."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

COLOURS = {
    "lstm": "#0072b2",
    "gru": "#d55e00",
    "min_gru": "#009e73",
    "lru": "#cc79a7",
    "none": "#666666",
}
NAMES = {
    "lstm": "LSTM",
    "gru": "GRU",
    "min_gru": "MinGRU",
    "lru": "LRU",
    "none": "no memory",
}
OF_RESETS = {"right": "#0072b2", "none": "#e69f00", "dones": "#b00020"}
SHORT = {
    "right": "right resets",
    "none": "no resets",
    "dones": "dones passed as resets",
}
LAST = 0.1  # part of the updates that counts for the final rate
SMOOTH = 5  # updates in a running mean


class Results(NamedTuple):
    """Wins and choices in each rollout, `(seeds, updates, 2)`, by cell and resets."""

    counts: dict[tuple[str, str], np.ndarray]
    chance: float
    updates: int

    def final(self, cell: str, how: str) -> np.ndarray:
        """Return the rate of success of each seed at the end."""
        counts = self.counts[cell, how]
        last = max(1, round(LAST * counts.shape[1]))
        wins, choices = np.moveaxis(counts[:, -last:].sum(1), -1, 0)
        return wins / np.maximum(choices, 1)

    def curves(self, cell: str, how: str) -> np.ndarray:
        """Return the rate of success of each seed, a running mean over updates."""
        sums = np.cumsum(np.pad(self.counts[cell, how], ((0, 0), (1, 0), (0, 0))), 1)
        after = np.arange(1, sums.shape[1])
        before = np.maximum(after - SMOOTH, 0)
        wins, choices = np.moveaxis(sums[:, after] - sums[:, before], -1, 0)
        return wins / np.maximum(choices, 1)


def table(console: Console, results: Results, resets: Mapping[str, str]) -> None:
    """Print the final rate of success of every kind of agent."""
    shown = Table(title="Right doors chosen", title_justify="left")
    shown.add_column("memory")
    shown.add_column("resets")
    for name in ("mean", "worst seed", "best seed"):
        shown.add_column(name, justify="right")
    for cell, how in results.counts:
        final = results.final(cell, how)
        each = [f"{value:.1%}" for value in (final.mean(), final.min(), final.max())]
        shown.add_row(NAMES[cell], SHORT[how], f"[bold]{each[0]}[/bold]", *each[1:])
    shown.add_section()
    shown.add_row("guessing", "", f"{results.chance:.1%}")
    shown.add_row("optimum", "", "100.0%")
    console.print(shown)
    seeds, updates = next(iter(results.counts.values())).shape[:2]
    console.print(
        f"{seeds} seeds. Rates are those of acting, over the last "
        f"{max(1, round(LAST * updates))} of {updates} updates."
    )
    for how, text in resets.items():
        if any(how == one for _, one in results.counts):
            console.print(f"{SHORT[how]}: {text}.", soft_wrap=True)


def picture(path: Path, results: Results) -> None:
    """Save the learning curves: by cell, and by how episodes are told apart."""
    first = next(iter(results.counts))[0]
    mistakes = [how for cell, how in results.counts if cell == first]
    panels = 1 if len(mistakes) < 2 else 2
    figure = Figure(figsize=(6 * panels, 5), layout="constrained")
    figure.suptitle(
        "A signal at the start names the door to choose at the end",
        fontsize=14,
        fontweight="bold",
    )
    every = figure.subplots(1, panels, squeeze=False, sharey=True)[0]
    for cell, how in results.counts:
        if how == "right":
            draw(every[0], results, (cell, how), NAMES[cell], COLOURS[cell])
    every[0].set_title("memories, with right resets")
    if panels == 2:
        for how in mistakes:
            draw(every[1], results, (first, how), SHORT[how], OF_RESETS[how])
        every[1].set_title(f"{NAMES[first]}, with right and with wrong resets")
    for axes in every:
        finish(axes, results)
    every[0].set_ylabel("right doors chosen")
    figure.savefig(path, dpi=130)


def draw(
    axes: Axes, results: Results, run: tuple[str, str], label: str, colour: str
) -> None:
    """Draw the mean over seeds, and a band from the worst seed to the best."""
    curves = results.curves(*run)
    updates = np.arange(1, 1 + curves.shape[1])
    low, high = curves.min(0), curves.max(0)
    axes.fill_between(updates, low, high, color=colour, alpha=0.18, linewidth=0)
    axes.plot(updates, curves.mean(0), color=colour, linewidth=2, label=label)


def finish(axes: Axes, results: Results) -> None:
    """Mark chance and optimum, and label the axes."""
    for level, shift, text in (
        (results.chance, -0.09, "guessing"),
        (1, 0.02, "optimum"),
    ):
        axes.axhline(level, color="#999999", linewidth=1, linestyle="--", zorder=0)
        axes.text(0.99 * results.updates, level + shift, text, ha="right", fontsize=9)
    axes.set(
        xlabel="update (bands: from the worst seed to the best)",
        ylim=(0, 1.08),
        xlim=(0, results.updates),
    )
    axes.yaxis.set_major_formatter(lambda y, _: f"{y:.0%}")
    axes.grid(alpha=0.3)
    axes.legend(loc="center right", frameon=True, framealpha=0.9)
