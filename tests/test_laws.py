# SPDX-License-Identifier: Apache-2.0
"""Every law over every cell: as fixed cases, and on drawn shapes."""

import jax
import pytest
from cases import CELLS, INPUTS, trial
from hypothesis import given, settings
from hypothesis import strategies as st

from recurrent_jax.testing import LAWS, Trial

pytestmark = pytest.mark.usefixtures("strict_ranks")
cells = pytest.mark.parametrize("name", CELLS)
laws = pytest.mark.parametrize(
    "law",
    [
        # These two feed NaN on purpose.
        pytest.param(
            law, marks=pytest.mark.nans if name in ("padding", "reset") else ()
        )
        for name, law in LAWS.items()
    ],
    ids=LAWS.keys(),
)


@laws
@cells
def test_fixed_case(name, law, x64):
    law(trial(name))


@pytest.mark.parametrize("time, batch_shape", [(1, ()), (0, (2,))])
@laws
def test_shapes_at_the_edge(law, time, batch_shape, x64):
    law(Trial(CELLS["lstm"], time=time, batch_shape=batch_shape))


@laws
@settings(deadline=None, max_examples=3)
@given(
    cell=st.sampled_from([CELLS[name] for name in CELLS if name not in INPUTS]),
    in_features=st.integers(1, 3),
    time=st.integers(1, 5),
    batch_shape=st.lists(st.integers(1, 3), max_size=2).map(tuple),
    seed=st.integers(0, 2**31),
)
def test_drawn_case(law, cell, in_features, time, batch_shape, seed):
    with jax.enable_x64(True):
        law(Trial(cell, in_features, time, batch_shape, seed))
