# SPDX-License-Identifier: Apache-2.0
"""Two result files: how ratios changed, and which changes are more than noise."""

from typing import Any

from rich.console import Console

from benchmarks.peers.ours import DEFAULT
from benchmarks.results import geometric_mean, unique
from benchmarks.tables import Table

Change = dict[str, Any]


def changes(before: dict, after: dict, noise: float) -> list[Change]:
    """Return each ratio in both files and what became of it.

    A change is beyond noise if the ratio of best times moved by more than `noise`,
    the median of the ratios of single rounds moved the same way, and the intervals
    around the two medians do not meet.
    """
    old, new = (
        {_key(row): row for row in run["rows"] if row.get("ratio") is not None}
        for run in (before, after)
    )
    return [
        _change(old[key], row, noise)
        for key, row in new.items()
        if key in old and row["contender"] != DEFAULT
    ]


def _key(row: dict) -> tuple[str, ...]:
    return row["cell"], row["direction"], row["shape"], row["contender"]


def _change(a: dict, b: dict, noise: float) -> Change:
    change = b["ratio"] / a["ratio"]
    up = change > 1 + noise and b["ratio_low"] > a["ratio_high"]
    down = change < 1 / (1 + noise) and b["ratio_high"] < a["ratio_low"]
    return {
        "cell": a["cell"],
        "direction": a["direction"],
        "shape": a["shape"],
        "contender": a["contender"],
        "before": a["ratio"],
        "after": b["ratio"],
        "change": change,
        "verdict": "better" if up else "worse" if down else "",
    }


def show(screen: Console, before: dict, after: dict, noise: float) -> None:
    """Print all changes, and their geometric means by contender."""
    parts = "machine", "versions"
    old, new = (
        {field: str(value) for part in parts for field, value in run[part].items()}
        for run in (before, after)
    )
    for field in [field for field in old if field in new and field != "load"]:
        if old[field] != new[field]:
            screen.print(f"{field}: {old[field]} -> {new[field]}")
    found = changes(before, after, noise)
    if not found:
        raise ValueError("the two files have no timed row in common")
    for cell in unique(found, "cell"):
        for direction in unique(found, "direction"):
            chosen = [
                c for c in found if (c["cell"], c["direction"]) == (cell, direction)
            ]
            if chosen:
                screen.print(_table(f"{cell}, {direction}", chosen))
    flagged = [c for c in found if c["verdict"]]
    screen.print(
        f"{len(flagged)} of {len(found)} ratios changed beyond noise "
        f"({noise:.0%} and separate intervals); all: x"
        f"{geometric_mean(c['change'] for c in found):.3f}\n"
        "change above 1: recurrent_jax gained on that contender"
    )


def _table(title: str, found: list[Change]) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("")
    table.add_column("T,B,D,H", no_wrap=True)
    for name in ("before", "after", "change"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    colors = {"better": "[green]better[/]", "worse": "[red]worse[/]", "": ""}
    for contender in unique(found, "contender"):
        table.add_section()
        chosen = [c for c in found if c["contender"] == contender]
        for c in chosen:
            numbers = (f"{c[k]:.2f}" for k in ("before", "after", "change"))
            table.add_row(contender, c["shape"], *numbers, colors[c["verdict"]])
        if len(chosen) > 1:
            mean = geometric_mean(c["change"] for c in chosen)
            table.add_row("", "geometric mean", "", "", f"[bold]{mean:.2f}[/]", "")
    return table
