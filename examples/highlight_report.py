# SPDX-License-Identifier: Apache-2.0
"""The table and the picture."""

import dataclasses
from pathlib import Path

import numpy as np
from highlight_data import CODE, COMMENT, KINDS, LONG, STRING, Source
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import PercentFormatter
from rich.console import Console
from rich.table import Table

NAMES = {"gru": "GRU", "lstm": "LSTM", "elman": "Elman", "mgu": "MGU"}
BLUE, ORANGE, GREY = "#0060b0", "#d95f02", "#777777"
COLOURS = {CODE: "#222222", COMMENT: "#8a8a8a", STRING: "#b35900", LONG: "#1b7f4b"}
LINES, WIDTH, FAR = 19, 64, 32
DISTANCES = (0, 1, 4, 16, 64, 256, 1024)


def memory(cell: str) -> str:
    """Return the name of the network with memory."""
    return f"{NAMES[cell]} with memory"


def window(width: int) -> str:
    """Return the name of a network that sees a window."""
    return f"last {width} characters"


def bag(width: int) -> str:
    """Return the name of a network that sees a window without order."""
    return f"last {width}, no order"


@dataclasses.dataclass(frozen=True)
class Results:
    """Guesses of all networks on the test.

    Attributes:
        name: of the network with memory.
        test: the text and the truth.
        guesses: kinds by each network, `(seeds, characters)`.
        sizes: numbers of parameters.
    """

    name: str
    test: Source
    guesses: dict[str, np.ndarray]
    sizes: dict[str, int]

    def wrong(self, name: str, which: np.ndarray | None = None) -> np.ndarray:
        """Return the share of wrong characters of each seed, `(seeds,)`."""
        wrong = self.guesses[name] != self.test.kinds
        return wrong.mean(1) if which is None else wrong[:, which].mean(1)

    @property
    def rivals(self) -> list[str]:
        """The networks without memory, best first."""
        rest = [name for name in self.guesses if name != self.name]
        return sorted(rest, key=lambda name: self.wrong(name).mean())


def table(console: Console, results: Results) -> None:
    """Print the errors of all methods, and how much the best baseline is behind."""
    title = f"Wrong characters, {len(results.test.kinds):,} characters of unseen files"
    shown = Table(title=title, title_justify="left")
    shown.add_column("network")
    for column in ("all", "seeds", f"{FAR} on*", "parameters"):
        shown.add_column(column, justify="right")
    far = results.test.since_change() >= FAR
    for name in results.guesses:
        each = results.wrong(name)
        shown.add_row(
            f"[bold]{name}[/bold]" if name == results.name else name,
            f"{each.mean():.2%}",
            ", ".join(f"{value:.2%}" for value in each),
            f"{results.wrong(name, far).mean():.2%}",
            f"{results.sizes[name]:,}",
        )
    never = results.test.kinds != CODE
    shown.add_row("always code", f"{never.mean():.2%}", "", "", "0")
    console.print(shown)
    console.print(
        f"*: characters whose comment, string or code began at least {FAR} before.\n"
        "Every network is trained on the same text, as long and with the same rate."
    )
    if results.rivals:
        console.print(verdict(results), highlight=False)


def verdict(results: Results) -> str:
    """Return a sentence that compares memory with the best network without."""
    best = results.rivals[0]
    mine, theirs = results.wrong(results.name), results.wrong(best)
    ratio = theirs.mean() / max(mine.mean(), 1 / len(results.test.kinds))
    apart = "every seed is ahead" if mine.max() < theirs.min() else "seeds overlap"
    return (
        f"{results.name}: {mine.mean():.2%} wrong; {best}: {theirs.mean():.2%}, "
        f"{ratio:.1f} times as many ({apart})."
    )


def picture(path: Path, results: Results) -> None:
    """Save the figure: errors by width and by distance, and a piece of a program."""
    figure = Figure(figsize=(13, 9.6), layout="constrained")
    figure.suptitle(title(results), fontsize=14, fontweight="bold")
    top, bottom = figure.subfigures(2, 1, height_ratios=(1, 1.25))
    left, right = top.subplots(1, 2)
    draw_widths(left, results)
    draw_distances(right, results)
    names = [*results.rivals[:1], results.name]
    for axes, name in zip(bottom.subplots(1, 2, squeeze=False)[0], names, strict=False):
        draw_program(axes, results, name)
    handles = [Patch(color=COLOURS[k], label=kind) for k, kind in enumerate(KINDS)]
    handles.append(Patch(color="#ffb3b3", label="wrong"))
    bottom.legend(handles=handles, loc="outside lower center", ncols=5, frameon=False)
    figure.savefig(path, dpi=110)


