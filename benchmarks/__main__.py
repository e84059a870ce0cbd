# SPDX-License-Identifier: Apache-2.0
"""Time recurrent_jax and its peers: `python -m benchmarks --help`."""

import dataclasses
import os
import pathlib
import sys
from typing import Annotated, Literal

# JAX would take most of a GPU's memory and leave little to PyTorch.
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

import tyro  # noqa: E402
from rich.console import Console  # noqa: E402

from benchmarks import compare, machine, peers, report, results, suite  # noqa: E402
from benchmarks.problems import BOTH, CELLS, FORWARD, QUICK, SHAPES, Shape  # noqa: E402
from benchmarks.timing import gemm_rate  # noqa: E402

RESULTS = pathlib.Path("benchmarks", "results")
INTERRUPTED = 130  # what shells expect of a program that Ctrl-C has stopped
Peer = Literal["linen", "nnx", "haiku", "equinox", "keras", "torch", "cudnn"]


@dataclasses.dataclass(frozen=True)
class Config:
    """Time recurrent_jax and its peers side by side, after comparing their answers.

    Ctrl-C keeps what was measured so far.

    Attributes:
        quick: two shapes for the LSTM, one for GRU and Elman; about two minutes.
        cells: which cells; `gru` and `elman` come in both of their variants.
        shapes: T,B,D,H such as `100,32,64,64`, of any size; all standard ones if none.
        peers: which peers; those that are not installed are named and skipped.
        rounds: times each contender takes its turn, at least; no less than 7 for a
            claim.
        forward_only: leave out gradients.
        output: folder for results and pictures.
        compare: two result files, JSON or CSV: print how ratios changed, time nothing.
        noise: smallest change of a ratio that `--compare` flags.
    """

    quick: bool = False
    cells: tuple[Literal["lstm", "gru", "elman"], ...] = ("lstm", "gru", "elman")
    shapes: Annotated[tuple[str, ...], tyro.conf.arg(metavar="[T,B,D,H ...]")] = ()
    peers: tuple[Peer, ...] = peers.PEERS
    rounds: int = 7
    forward_only: bool = False
    output: pathlib.Path = RESULTS
    compare: tuple[pathlib.Path, pathlib.Path] | None = None
    noise: float = 0.05

    def __post_init__(self) -> None:
        if self.rounds < 1:
            raise ValueError("rounds must be at least 1")
        for shape in self.shapes:
            Shape.parse(shape)

    def problems(self) -> list[tuple[str, Shape]]:
        """Return what is asked for: cells and shapes."""
        cells = [name for name in CELLS if name.split()[0] in self.cells]
        if self.shapes:
            return [(c, Shape.parse(s)) for c in cells for s in self.shapes]
        if self.quick:
            return [(c, s) for c, s in QUICK if c in cells]
        return [(c, s) for c in cells for s in SHAPES]


def run(config: Config) -> list[dict]:
    """Measure, print and save; return the rows."""
    screen = report.console()
    found, missing = peers.load(config.peers)
    rate = gemm_rate()
    about = machine.describe("benchmarks")
    about |= {"gemm_gflops": rate / 1e9, "rounds": config.rounds, "missing": missing}
    report.head(screen, about)
    directions = (FORWARD,) if config.forward_only else (FORWARD, BOTH)
    rows: list[dict] = []
    try:
        for cell, shape in config.problems():
            measured = suite.measure(
                cell, shape, found, directions, config.rounds, rate
            )
            rows += map(dataclasses.asdict, measured)
            report.problem(screen, rows[-len(measured) :])
            rate = max(rate, gemm_rate(rounds=3))
    finally:
        if rows:
            about["gemm_gflops"] = rate / 1e9
            for row in rows:
                row["gemm_share"] = row["gflops"] and row["gflops"] * 1e9 / rate
            _finish(screen, config, about, rows)
    return rows


def _finish(screen: Console, config: Config, about: dict, rows: list[dict]) -> None:
    results.save(config.output, "results", about, rows)
    report.summary(screen, rows)
    # Imported late: it is slow, and --help is quicker without.
    from benchmarks import plots

    plots.ratio_by_shape(config.output, rows)
    screen.print(f"results and pictures are in {config.output}")


def main(args: list[str] | None = None) -> int:
    """Parse the flags, and run or compare; return the exit status."""
    try:
        config = tyro.cli(
            Config,
            args=args,
            prog="python -m benchmarks",
            config=(tyro.conf.FlagCreatePairsOff,),
        )
        if config.compare:
            pair = (results.load(path) for path in config.compare)
            compare.show(report.console(), *pair, config.noise)
        else:
            run(config)
    except (ValueError, OSError) as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0


if __name__ == "__main__":
    sys.exit(main())
