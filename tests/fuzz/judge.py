# SPDX-License-Identifier: Apache-2.0
"""Draw wrong calls, make them, and say what became of each.

A call is valid but for one argument. The library should refuse it with a message that
begins with the name of the function and names an argument of it. What else happens is
counted: `accepted`, if it returned; `raw`, if the error is of another kind.
"""

import collections
import contextlib
import dataclasses
import functools
import re
import signal
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np

from fuzz.kinds import Kind
from fuzz.wild import WILD

SECONDS = 20


@dataclasses.dataclass(frozen=True)
class Row:
    """A function with a valid call.

    `arguments` holds a value and a kind for each argument. `traced` calls are traced
    and not compiled. Functions of the user must not run on data.
    """

    name: str
    function: Callable[..., Any]
    arguments: dict[str, tuple[Any, Kind]]
    traced: bool = True
    also: tuple[str, ...] = ()  # other words for an argument in messages
    inside: tuple[str, ...] = ()  # functions that are documented to be called inside


class Verdict(NamedTuple):
    row: str
    argument: str
    value: str
    outcome: str  # "good", "accepted" or "raw"
    message: str


def call(row: Row, **changed: Any) -> None:
    """Make the call of a row, with some arguments changed."""
    given = {name: value for name, (value, _) in row.arguments.items()} | changed

    def run() -> tuple[()]:
        row.function(**given)
        return ()

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        jax.eval_shape(run) if row.traced else run()


def wrong_values(row: Row, argument: str) -> dict[str, Callable[[], Any]]:
    """Return every wrong value of an argument, under its name."""
    valid, kind = row.arguments[argument]
    own = {name: (lambda v=v: v) for name, v in kind.wrong(valid).items()}
    return {k: v for k, v in (_wild() | own).items() if not _takes(kind, v())}


def _takes(kind: Kind, value: Any) -> bool:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return bool(kind.takes(value))
    except (TypeError, ValueError, AttributeError):  # it compares with something else
        return False


@functools.cache
def _wild() -> dict[str, Callable[[], Any]]:
    # A generator can be read once.
    return {k: v if k == "a generator" else functools.cache(v) for k, v in WILD.items()}


def judge(row: Row, argument: str, name: str, value: Any) -> Verdict:
    """Make a wrong call and say what became of it."""
    try:
        with _time_limit():
            call(row, **{argument: value})
    except Exception as error:
        message = f"{type(error).__name__}: {error}"
        outcome = "good" if _is_clear(row, error) else "raw"
        return Verdict(row.name, argument, name, outcome, message.splitlines()[0][:300])
    return Verdict(row.name, argument, name, "accepted", "")


def _is_clear(row: Row, error: Exception) -> bool:
    """Say whether an error names the function, and an argument of it."""
    if not isinstance(error, TypeError | ValueError | KeyError | OSError):
        return False
    where, _, rest = str(error).partition(": ")
    if not {*where.split(".")} & {*re.findall(r"\w+", row.name), *row.inside}:
        return False
    return any(re.search(rf"\b{w}\b", rest) for w in (*row.arguments, *row.also))


@contextlib.contextmanager
def _time_limit() -> Iterator[None]:
    def stop(*_: Any) -> None:
        raise TimeoutError(f"took more than {SECONDS} seconds")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def drawn(rows: list[Row], calls: int, seed: int) -> Iterator[Verdict]:
    """Judge so many wrong calls: functions in turn, arguments and values at random."""
    random = np.random.default_rng(seed)
    values: dict[tuple[str, str], dict[str, Callable[[], Any]]] = {}
    for n in range(calls):
        row = rows[n % len(rows)]
        names = [a for a in row.arguments if _drawable(row, a, values)]
        if not names:
            continue
        argument = names[random.integers(len(names))]
        wrong = values[row.name, argument]
        name = list(wrong)[random.integers(len(wrong))]
        yield judge(row, argument, name, wrong[name]())


def everything(rows: list[Row]) -> Iterator[Verdict]:
    """Judge every wrong value of every argument."""
    for row in rows:
        for argument in row.arguments:
            for name, make in wrong_values(row, argument).items():
                yield judge(row, argument, name, make())


def _drawable(row: Row, argument: str, values: Any) -> bool:
    if (row.name, argument) not in values:
        values[row.name, argument] = wrong_values(row, argument)
    return bool(values[row.name, argument])


def table(verdicts: Iterable[Verdict]) -> str:
    """Return how many calls of each function were accepted, or ended in a raw error."""
    verdicts = list(verdicts)
    counts = collections.Counter((v.row, v.outcome) for v in verdicts)
    lines = [f"{'function':<40}{'calls':>7}{'accepted':>10}{'raw':>7}"]
    for row in [*sorted({v.row for v in verdicts}), None]:
        each = {
            outcome: sum(
                n for (r, o), n in counts.items() if o == outcome and row in (r, None)
            )
            for outcome in ("good", "accepted", "raw")
        }
        total = sum(each.values())
        lines.append(
            f"{row or 'all':<40}{total:>7}{each['accepted']:>10}{each['raw']:>7}"
        )
    return "\n".join(lines)