def title(results: Results) -> str:
    """Return a title that says what memory is worth."""
    text = "Code, comment or string? Wrong characters of unseen programs\n"
    text += f"{results.name}: {results.wrong(results.name).mean():.1%}"
    if results.rivals:
        best = results.rivals[0]
        text += f"; without memory, {best}: {results.wrong(best).mean():.1%}"
    return text


def draw_widths(axes: Axes, results: Results) -> None:
    """Draw the error of the networks without memory by what they see."""
    rows = [(n, results.wrong(window(n))) for n in widths(results)]
    if rows:
        seen, each = (np.array(part) for part in zip(*rows, strict=True))
        axes.plot(seen, each.mean(1), "o-", color=ORANGE, label="last n characters")
        axes.plot(seen, each, ".", color=ORANGE, markersize=4)
        if (last := bag(int(seen.max()))) in results.guesses:
            share = results.wrong(last).mean()
            axes.plot(seen[-1:], share, "s", color=GREY, label=last)
    mine = results.wrong(results.name)
    axes.axhline(mine.mean(), color=BLUE, lw=2.5, label=results.name)
    axes.axhspan(mine.min(), mine.max(), color=BLUE, alpha=0.25, lw=0)
    axes.set_xscale("log", base=2)
    axes.minorticks_off()
    if rows:
        axes.set_xticks(seen, [str(n) for n in seen])
    percent(axes)
    axes.set(xlabel="n, the characters that a network without memory sees")
    axes.set_title("wrong characters: mean, and each of the seeds")
    axes.legend(frameon=False)


def widths(results: Results) -> list[int]:
    """Return the widths of the windows that there are."""
    found = (name.split() for name in results.guesses if name.endswith("characters"))
    return sorted(int(words[1]) for words in found)


def draw_distances(axes: Axes, results: Results) -> None:
    """Draw the error by the distance from the last change of kind."""
    distance = results.test.since_change()
    bins = np.digitize(distance, DISTANCES[1:])
    filled = [n for n in range(len(DISTANCES)) if (bins == n).any()]
    parts = [bins == n for n in filled]
    labels = [f"{DISTANCES[n]}+" if n else "0" for n in filled]
    lines = [(results.name, BLUE, "-")]
    lines += [(name, ORANGE, "--") for name in results.rivals[:1]]
    for name, colour, line in lines:
        each = np.stack([results.wrong(name, part) for part in parts])
        axes.plot(labels, each.mean(1), line, marker="o", color=colour, label=name)
        axes.fill_between(labels, each.min(1), each.max(1), color=colour, alpha=0.2)
    percent(axes)
    axes.set(xlabel="characters since the code, comment or string began")
    axes.set_title("wrong characters by how far back the answer lies")
    axes.legend(frameon=False)


def percent(axes: Axes) -> None:
    """Give an axis of shares its label, and start it at 0."""
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.set_ylim(bottom=0)
    axes.set_ylabel("wrong characters")
    axes.grid(alpha=0.3)


def draw_program(axes: Axes, results: Results, name: str) -> None:
    """Draw a piece of the test as one network colours it, with its errors marked."""
    first, last = excerpt(results.test)
    row = column = 0
    kinds = results.guesses[name][0]
    for place in range(first, last):
        character = chr(results.test.codes[place])
        if character == "\n":
            row, column = row + 1, 0
            continue
        kind = int(kinds[place])
        if column < WIDTH:
            if kind != results.test.kinds[place]:
                corner = (column - 0.5, row - 0.5)
                axes.add_patch(Rectangle(corner, 1, 1, color="#ffb3b3", lw=0))
            axes.text(
                *(column, row, character),
                **dict(ha="center", va="center", family="monospace"),
                **dict(color=COLOURS[kind], fontsize=8.5, parse_math=False),
            )
        column += 1
    axes.set(xlim=(-1, WIDTH), ylim=(LINES - 0.3, -0.7))
    axes.set_title(f"{name} (first seed)")
    axes.set_axis_off()


def excerpt(test: Source) -> tuple[int, int]:
    """Return the first lines of the test that hold much of every kind.

    The choice depends on the text alone, not on any guess.
    """
    ends = np.flatnonzero(test.codes == ord("\n")) + 1
    starts = np.r_[0, ends]
    for least in (40, 10, 0):
        for first, last in zip(starts, starts[LINES:], strict=False):
            counts = np.bincount(test.kinds[first:last], minlength=len(KINDS))
            if counts.min() >= least:
                return int(first), int(last)
    return 0, len(test.codes)
