# SPDX-License-Identifier: Apache-2.0
"""The laws of cells and of the loop, with every run in a kernel."""

import dataclasses

import pytest
from cases import trial

import recurrent_jax as rj
from recurrent_jax.testing import LAWS

from .common import needs_library

pytestmark = [
    needs_library,
    pytest.mark.nans,
    pytest.mark.usefixtures("strict_ranks", "small_heap"),
]
NAMES = "elman", "elman_relu", "lstm", "gru", "gru_no_bias", "gru_reset_before"
# The loop does not depend on a kernel, but how a kernel skips and resets does.
OF_LOOPS = ("split", "padding", "empty", "reset", "reverse", "causality")
OTHERS = ("scan", "batch", "gradients")


@pytest.mark.mostly_slow
@pytest.mark.parametrize("laws", [OF_LOOPS, OTHERS], ids=["loop", "cell"])
@pytest.mark.parametrize("name", NAMES)
def test_laws(name, laws, x64):
    one = dataclasses.replace(trial(name), method=rj.Fused())
    for law in laws:
        LAWS[law](one)
