# SPDX-License-Identifier: Apache-2.0
"""The table and the picture."""

from pathlib import Path
from typing import NamedTuple

import captions_data as data
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from rich.console import Console
from rich.table import Table

SHOWN = 5  # test pictures in the figure
STYLES = (("#0060b0", "-"), ("#6fc3ff", ":"), ("#1b8a5a", "--"), ("#d95f02", "-."))
STYLES += (("#777777", ":"),)
TOO_LOW = ("most frequent caption",)  # to be drawn


class Results(NamedTuple):
    """Captions of the test by all methods."""

    name: str
    test: data.Captioned
    written: np.ndarray  # (STEPS, N)
    right: dict[str, np.ndarray]  # by method, (N,); the network comes first
    shown: np.ndarray  # (SHOWN,), which pictures are drawn
    attention: np.ndarray  # (STEPS, SHOWN, rows, columns)
    curve: np.ndarray  # (saves, 2)
    steps: int

    def by_length(self, right: np.ndarray) -> list[float]:
        """Return the share of right captions for each number of digits."""
        digits = np.asarray(self.test.lengths) - 1
        return [float(right[digits == n].mean()) for n in range(1, data.MOST + 1)]


def chosen(right: np.ndarray) -> np.ndarray:
    """Return which pictures to draw: the first ones, then the first wrong one."""
    first = np.arange(SHOWN)
    wrong = np.flatnonzero(~right[SHOWN - 1 :])
    first[-1] += wrong[0] if len(wrong) else 0
    return first


def table(console: Console, results: Results) -> None:
    """Print how many captions are right, by the number of digits."""
    shown = Table(
        title="Captions that are right to the last word", title_justify="left"
    )
    shown.add_column("")
    for n in range(1, data.MOST + 1):
        shown.add_column(f"{n} digit{'s' if n > 1 else ''}", justify="right")
    shown.add_column("all", justify="right")
    for name, right in results.right.items():
        shares = [*results.by_length(right), right.mean()]
        shown.add_row(name, *(f"{share:.1%}" for share in shares))
    console.print(shown)
    console.print(
        "Ideal crops: the method gets the number of digits and a crop of each digit.\n"
        "All methods use the same training digits. None of them is in the test."
    )
    console.print(verdict(results), highlight=False)


def verdict(results: Results) -> str:
    """Return a sentence that compares the network with the best baseline."""
    names = list(results.right)
    mine = results.right[names[0]]
    rival = max(names[2:], key=lambda name: results.right[name].mean())
    difference = mine.astype(float) - results.right[rival]
    lead = difference.mean()
    error = difference.std() / np.sqrt(len(difference))
    how = "wins by" if lead > 0 else "loses by"
    noise = ", within noise" if abs(lead) <= 2 * error else ""
    return (
        f"{names[0]}: {mine.mean():.1%} of {len(mine)} captions; "
        f"{how} {abs(lead):.1%} against {rival} (± {2 * error:.1%}){noise}.\n"
        "±: two standard errors over pictures, which share test digits; one training "
        "run."
    )


def picture(path: Path, results: Results) -> None:
    """Save the first test pictures with attention, and the accuracy."""
    figure = Figure(figsize=(13, 8.5), layout="constrained")
    names = list(results.right)
    share = results.right[names[0]].mean()
    figure.suptitle(
        f"Captions of pictures of digits: {share:.1%} right to the last word "
        "(one seed)",
        fontsize=14,
        fontweight="bold",
    )
    top, bottom = figure.subfigures(2, 1, height_ratios=[1.35, 1])
    draw_attention(top, results)
    left, right = bottom.subplots(1, 2)
    draw_accuracy(left, results)
    draw_curve(right, results)
    figure.savefig(path, dpi=130)


def draw_attention(figure: SubFigure, results: Results) -> None:
    """Draw the attention: a row for each picture, a panel for each word."""
    steps = len(results.written)
    axes = figure.subplots(SHOWN, steps + 1, squeeze=False)
    peak = results.attention.max()
    for row, n in enumerate(results.shown):
        image = np.asarray(results.test.pictures[n])
        truth = data.words(np.asarray(results.test.tokens[:, n]))
        said = data.words(results.written[:, n])
        axes[row, 0].imshow(image, cmap="gray_r")
        right = "right" if said == truth else f"wrong: {truth}"
        axes[row, 0].set_title(right, fontsize=10 if said == truth else 7)
        over = False
        for step in range(steps):
            panel, token = axes[row, step + 1], int(results.written[step, n])
            if over:
                panel.set_visible(False)
                continue
            extent = (-0.5, data.WIDTH - 0.5, data.HEIGHT - 0.5, -0.5)
            panel.imshow(image, cmap="gray_r", alpha=0.6)
            weights = results.attention[step, row]
            panel.imshow(
                weights, cmap="Oranges", alpha=0.6, extent=extent, vmin=0, vmax=peak
            )
            over = token == data.END
            panel.set_title("(end)" if over else data.WORDS[token], fontsize=11)
    for panel in axes.ravel():
        panel.set_xticks([])
        panel.set_yticks([])
    figure.suptitle(
        "attention for each word: the first test pictures, then the first with a wrong "
        "caption"
    )


def draw_accuracy(axes: Axes, results: Results) -> None:
    """Draw the share of right captions by the number of digits."""
    digits = np.arange(1, data.MOST + 1)
    for (name, right), (colour, line) in zip(
        results.right.items(), STYLES, strict=True
    ):
        shares = results.by_length(right)
        if name in TOO_LOW:
            continue
        axes.plot(digits, shares, line, marker="o", color=colour, lw=2, label=name)
    axes.set_title(f"right to the last word, {len(results.test.lengths)} pictures")
    axes.set_xlabel("digits in the picture")
    axes.set_xticks(digits)
    axes.set_ylabel("captions right")
    axes.set_ylim(top=1.01)
    axes.grid(alpha=0.3)
    below = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.16), "ncols": 2}
    axes.legend(frameon=False, fontsize=9, **below)


def draw_curve(axes: Axes, results: Results) -> None:
    """Draw training loss and validation accuracy over the training steps."""
    saves = len(results.curve)
    steps = np.linspace(0, results.steps, saves + 1)[1:]
    axes.plot(steps, results.curve[:, 1], "o-", color=STYLES[0][0], lw=2)
    axes.set_title("validation: captions right, greedy")
    axes.set_xlabel("training steps")
    axes.set_ylabel("captions right")
    axes.set_ylim(0, 1.02)
    axes.grid(alpha=0.3)
    loss = axes.twinx()
    loss.plot(steps, results.curve[:, 0], ":", color="#777777", lw=2)
    loss.set_ylabel("training loss, nats per word (dotted)")
    loss.set_ylim(bottom=0)
