# SPDX-License-Identifier: Apache-2.0
"""The table and the picture."""

from pathlib import Path
from typing import NamedTuple

import classify_data as data
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

COLOURS = {True: "#0072b2", False: "#d55e00"}
GREY = "#777777"


class Results(NamedTuple):
    """The results of training."""

    name: str
    curves: dict[bool, np.ndarray]  # by clipping: (seeds, epochs, 3)
    logistic: float
    digits: data.Digits
    guesses: np.ndarray  # on the test, of the first seed with clipping
    max_norm: float

    def label(self, clip: bool) -> str:
        """Return the name of the networks with or without clipping."""
        how = f"clipped at norm {self.max_norm:g}" if clip else "not clipped"
        return f"{self.name}, {how}"


def table(console: Console, results: Results) -> None:
    """Print the accuracy of all methods."""
    shown = Table(title="Accuracy on the test", title_justify="left")
    shown.add_column("")
    for title in ("mean", "seeds", "largest gradient"):
        shown.add_column(title, justify="right")
    for clip, curves in results.curves.items():
        accuracy, largest = curves[:, -1, 1], curves[:, :, 2].max()
        shown.add_row(
            results.label(clip),
            f"[bold]{accuracy.mean():.1%}[/bold]",
            ", ".join(f"{a:.1%}" for a in accuracy),
            f"{largest:.1f}",
        )
    shown.add_row("logistic regression, here", f"{results.logistic:.1%}")
    shown.add_section()
    for name, accuracy in data.PUBLISHED.items():
        shown.add_row(f"{name}, published", f"{accuracy:.0%}")
    console.print(shown)
    console.print(
        "Accuracy after the last epoch; the test selected nothing. Published: models\n"
        "of the data set's paper, which are smaller and were trained differently."
    )
    console.print(verdict(results), highlight=False)


def verdict(results: Results) -> str:
    """Return a sentence that compares the network with the published GRU."""
    mean = results.curves[True][:, -1, 1].mean()
    lead = 100 * (mean - data.PUBLISHED["GRU"])
    how = f"{abs(lead):.1f} points {'above' if lead > 0 else 'below'} the published GRU"
    error = np.sqrt(mean * (1 - mean) / len(results.digits.y_test))
    return f"{mean:.1%} correct, {how}; ±{2 * error:.1%} from the size of the test."


def picture(path: Path, results: Results) -> None:
    """Save the figure: test series, accuracy by epoch, and gradient norms."""
    figure = Figure(figsize=(12, 8), layout="constrained")
    mean = results.curves[True][:, -1, 1].mean()
    figure.suptitle(
        f"MNIST-1D: {results.name} in both directions, {mean:.1%} of the test correct",
        fontsize=14,
        fontweight="bold",
    )
    top, bottom = figure.subfigures(2, 1, height_ratios=(2, 3))
    for number, axes in enumerate(top.subplots(2, 5, sharey=True).flat):
        draw_series(axes, results, number)
    left, right = bottom.subplots(1, 2)
    draw_accuracy(left, results)
    draw_gradients(right, results)
    figure.savefig(path, dpi=130)


def draw_series(axes: Axes, results: Results, number: int) -> None:
    """Draw the first test series of a digit."""
    truth = np.asarray(results.digits.y_test)
    found = np.flatnonzero(truth == number)
    axes.set_xticks([])
    axes.set_yticks([])
    if not len(found):
        return
    guess = int(results.guesses[found[0]])
    right = guess == number
    colour = "black" if right else COLOURS[False]
    axes.plot(np.asarray(results.digits.x_test[found[0]]), color=colour, linewidth=1.5)
    said = "" if right else f", read as {guess}"
    axes.set_title(f"{number}{said}", color=colour, fontsize=11)


def draw_accuracy(axes: Axes, results: Results) -> None:
    """Draw the accuracy by epoch, and that of the baselines."""
    for clip, curves in results.curves.items():
        epochs = np.arange(1, curves.shape[1] + 1)
        each = curves[:, :, 1]
        colour, line = COLOURS[clip], "-" if clip else "--"
        mean, label = each.mean(0), name_of(clip)
        axes.plot(epochs, mean, line, marker=".", color=colour, lw=2, label=label)
        axes.fill_between(
            epochs, each.min(0), each.max(0), color=colour, alpha=0.2, lw=0
        )
    rivals = data.PUBLISHED | {"logistic regression": results.logistic}
    for name, accuracy in rivals.items():
        axes.axhline(accuracy, color=GREY, linewidth=1, linestyle=":")
        where = "here" if name not in ("CNN", "GRU", "MLP") else "published"
        up = name != "GRU"
        axes.text(
            epochs[-1],
            accuracy,
            f"{name}, {where} ",
            color=GREY,
            ha="right",
            va="bottom" if up else "top",
        )
    axes.set(xlabel="epoch", ylabel="accuracy on the test", ylim=(0, 1.05))
    axes.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
    axes.set_title("accuracy: mean and range over seeds")
    axes.legend(frameon=False, loc="lower right", bbox_to_anchor=(1, 0.08))
    axes.grid(alpha=0.3)


def draw_gradients(axes: Axes, results: Results) -> None:
    """Draw the largest gradient norm of each epoch, before clipping."""
    for clip, curves in results.curves.items():
        epochs = np.arange(1, curves.shape[1] + 1)
        each, line = curves[:, :, 2], "-" if clip else "--"
        highest, label = each.max(0), name_of(clip)
        axes.plot(epochs, highest, line, marker=".", color=COLOURS[clip], label=label)
    axes.axhline(results.max_norm, color=GREY, linewidth=1, linestyle=":")
    axes.text(epochs[0], results.max_norm, "clip", color=GREY, va="top")
    axes.axhline(0, linewidth=0)  # so that the margin above is one of the whole range
    axes.set(xlabel="epoch", ylabel="gradient norm before clipping", ylim=(0, None))
    axes.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
    axes.set_title("the largest gradient of each epoch")
    axes.legend(frameon=False)
    axes.grid(alpha=0.3)


def name_of(clip: bool) -> str:
    """Return the name of a line."""
    return "clipped" if clip else "not clipped"
