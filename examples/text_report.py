# SPDX-License-Identifier: Apache-2.0
"""The table and the picture."""

import dataclasses
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

BLUE, ORANGE, GREEN, GREY = "#0060b0", "#d95f02", "#1b8a5a", "#777777"
LINES, WIDTH = 16, 76  # of the excerpt in the figure
MOST, DARK = 8, 6  # bits of the darkest colour, and from which on text is white


@dataclasses.dataclass(frozen=True)
class Results:
    """Bits per character of all methods on the test."""

    name: str  # of the network
    each: np.ndarray  # bits of each character of the test, by the network
    text: str  # the test
    curve: np.ndarray  # (epochs, 2), of training and validation
    markov: dict[int, float]  # by order
    compressed: dict[str, tuple[float, float]]  # after the training text, and alone

    @property
    def best_epoch(self) -> int:
        """The epoch with the lowest validation loss."""
        return int(np.nanargmin(self.curve[:, 1])) + 1

    @property
    def network(self) -> float:
        """Bits per character of the network."""
        return float(self.each.mean())

    @property
    def order(self) -> int:
        """The order of the best Markov model."""
        return min(self.markov, key=lambda order: self.markov[order])

    @property
    def rivals(self) -> dict[str, float]:
        """Every baseline that has read the training text, best first."""
        result = {f"Markov, order {self.order}": self.markov[self.order]}
        result |= {name: after for name, (after, _) in self.compressed.items()}
        return dict(sorted(result.items(), key=lambda item: item[1]))


def table(console: Console, results: Results) -> None:
    """Print bits per character of all methods, and which is best."""
    title = f"Bits per character, {len(results.text):,} characters of test"
    shown = Table(title=title, title_justify="left")
    shown.add_column("")
    shown.add_column("knows the training text", justify="right")
    shown.add_column("knows nothing", justify="right")
    shown.add_row(f"[bold]{results.name}[/bold]", f"{results.network:.3f}", "")
    shown.add_section()
    orders = sorted({1, 3, 5, results.order, max(results.markov)})
    for order in orders:
        mark = " (the best)" if order == results.order else ""
        shown.add_row(
            f"Markov, order {order}{mark}", f"{results.markov[order]:.3f}", ""
        )
    shown.add_section()
    for name, (after, alone) in results.compressed.items():
        shown.add_row(name, f"{after:.3f}", f"{alone:.3f}")
    console.print(shown)
    console.print(
        "Markov: modified Kneser-Ney; its order is selected on the test itself.\n"
        "Compressors: what the test adds to the compressed training text.\n"
        "The network does not learn from the test; the compressors do."
    )
    console.print(verdict(results), highlight=False)


def verdict(results: Results) -> str:
    """Return a sentence that compares the network with all baselines."""
    mine = results.network
    beaten = [f"{n} by {v - mine:.3f}" for n, v in results.rivals.items() if v > mine]
    better = [f"{n} by {mine - v:.3f}" for n, v in results.rivals.items() if v <= mine]
    text = f"{results.name} beats {', '.join(beaten)}" if beaten else ""
    if better:
        text += f"{'; ' if text else results.name + ' '}loses to {', '.join(better)}"
    return f"{text} (bits per character)."


def picture(path: Path, results: Results) -> None:
    """Save the figure: training, all methods, and an excerpt with its surprise."""
    figure = Figure(figsize=(13, 9.5), layout="constrained")
    top, bottom = figure.subfigures(2, 1, height_ratios=(1, 1.25))
    left, right = top.subplots(1, 2)
    draw_curve(left, results)
    draw_methods(right, results)
    draw_excerpt(bottom.subplots(), results)
    figure.savefig(path, dpi=110)


def draw_curve(axes: Axes, results: Results) -> None:
    """Draw bits per character by epoch."""
    epochs = np.arange(1, len(results.curve) + 1)
    for column, colour, label in (
        (0, GREY, "training, with dropout"),
        (1, BLUE, "validation"),
    ):
        curve = results.curve[:, column]
        axes.plot(epochs, curve, "o-", color=colour, markersize=4, label=label)
    axes.axhline(results.network, color=ORANGE, label="test, best epoch")
    axes.set_title(f"{results.name} in training")
    axes.set_xlabel("epoch")
    axes.set_ylabel("bits per character")
    axes.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
    axes.grid(alpha=0.3)
    axes.legend()


def draw_methods(axes: Axes, results: Results) -> None:
    """Draw a bar for every method."""
    bars = {results.name: (results.network, BLUE)}
    bars |= {name: (value, GREY) for name, value in results.rivals.items()}
    bars |= {
        f"{name}, without training text": (alone, "#bbbbbb")
        for name, (_, alone) in results.compressed.items()
    }
    order = sorted(bars, key=lambda name: bars[name][0], reverse=True)
    values, colours = zip(*(bars[name] for name in order), strict=True)
    axes.barh(order, values, color=colours)
    for row, value in enumerate(values):
        axes.text(value, row, f" {value:.2f}", va="center")
    axes.set_xlim(0, max(values) * 1.1)
    axes.set_title("bits per character on the test; lower is better")


def draw_excerpt(axes: Axes, results: Results) -> None:
    """Draw the start of the test, with the surprise of each character as colour."""
    surprise, row, column = np.full((LINES, WIDTH), np.nan), 0, 0
    for character, value in zip(results.text, results.each, strict=True):
        if character == "\n" or column == WIDTH:
            row, column = row + 1, 0
        if row == LINES:
            break
        if character != "\n":
            surprise[row, column] = value
            style = {"ha": "center", "va": "center", "family": "monospace"}
            style["color"] = "white" if value > DARK else "black"
            axes.text(column, row, character, **style)
            column += 1
    image = axes.imshow(surprise, cmap="Oranges", vmin=0, vmax=MOST, aspect="auto")
    axes.set_title("start of the test; darker characters were less expected")
    axes.set_axis_off()
    axes.figure.colorbar(image, ax=axes, label="bits", fraction=0.03, pad=0.01)
