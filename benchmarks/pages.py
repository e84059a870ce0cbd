# SPDX-License-Identifier: Apache-2.0
"""The tables of README.md and docs/performance.md, made from a result file.

`python -m benchmarks.pages docs/results/benchmarks.csv` prints them. A test compares
them with the pages.
"""

import pathlib
import sys

from benchmarks import results
from benchmarks.problems import BOTH, CELLS, FORWARD, Shape

LINEN, JAX, TORCH = "linen OptimizedLSTMCell", "best JAX peer", "best PyTorch"
LOOP = "recurrent_jax Deferred"
NAMES = {
    "lstm": "`LSTM`",
    "gru": "`GRU`",
    "gru reset-before": "`GRU(reset_after=False)`",
    "elman": "`Elman`",
    "elman relu": "`Elman`, ReLU",
}


def readme(rows: list[dict]) -> list[str]:
    """Return the table of README.md: means over shapes, lowest and highest."""
    lines = ["| | best JAX library | PyTorch |", "|---|---|---|"]
    ways = {BOTH: "forward and backward", FORWARD: "forward alone"}
    for direction, words in ways.items():
        for cell in ("lstm", "gru", "elman"):
            table = results.ratios(rows, cell, direction)
            each = [table[peer].values() for peer in (JAX, TORCH)]
            columns = [
                f"{results.geometric_mean(v):.2f} ({min(v):.2f} to {max(v):.2f})"
                for v in each
            ]
            name = NAMES[cell].strip("`")
            lines.append(f"| {name}, {words} | {' | '.join(columns)} |")
    return lines


def lstm(rows: list[dict]) -> list[str]:
    """Return the table of the LSTM, forward and backward, shape by shape."""
    peers = {LINEN: "Linen Optimized", JAX: "best JAX peer", TORCH: "PyTorch"}
    peers |= {LOOP: "our loop"}
    table = results.ratios(rows, "lstm", BOTH)
    ours = {r["shape"]: r for r in _ours(rows, "lstm", BOTH)}
    lines = [
        f"| T, B, D, H | {' | '.join(peers.values())} | GEMM rate |",
        "|" + "---|" * (len(peers) + 2),
    ]
    for shape, row in ours.items():
        ratios = " | ".join(f"{table[peer][shape]:.2f}" for peer in peers)
        share = f"{100 * row['gemm_share']:.0f} %"
        lines.append(f"| {_spaced(shape)} | {ratios} | {share} |")
    for words, reduce in (("geometric mean", results.geometric_mean), ("lowest", min)):
        ratios = " | ".join(f"{reduce(table[peer].values()):.2f}" for peer in peers)
        lines.append(f"| {words} | {ratios} | |")
    return lines


def cells(rows: list[dict]) -> list[str]:
    """Return the table of all cells, in both directions."""
    shapes = [row["shape"] for row in _ours(rows, "lstm", BOTH)]
    lines = [
        f"| | {' | '.join(map(_spaced, shapes))} | mean | lowest |",
        "|" + "---|" * (len(shapes) + 3),
    ]
    for cell in CELLS:
        for direction in (BOTH, FORWARD):
            table = results.ratios(rows, cell, direction)
            for peer in (JAX, TORCH, LOOP):
                if len(found := table.get(peer, {})) < len(shapes):
                    continue
                words = [NAMES[cell], *(["forward"] if direction == FORWARD else [])]
                words += [{JAX: JAX, TORCH: "PyTorch", LOOP: "our loop"}[peer]]
                each = " | ".join(f"{found[shape]:.2f}" for shape in shapes)
                mean = results.geometric_mean(found.values())
                low = min(found.values())
                lines.append(
                    f"| {', '.join(words)} | {each} | {mean:.2f} | {low:.2f} |"
                )
    return lines


def _ours(rows: list[dict], cell: str, direction: str) -> list[dict]:
    return [
        row
        for row in rows
        if (row["cell"], row["direction"], row["contender"])
        == (cell, direction, "recurrent_jax")
    ]


def _spaced(shape: str) -> str:
    return ", ".join(map(str, Shape.parse(shape)))


def main(args: list[str]) -> int:
    """Print the tables of a result file."""
    rows = results.load(pathlib.Path(args[0]))["rows"]
    for table in (readme, lstm, cells):
        print(*table(rows), sep="\n", end="\n\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
