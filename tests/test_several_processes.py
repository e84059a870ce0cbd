# SPDX-License-Identifier: Apache-2.0
"""Training in several processes: the losses of one, and no loss when one is killed."""

import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest

for needed in ("matplotlib", "optax", "orbax", "rich", "tyro"):
    if not __import__("importlib.util").util.find_spec(needed):
        pytest.skip(f"the example needs {needed}", allow_module_level=True)

ROOT = pathlib.Path(__file__).parents[1]
DRIVER = ROOT / "tests" / "several_text.py"
sys.path[:0] = [str(ROOT / "examples"), str(ROOT / "tests" / "training")]

import killed  # noqa: E402
import several_text  # noqa: E402

KILLED = 128 + 9  # the status of a process that got SIGKILL, in a shell


def start(processes, directory, event="none", count=0, index=0, **names):
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    words = (DRIVER, processes, directory, event, count, index)
    return subprocess.Popen(
        [sys.executable, "-W", "error", *map(str, words)],
        env={**os.environ, "PYTHONPATH": path, "TERM": "dumb", **names},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def trained(processes, directory):
    process = start(processes, directory)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    (line,) = [line for line in out.splitlines() if line.startswith("{")]
    return json.loads(line)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """The directory of two processes that nothing disturbs."""
    return tmp_path_factory.mktemp("two")


@pytest.fixture(scope="module")
def two(place):
    """What they reach."""
    return trained(2, place)


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    """The losses of this process alone."""
    return np.asarray(several_text.train(tmp_path_factory.mktemp("one")).curve)


@pytest.mark.slow
def test_two_processes_have_the_losses_of_one(one, two):
    assert np.isfinite(one).all() and one[1, 0] < one[0, 0]
    np.testing.assert_allclose(two["losses"], one, rtol=2e-6)


@pytest.mark.newest
def test_each_loads_its_part_and_hears_what_process_0_meets(two):
    assert two["loaded"] == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert two["refused"] == [True, True]


@pytest.mark.newest
def test_their_checkpoint_is_that_of_one_process(two, place):
    run = several_text.train(place)  # finished, so it is restored and that is all
    assert json.loads(json.dumps(killed.reached(run))) == two["reached"]


@pytest.mark.slow
def test_four_processes_have_the_losses_of_one(one, tmp_path):
    found = trained(4, tmp_path)
    np.testing.assert_allclose(found["losses"], one, rtol=2e-6)
    assert found["loaded"] == [[0, 1], [2, 3], [4, 5], [6, 7]]


@pytest.mark.slow
def test_ctrl_c_stops_all(tmp_path):
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    process = subprocess.Popen(
        [sys.executable, "examples/text.py", "--processes=2", f"--output={tmp_path}"],
        env={**os.environ, "PYTHONPATH": path, "TERM": "dumb"},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    first = process.stdout.readline()
    assert first.startswith("Training Deep"), first + process.stderr.read()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=300)  # the others hold the pipes, too
    assert process.returncode == 130
    assert "text.py: interrupted, without a result\n" in err and "Traceback" not in err


@pytest.mark.slow
def test_process_0_is_killed_in_a_save_and_all_go_on_to_the_same_bits(two, tmp_path):
    process = start(2, tmp_path, "os.rename", 6, 0)  # in the second of two saves
    out, err = process.communicate(timeout=300)
    assert process.returncode == KILLED and "{" not in out, err
    (run,) = tmp_path.iterdir()
    assert any("tmp" in path.name for path in run.iterdir())
    assert trained(2, tmp_path) == two


def slurm(number):
    """Return what SLURM tells the processes of a job on one machine."""
    names = {"JOB_ID": 4000 + os.getpid() % 90, "STEP_NODELIST": "localhost"}
    names |= {"NTASKS": 2, "PROCID": number, "LOCALID": number}
    return {f"SLURM_{name}": str(value) for name, value in names.items()}


@pytest.mark.slow
def test_one_of_a_cluster_is_killed_and_the_others_do_not_wait_for_ever(
    one, two, tmp_path
):
    """Each is started alone. Others go on: two of a launcher, and one process."""
    first, second = (
        start("cluster", tmp_path, "steps", 14, 1, **slurm(number))
        for number in range(2)
    )
    _, err = second.communicate(timeout=300)
    assert second.returncode == -9, err
    # The error of the exchange, or the end that JAX makes of a process.
    _, err = first.communicate(timeout=60)
    assert first.returncode not in (0, None), err
    shutil.copytree(tmp_path, tmp_path.with_name("alone"))
    assert trained(2, tmp_path) == two
    alone = several_text.train(tmp_path.with_name("alone"))
    np.testing.assert_allclose(alone.curve, one, rtol=2e-6)
