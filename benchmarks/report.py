# SPDX-License-Identifier: Apache-2.0
"""What is printed: a table for each problem, and a summary of ratios."""

from typing import Any

from rich.console import Console

from benchmarks.peers.ours import DEFAULT
from benchmarks.problems import Shape
from benchmarks.results import geometric_mean, ratios, unique
from benchmarks.suite import TIMED
from benchmarks.tables import Table


def console() -> Console:
    """Return a console; wide enough for the tables where there is no terminal."""
    screen = Console(highlight=False)
    return screen if screen.is_terminal else Console(width=110, highlight=False)


def head(screen: Console, about: dict[str, Any]) -> None:
    """Print the machine, the versions and who is missing."""
    machine = about["machine"]
    where = machine["accelerator"] or f"{machine['cpu']}, {machine['threads']} threads"
    versions = {k: v for k, v in about["versions"].items() if v}
    screen.print(f"{where}; load {machine['load']}")
    screen.print(", ".join(f"{name} {version}" for name, version in versions.items()))
    screen.print(machine["kernels"], markup=False)
    if "gemm_gflops" in about:
        screen.print(f"square float32 product: {about['gemm_gflops']:.0f} GFLOP/s")
    for name, why in about.get("missing", {}).items():
        screen.print(f"without {name}: {why}", style="yellow", markup=False)


def problem(screen: Console, rows: list[dict]) -> None:
    """Print the times of one cell at one shape."""
    shape = Shape.parse(rows[0]["shape"])
    sizes = " ".join(f"{k}={v}" for k, v in shape._asdict().items())
    table = Table(title=f"{rows[0]['cell']}, {sizes}", title_justify="left")
    table.add_column("")
    table.add_column("axes")
    for name in ("min ms", "median ms", "ratio", "of medians", "GEMM", "first s"):
        table.add_column(name, justify="right")
    for direction in unique(rows, "direction"):
        table.add_section()
        table.add_row(f"[bold]{direction}")
        for row in rows:
            if row["direction"] != direction:
                continue
            if row["status"] == TIMED:
                table.add_row(*_entries(row))
            else:
                table.add_row(row["contender"], f"[red]{row['status']}")
    screen.print(table)
    for row in rows:
        if row["status"] != TIMED:
            screen.print(
                f"{row['contender']}, {row['direction']}: {row['status']}, not timed: "
                f"{row['note']}",
                style="red",
                markup=False,
            )


def _entries(row: dict) -> list[str]:
    ours = row["contender"] == DEFAULT
    return [
        row["contender"],
        row["layout"].removesuffix("-major"),
        f"{row['min_ms']:.2f}",
        f"{row['median_ms']:.2f}",
        "" if ours else f"{row['ratio']:.2f}",
        "" if ours else f"{row['ratio_median']:.2f}",
        f"{row['gemm_share']:.0%}",
        f"{row['first_call_s']:.1f}",
    ]


def summary(screen: Console, rows: list[dict]) -> None:
    """Print, for each cell and direction, ratios by shape and their means."""
    for cell in unique(rows, "cell"):
        for direction in unique(rows, "direction"):
            table = ratios(rows, cell, direction)
            if len(table) > 1:
                screen.print(_ratio_table(f"{cell}, {direction}", table))
    screen.print("ratio: best time over ours; above 1, recurrent_jax is faster")


def _ratio_table(title: str, rows: dict[str, dict[str, float]]) -> Table:
    shapes = list(rows[DEFAULT])
    table = Table(title=title, title_justify="left")
    table.add_column("T\nB\nD\nH", justify="left")
    for shape in shapes:
        table.add_column(shape.replace(",", "\n"), justify="right")
    table.add_column("geometric\nmean", justify="right")
    table.add_column("lowest", justify="right")
    for name, by_shape in rows.items():
        if name == DEFAULT:
            continue
        cells = [colored(by_shape[s]) if s in by_shape else "-" for s in shapes]
        mean, low = geometric_mean(by_shape.values()), min(by_shape.values())
        table.add_row(name, *cells, colored(mean), colored(low))
    return table


def colored(ratio: float) -> str:
    """Return a ratio, green where we are faster and red where slower by 5 %."""
    text = f"{ratio:.2f}"
    if ratio > 1.05:
        return f"[green]{text}[/]"
    return f"[red]{text}[/]" if ratio < 0.95 else text
