# SPDX-License-Identifier: Apache-2.0
"""The laws, over every cell and over drawn shapes."""

import dataclasses
import os

import jax
import pytest
from cases import CELLS, INPUTS, KINDS, LOOPS, trial
from hypothesis import given, settings
from hypothesis import strategies as st

import recurrent_jax as rj
from recurrent_jax.testing import LAWS, Trial, check_cell

pytestmark = pytest.mark.usefixtures("strict_ranks", "small_heap")
# The nightly job tries every law on every cell, and more of the drawn cases.
NIGHTLY = "NIGHTLY" in os.environ
# What a law of a loop finds depends on a cell by the kind of its carry and inputs, so
# these are tried on one cell of each kind; all others on every cell.
OF_LOOPS = ("split", "padding", "empty", "reset", "reverse", "causality", "strategies")
NANS = ("padding", "reset")  # these feed NaN on purpose
OF_CELLS = tuple(law for law in LAWS if law not in OF_LOOPS)
# These run under the default flags of XLA as well, and under leak checks.
FLAGS = ("elman", "lstm", "batch_norm_lstm", "cfc", "stack_drawn")
GROUPS = {
    "cell": OF_CELLS,
    "loop": tuple(law for law in OF_LOOPS if law not in NANS),
    "nans": NANS,
}


def row(name, group):
    marks = [pytest.mark.flags] if name in FLAGS else []
    marks += [pytest.mark.nans] if group == "nans" else []
    marks += [] if name in KINDS else [pytest.mark.slow]
    return pytest.param(name, GROUPS[group], id=f"{name}-{group}", marks=marks)


ROWS = [
    row(name, group)
    for name in CELLS
    for group in GROUPS
    if group == "cell" or name in LOOPS or NIGHTLY
]


@pytest.mark.parametrize("name, laws", ROWS)
def test_fixed_case(name, laws):
    check_cell(CELLS[name], laws=laws, inputs=INPUTS.get(name))


@pytest.mark.slow
@pytest.mark.nans
@pytest.mark.parametrize("time, batch_shape", [(1, ()), (0, (2,))])
def test_shapes_at_the_edge(time, batch_shape, x64):
    for law in LAWS.values():
        law(Trial(CELLS["lstm"], time=time, batch_shape=batch_shape))


@pytest.mark.mostly_slow
@pytest.mark.nans
@pytest.mark.parametrize("backward", [rj.Truncated(2), rj.ClippedBackward(1.0)])
def test_what_a_strategy_cuts_is_the_gradient_alone(backward, x64):
    one = dataclasses.replace(trial("peephole_lstm"), backward=backward)
    for law in LAWS.keys() - {"gradients", "compilation", "strategies"}:
        LAWS[law](one)


# The product of an input so narrow is made together with that of the carry.
@pytest.mark.parametrize("name", ["lstm", "elman"])
def test_a_narrow_input(name, x64):
    for law in ("scan", "gradients"):
        LAWS[law](Trial(CELLS[name], in_features=1))


# These have as many units as their input has features.
AS_WIDE = tuple(name for name in CELLS if isinstance(CELLS[name], rj.RGLRU))


@st.composite
def trials(draw, names=tuple(CELLS)):
    """Draw a cell, shapes, numbers and a block of the default strategy."""
    name = draw(st.sampled_from(names))
    return trial(
        name,
        in_features=3 if name in (*INPUTS, *AS_WIDE) else draw(st.integers(1, 4)),
        time=draw(st.integers(1, 6)),
        batch_shape=tuple(draw(st.lists(st.integers(1, 3), max_size=2))),
        seed=draw(st.integers(0, 2**31)),
        backward=rj.Deferred(block=draw(st.integers(1, 4))),
    )


# At night every law has examples of its own; else they share a few fixed ones.
@pytest.mark.slow
@pytest.mark.nans
@pytest.mark.parametrize("among", [[law] for law in LAWS] if NIGHTLY else [list(LAWS)])
@settings(deadline=None, max_examples=24 if NIGHTLY else 12, derandomize=not NIGHTLY)
@given(one=trials(), data=st.data())
def test_drawn_case(among, one, data):
    law = data.draw(st.sampled_from(among))
    with jax.enable_x64(True):
        LAWS[law](one)
