# SPDX-License-Identifier: Apache-2.0
"""Tables of `benchmarks.newton`: on the terminal, and on the page."""

from benchmarks.results import unique
from benchmarks.tables import Table

PAGE = 8192, 65_536  # steps in the table of times
DIAGONAL = "DiagonalGRU", "IndRNN"


def hits(rows: list[dict]) -> tuple[int, int]:
    """Return how many drawn cells were foretold rightly, and how many there are."""
    rows = [row for row in rows if row["part"] == "drawn"]
    right = [
        (float(row["exponent"]) < 0) == (str(row["converged"]) == "True")
        for row in rows
    ]
    return sum(right), len(rows)


def cells(rows: list[dict]) -> list[str]:
    """Return the lines of the table of all cells on the page."""
    lines = ["| cell | largest exponent | iterations |", "|---|---|---|"]
    for row in rows:
        converged = str(row["converged"]) == "True"  # text in a CSV file
        told = str(int(row["iterations"])) if converged else "not converged"
        if row["refused"]:
            lines.append(f"| `{row['cell']}` | – | refused: {row['refused']} |")
        else:
            lines.append(f"| `{row['cell']}` | {float(row['exponent']):.3f} | {told} |")
    return lines


def times(rows: list[dict]) -> list[str]:
    """Return the lines of the table of times on the page."""
    heads = [f"{way}, T = {T:,}" for T in PAGE for way in ("loop", "Newton")]
    lines = [f"| cell | {' | '.join(heads)} |", "|---" * (1 + len(heads)) + "|"]
    for cell in unique(rows, "cell"):
        found = {int(row["T"]): row for row in rows if row["cell"] == cell}
        ms = [found[T][f"{way}_ms"] for T in PAGE for way in ("loop", "newton")]
        texts = [f"{float(f'{float(value):.3g}'):,g} ms" for value in ms]
        lines.append(f"| `{cell}` | {' | '.join(texts)} |")
    return lines


def slower(rows: list[dict], diagonal: bool) -> tuple[float, float]:
    """Return the least and the most that Newton takes, in times of the loop."""
    ratios = [
        float(row["newton_ms"]) / float(row["loop_ms"])
        for row in rows
        if (row["cell"] in DIAGONAL) == diagonal
    ]
    return min(ratios), max(ratios)


def show(rows: list[dict], part: str) -> Table:
    """Return the table of one part."""
    table = Table(title=part)
    for column in ("cell", "T", "exponent", "iterations", "loop ms", "newton ms"):
        table.add_column(column)
    for row in rows:
        if row["part"] != part:
            continue
        told = f"{row['iterations']}" if row["converged"] else "not converged"
        table.add_row(
            row["cell"],
            f"{row['T']:,}",
            f"{row['exponent']:.3f}",
            row["refused"] or told,
            f"{row['loop_ms']:.2f}",
            f"{row['newton_ms']:.2f}",
        )
    return table
