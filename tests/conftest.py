# SPDX-License-Identifier: Apache-2.0
"""What every test runs under."""

import os

# Read when the peers are imported, so set before any test module is.
os.environ.setdefault("KERAS_BACKEND", "jax")
os.environ.setdefault("MPLBACKEND", "agg")
# Small programs, compiled once: how well they run matters less than how soon.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")

import jax
import pytest

jax.config.update("jax_numpy_dtype_promotion", "strict")


@pytest.fixture(params=["float32", "float64"])
def dtype(request):
    """Each precision in turn, with 64-bit types switched on for float64 alone."""
    with jax.enable_x64(request.param == "float64"):
        yield request.param


@pytest.fixture
def x64():
    """64-bit types switched on."""
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="module")
def strict_ranks():
    """No array gets leading axes silently; peers do not all keep to that."""
    with jax.numpy_rank_promotion("raise"):
        yield
