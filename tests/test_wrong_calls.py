# SPDX-License-Identifier: Apache-2.0
"""Wrong calls of every public function: none returns, none ends in a raw error.

A few hundred calls are drawn at each run, the same ones each time, and 20,000 at night.
To draw more of them, and to see a table of all functions, set `WRONG_CALLS`. With `all`
it tries each wrong value of each argument, which takes about 20 minutes:

    WRONG_CALLS=5000 python -m pytest tests/test_wrong_calls.py -n 0 -s
"""

import collections
import functools
import inspect
import os
import re

import pytest
from fuzz import classes, learners, outside, rooms
from fuzz.judge import Row, call, drawn, everything, table
from fuzz.kinds import SIZE

import recurrent_jax as rj

NIGHTLY = 20_000 if os.environ.get("NIGHTLY") else 0
CALLS = os.environ.get("WRONG_CALLS", NIGHTLY)
ROOMS = (
    *("activations", "backward", "cells", "convert", "diagnostics", "generation"),
    *("initializers", "linen", "networks", "nnx", "online", "operators", "ragged"),
    *("streaming", "reinforcement", "tasks", "testing", "training", "wrappers"),
)
# What is not called by users: bases of classes, and what laws are given.
BASES = {"Backward", "Cell", "Learner", "Network", "Operator", "Wrapper", "Trial"}
# Strategies call these with a loop that `unroll` has checked.
BASES |= {"in_blocks", "need_steps", "run_steps"}


@functools.cache
def all_rows():
    """Return every row. They take a second, so not while tests are collected."""
    parts = classes, learners, rooms, outside
    return [row for part in parts for row in part.rows()]


def public():
    """Return the public functions and classes of all rooms, by name.

    Tuples with names are left out: they hold what they are given. So are errors.
    """
    for module in (rj, *(getattr(rj, n) for n in ROOMS if hasattr(rj, n))):
        for name in getattr(module, "__all__", None) or defined(module):
            member = getattr(module, name)
            holds = inspect.isclass(member) and issubclass(member, tuple | Exception)
            if callable(member) and not holds and name not in BASES:
                yield name, member


def defined(module):
    """Return the public names that a module without `__all__` defines."""
    return [
        name
        for name, member in vars(module).items()
        if getattr(member, "__module__", "") == module.__name__ and name[0] != "_"
    ]


def test_every_public_function_has_a_row():
    rows = {part for row in all_rows() for part in re.findall(r"\w+", row.name)}
    lacking = {
        n for n, f in public() if n not in rows and inspect.signature(f).parameters
    }
    assert lacking == set()


def test_no_row_is_there_twice():
    counts = collections.Counter(row.name for row in all_rows())
    assert [name for name, count in counts.items() if count > 1] == []


@pytest.mark.slow
def test_the_calls_are_valid_before_they_are_made_wrong():
    for row in all_rows():
        call(row)


def half(size):
    if size == "text":
        raise TypeError("half: size must be an integer, got 'text'")
    if size is None:
        raise TypeError("unsupported operand")
    return size


@pytest.mark.parametrize(
    "value, outcome", [("text", "good"), ("None", "raw"), ("-1", "accepted")]
)
def test_the_judge_tells_apart_what_becomes_of_a_call(value, outcome):
    row = Row("half", half, {"size": (2, SIZE)})
    verdicts = {v.value: v for v in drawn([row], 500, seed=0)}
    assert verdicts[value].outcome == outcome
    assert "np.int64" in verdicts and "10**12" not in verdicts
    assert "half" in table(verdicts.values())


@pytest.mark.slow
@pytest.mark.nans
def test_wrong_calls_are_refused_with_a_clear_message():
    verdicts = list(drawn(all_rows(), 300, seed=0))
    assert [v for v in verdicts if v.outcome != "good"] == []


@pytest.mark.nans
@pytest.mark.skipif(not CALLS, reason="drawn at night, or if WRONG_CALLS is set")
def test_many_wrong_calls():
    if CALLS == "all":
        verdicts = list(everything(all_rows()))
    else:
        verdicts = list(drawn(all_rows(), int(CALLS), seed=int(CALLS)))
    print(table(verdicts))
    bad = [v for v in verdicts if v.outcome != "good"]
    assert [v for v in bad if v.outcome == "accepted"] == []
    assert len(bad) <= (0 if CALLS == "all" else 0.001 * len(verdicts)), bad
