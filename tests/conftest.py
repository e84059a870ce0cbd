# SPDX-License-Identifier: Apache-2.0
"""What every test runs under."""

import gc
import importlib.metadata
import itertools
import os
import pathlib
import zlib

# Read when the peers are imported, so set before any test module is.
os.environ.setdefault("KERAS_BACKEND", "jax")
os.environ.setdefault("MPLBACKEND", "agg")
# Small programs, compiled once: how well they run matters less than how soon. In one
# piece each, and by the faster code generator where XLA has two.
os.environ.setdefault(
    "XLA_FLAGS",
    "--xla_backend_optimization_level=0 --xla_cpu_parallel_codegen_split_count=1"
    + " --xla_cpu_use_fusion_emitters=false"
    * importlib.metadata.version("jaxlib").startswith("0.10."),
)

import jax
import pytest

jax.config.update("jax_numpy_dtype_promotion", "strict")
# Traces make many objects and little garbage. Without collection at all, tests fail.
gc.set_threshold(10_000, 10, 10)

# For type checkers alone: some of its calls are wrong on purpose.
collect_ignore = ["editor"]

_tests_run = itertools.count(1)
MAPS = pathlib.Path("/proc/self/maps")


def pytest_addoption(parser):
    parser.addoption(
        "--share",
        default="0/1",
        metavar="I/N",
        help="run part I of N of the tests, drawn by their names",
    )


def is_in_share(name, share):
    """Return whether a test is in part I of N, which `share` writes as I/N."""
    part, _, parts = share.partition("/")
    if not (part.isdecimal() and parts.isdecimal() and int(part) < int(parts)):
        raise pytest.UsageError(f"--share {share}: want I/N with 0 <= I < N")
    return zlib.crc32(name.encode()) % int(parts) == int(part)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items):
    """Mark tests that are slow by another mark, and keep those of one share.

    Of a test that is `mostly_slow`, all cases but the first are slow. Tests marked
    `newest` are slow, and so are examples in docstrings, which get this mark here. A
    name is in the same share on all machines.
    """
    seen = set()
    for item in items:
        test = item.nodeid.partition("[")[0]
        if isinstance(item, pytest.DoctestItem):
            item.add_marker("newest")
        again = item.get_closest_marker("mostly_slow") and test in seen
        if again or item.get_closest_marker("newest"):
            item.add_marker("slow")
        seen.add(test)
    share = config.getoption("share")
    chosen = [is_in_share(item.nodeid, share) for item in items]
    config.hook.pytest_deselected(
        items=[item for item, kept in zip(items, chosen, strict=True) if not kept]
    )
    items[:] = itertools.compress(items, chosen)


@pytest.fixture(autouse=True)
def forget_programs():
    """Let go of compiled programs before there are too many.

    Each lies in some maps of memory of its own. Linux gives a process 65,530 of them,
    and XLA does not survive the last. One test may take some thousands.
    """
    yield
    if next(_tests_run) % 20 == 0 and MAPS.exists():
        if MAPS.read_bytes().count(b"\n") > 30_000:
            jax.clear_caches()
            gc.collect()


@pytest.fixture(params=os.environ.get("DTYPES", "float64").split(","))
def dtype(request):
    """A precision, with 64-bit types switched on for float64 alone.

    `DTYPES` names others, such as `float32,float64`. The newest lane runs float32.
    """
    with jax.enable_x64(request.param == "float64"):
        yield request.param


@pytest.fixture
def x64():
    """64-bit types switched on."""
    with jax.enable_x64(True):
        yield


@pytest.fixture
def small_heap():
    """Hide the objects of earlier tests from the garbage collector.

    Newer JAX collects garbage for every trace that it checks for leaks, which takes
    seconds once a process holds many programs.
    """
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(scope="module")
def strict_ranks():
    """No array gets leading axes silently; peers do not all keep to that."""
    with jax.numpy_rank_promotion("raise"):
        yield
