# SPDX-License-Identifier: Apache-2.0
"""One problem at a time: compare all answers with ours, then time those that agree."""

import dataclasses
import statistics
from typing import Any

import numpy as np

from benchmarks import timing
from benchmarks.contenders import Contender, Ready, disagreement, tolerance
from benchmarks.peers import OURS, Contend
from benchmarks.peers.ours import DEFAULT
from benchmarks.problems import FORWARD, Problem, Shape

TIMED, DISAGREES, FAILED = "timed", "disagrees", "failed"


@dataclasses.dataclass
class Row:
    """One contender on one problem in one direction.

    Attributes:
        cell: a key of `CELLS`.
        shape: `T,B,D,H`.
        direction: forward, or forward+backward.
        library: the file in `peers` that it is from.
        contender: its name.
        layout: the order of axes that it was given.
        status: timed, disagrees (not timed) or failed (raised).
        note: why, if it was not timed.
        difference: the worst of any array from ours, relative to its norm.
        first_call_s: of the first call, which traces and compiles.
        rounds: how often it was timed.
        min_ms: its best time.
        median_ms: its median time.
        ratio: its best time over that of ours.
        ratio_median: its median time over that of ours.
        ratio_low: with `ratio_high`, where the median of the ratios of single rounds
            lies: about 95 %, from their quartiles.
        ratio_high: see `ratio_low`.
        gflops: counted products over the best time.
        gemm_share: `gflops` over the rate of the machine's own product.
        samples_ms: all times.
    """

    cell: str
    shape: str
    direction: str
    library: str
    contender: str
    layout: str
    status: str = TIMED
    note: str = ""
    difference: float | None = None
    first_call_s: float | None = None
    rounds: int = 0
    min_ms: float | None = None
    median_ms: float | None = None
    ratio: float | None = None
    ratio_median: float | None = None
    ratio_low: float | None = None
    ratio_high: float | None = None
    gflops: float | None = None
    gemm_share: float | None = None
    samples_ms: list[float] = dataclasses.field(default_factory=list)


def measure(
    cell: str,
    shape: Shape,
    found: dict[str, Contend],
    directions: tuple[str, ...],
    rounds: int,
    rate: float,
) -> list[Row]:
    """Return the rows of one cell at one shape."""
    problem = Problem.draw(cell, shape)
    entries, rows = _enter(problem, found)
    for row in rows:
        row.cell, row.shape, row.direction = cell, str(shape), directions[-1]
    for direction in directions:
        calls, new = {}, {}
        want: dict = {}
        for library, name, contender, ready in entries:
            if direction == FORWARD and contender.backward_only:
                continue
            row = Row(cell, str(shape), direction, library, name, contender.layout)
            answer = _answer(row, problem, contender, ready)
            if name == DEFAULT:
                want = answer
            if _agrees(row, answer, want, contender.lacks):
                calls[name] = ready.calls[direction]
            new[name] = row
        _time(new, calls, rounds, problem.flops(direction), rate)
        rows += new.values()
    return rows


def _enter(problem: Problem, found: dict[str, Contend]) -> tuple[list, list[Row]]:
    """Build and load all contenders; return them, and rows for those that failed."""
    entries, failed = [], []
    for library, contend in found.items():
        name, layout = library, ""
        try:
            for name, contender in contend(problem.cell, problem.shape).items():
                layout = contender.layout
                ready = contender.ready(contender, problem)
                entries.append((library, name, contender, ready))
        except Exception as error:
            if library == OURS:
                raise
            row = Row("", "", "", library, name, layout, FAILED, _one_line(error))
            failed.append(row)
    return entries, failed


def _answer(row: Row, problem: Problem, contender: Contender, ready: Ready) -> dict:
    """Make the first call; return what it gave, in our terms."""
    try:
        row.first_call_s, result = timing.seconds(ready.calls[row.direction])
        return contender.answer(problem, row.direction, result, ready.fetch)
    except Exception as error:
        if row.contender == DEFAULT:
            raise
        row.status, row.note = FAILED, _one_line(error)
        return {}


def _agrees(row: Row, answer: dict, want: dict, lacks: tuple[str, ...]) -> bool:
    if row.status != TIMED:
        return False
    row.difference, where = disagreement(answer, want, lacks)
    if row.difference > tolerance():
        row.status = DISAGREES
        row.note = f"{where} differ by {row.difference:.1e} of the norm"
    return row.status == TIMED


def _time(
    rows: dict[str, Row], calls: dict[str, Any], rounds: int, flops: int, rate: float
) -> None:
    """Time the calls in turn, and fill in their rows."""
    samples = timing.interleave(calls, rounds)
    ours = np.array(samples[DEFAULT])
    for name, times in samples.items():
        row = rows[name]
        by_round = np.array(times) / ours
        middle, spread = statistics.median(by_round), _notch(by_round)
        row.rounds = len(times)
        row.min_ms, row.median_ms = 1e3 * min(times), 1e3 * statistics.median(times)
        row.ratio = min(times) / min(ours)
        row.ratio_median = statistics.median(times) / statistics.median(ours)
        row.ratio_low, row.ratio_high = middle - spread, middle + spread
        row.gflops = flops / min(times) / 1e9
        row.gemm_share = flops / min(times) / rate
        row.samples_ms = [1e3 * t for t in times]


def _notch(values: np.ndarray) -> float:
    """Return half the notch of a box plot: medians whose notches part do differ."""
    low, high = np.percentile(values, [25, 75])
    return float(1.57 * (high - low) / np.sqrt(len(values)))


def _one_line(error: Exception) -> str:
    text = str(error).strip().partition("\n")[0]
    return f"{type(error).__name__}: {text}"[:200]
