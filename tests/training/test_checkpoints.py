# SPDX-License-Identifier: Apache-2.0
"""Checkpoints: what comes back, after what damage, and after being killed."""

import concurrent.futures
import contextlib
import errno
import json
import os
import pathlib
import re
import resource
import shutil
import subprocess
import sys
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import recurrent_jax as rj
from recurrent_jax.training import CheckpointError, adamw, init_state, restore, save

pytest.importorskip("orbax.checkpoint")

from . import killed  # noqa: E402


def state(value=1.0, cell=killed.CELL):
    params = cell.init(jax.random.key(0), 2)
    params = jax.tree.map(lambda p: p + value, params)
    start = init_state(params, adamw(0.1, skip=1), key=jax.random.key(7))
    return start._replace(carry=cell.initial_carry((3,)))


def same(one, other):
    assert killed.reached(one) == killed.reached(other)
    assert jax.tree.structure(one) == jax.tree.structure(other)


def parts():
    return {
        "float16": jnp.arange(3, dtype="float16"),
        "bfloat16": jnp.arange(3, dtype="bfloat16") / 3,
        "nan": np.array([np.nan, -0.0, np.inf], "float32"),
        "flags": jnp.array([True, False]),
        "empty": jnp.zeros((0, 3)),
        "keys": jax.random.split(jax.random.key(3, impl="rbg"), 2),
        "number": 7,
        "share": 0.1,
        "absent": None,
        "nested": (rj.LSTM.Carry(jnp.ones(1), jnp.zeros(1)), [np.int64(4)]),
    }


def test_every_kind_of_part_comes_back(tmp_path):
    save(tmp_path, parts())
    like = jax.tree.map(lambda x: x, parts())
    like["number"], like["share"], like["nan"] = 0, 0.0, np.zeros(3, "float32")
    again = restore(tmp_path, like)
    same(again, parts())
    assert again["number"] == 7 and again["share"] == 0.1 and again["absent"] is None
    assert jax.random.key_impl(again["keys"]) == jax.random.key_impl(parts()["keys"])
    for name, part in parts().items():
        assert type(again[name]) is type(part)


def test_the_newest_comes_back_and_the_oldest_go(tmp_path):
    for value in range(4):
        assert save(tmp_path, state(value), keep=2) == value
    assert sorted(os.listdir(tmp_path)) == ["2", "3"]
    same(restore(tmp_path, state()), state(3))


def test_without_checkpoints_there_is_nothing(tmp_path):
    assert restore(tmp_path, state()) is None
    assert restore(tmp_path / "none", state()) is None
    assert not (tmp_path / "none").exists()


def damage(path, how):
    content = path.read_bytes()
    if how == "removed":
        path.unlink()
    if how == "cut":
        path.write_bytes(content[: len(content) // 2])
    if how == "flipped":
        middle = len(content) // 2
        flipped = bytes([content[middle] ^ 0x55]) if content else b""
        path.write_bytes(content[:middle] + flipped + content[middle + 1 :])


@pytest.mark.parametrize("how", ["removed", "cut", "flipped"])
def test_whatever_file_is_damaged_no_wrong_state_comes_back(tmp_path, how):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    for value in (1, 2):
        save(whole, {"w": jnp.full(50, float(value)), "k": jax.random.key(value)})
    like = {"w": jnp.zeros(50), "k": jax.random.key(0)}
    newest = [p.relative_to(whole) for p in (whole / "1").rglob("*") if p.is_file()]
    assert len(newest) > 5
    fallen_back = 0
    for file in newest:
        shutil.rmtree(broken, ignore_errors=True)
        shutil.copytree(whole, broken)
        damage(broken / file, how)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            again = restore(broken, like)
        # Some files say nothing about the state; damage to them may go unnoticed.
        assert float(again["w"][0]) == (1.0 if caught else 2.0), file
        assert (again["w"] == again["w"][0]).all()
        if caught:
            fallen_back += 1
            text = str(caught[0].message)
            assert "using checkpoint 0, since checkpoint 1 is " in text, text
    assert fallen_back >= 2


def test_bytes_that_orbax_takes_for_good_are_found_out(tmp_path):
    # The state of another checkpoint in its place: each file is whole.
    for value in (1, 2):
        save(tmp_path, state(value))
    shutil.rmtree(tmp_path / "1" / "state")
    shutil.copytree(tmp_path / "0" / "state", tmp_path / "1" / "state")
    with pytest.warns(RuntimeWarning, match="kernel has other bytes than were saved"):
        same(restore(tmp_path, state()), state(1))


def test_a_directory_that_says_nothing_is_passed_over(tmp_path):
    save(tmp_path, state(1))
    (tmp_path / "5").mkdir()
    with pytest.warns(RuntimeWarning, match="using checkpoint 0, since checkpoint 5"):
        same(restore(tmp_path, state()), state(1))
    # And what is saved next is newer than it.
    assert save(tmp_path, state(2)) == 6
    same(restore(tmp_path, state()), state(2))


FOREIGN = {
    "size": (state(cell=rj.GRU(5)), "", r"kernel'?\] is|kernel is"),
    "cell": (state(cell=rj.LSTM(4)), "", r"absent|expected"),
    "dtype": ({"w": np.zeros(2)}, "", "absent|expected"),
    "about": (state(), "GRU(hidden_size=4, reset_after=False)", "is of something else"),
}


@pytest.mark.parametrize("like, about, text", FOREIGN.values(), ids=FOREIGN.keys())
def test_what_is_of_something_else_is_refused(tmp_path, like, about, text):
    save(tmp_path, state())
    with pytest.raises(CheckpointError, match="checkpoint 0 is of something else") as e:
        restore(tmp_path, like, about=about)
    assert re.search(text, str(e.value))


def test_the_last_one_that_fits_is_used(tmp_path):
    save(tmp_path, state(1))
    save(tmp_path, state(2, cell=rj.GRU(5)))
    with pytest.warns(
        RuntimeWarning, match="using checkpoint 0, since checkpoint 1 is"
    ):
        same(restore(tmp_path, state()), state(1))


def test_all_damaged_is_an_error_that_names_each(tmp_path):
    for value in (1, 2):
        save(tmp_path, state(value))
    for number in (0, 1):
        shutil.rmtree(tmp_path / str(number) / "state")
    with pytest.raises(CheckpointError) as error:
        restore(tmp_path, state())
    assert "checkpoint 1 is damaged" in str(error.value)
    assert "checkpoint 0 is damaged" in str(error.value)
    assert str(tmp_path) in str(error.value)


def test_what_cannot_be_saved(tmp_path):
    with pytest.raises(ValueError, match="save: keep must be at least 2"):
        save(tmp_path, state(), keep=1)
    with pytest.raises(TypeError, match=r"save: state\['f'\] must be an array"):
        save(tmp_path, {"f": jnp.tanh})
    assert not os.listdir(tmp_path)


def test_a_state_without_arrays(tmp_path):
    for n, empty in enumerate(({}, (), {"a": jnp.zeros((0, 3))})):
        directory = tmp_path / str(n)
        assert save(directory, empty) == 0
        same(restore(directory, empty), empty)
        with pytest.raises(CheckpointError, match="checkpoint 0 is of something else"):
            restore(directory, {"a": jnp.zeros(2)})


def test_arguments_that_are_none(tmp_path):
    for about in (None, 5, jnp.ones(2), object()):
        for call in (save, restore):
            with pytest.raises(TypeError, match=f"{call.__name__}: about must be a st"):
                call(tmp_path, state(), about=about)
    for directory in (None, 5, b"run", ["run"]):
        for call in (save, restore):
            with pytest.raises(TypeError, match="directory must be a path, str or"):
                call(directory, state())
    with pytest.raises(TypeError, match="save: state must be a tree of arrays, got No"):
        save(tmp_path, None)
    save(tmp_path, state())
    with pytest.raises(TypeError, match="restore: like must be a tree of arrays, got "):
        restore(tmp_path, None)
    with pytest.raises(TypeError, match=r"restore: like\['f'\] must be an array"):
        restore(tmp_path, {"f": jnp.tanh})


def test_a_file_in_the_place_of_the_directory(tmp_path):
    file = tmp_path / "file"
    file.write_text("not a checkpoint")
    for directory in (file, str(file), file / "run"):
        for call in (save, restore):
            with pytest.raises(NotADirectoryError, match=f"but {file} is a file"):
                call(directory, state())
    assert file.read_text() == "not a checkpoint"


def test_one_checkpoint_in_the_place_of_their_directory(tmp_path):
    save(tmp_path, state())
    for call in (save, restore):
        with pytest.raises(NotADirectoryError, match=f"pass {tmp_path}, the direct"):
            call(tmp_path / "0", state())
    same(restore(tmp_path, state()), state())


@contextlib.contextmanager
def full_disk():
    """Let no file grow beyond 256 bytes: a write then stops halfway."""
    _, hard = limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (256, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)


def test_a_full_disk_is_one_error_and_leaves_what_was(tmp_path, capfd):
    # And no traceback of a thread behind it.
    for value in (1, 2):
        save(tmp_path, state(value))
    with full_disk(), pytest.raises(OSError, match="save: nothing was saved") as error:
        save(tmp_path, state(3))
    assert str(tmp_path) in str(error.value) and "\n" not in str(error.value)
    assert capfd.readouterr().err == ""
    same(restore(tmp_path, state()), state(2))
    assert save(tmp_path, state(4)) == 2
    assert sorted(os.listdir(tmp_path)) == ["0", "1", "2"]
    same(restore(tmp_path, state()), state(4))


def test_a_directory_that_cannot_be_written(tmp_path, monkeypatch):
    save(tmp_path, state(1))

    def refuse(*_, **__):
        raise PermissionError(errno.EACCES, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(os, "mkdir", refuse)
        for directory in (tmp_path, tmp_path / "new"):
            with pytest.raises(PermissionError, match="save: nothing was saved"):
                save(directory, state(2))
    same(restore(tmp_path, state()), state(1))


def test_threads_that_save_to_one_directory(tmp_path):
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        jobs = [pool.submit(save, tmp_path, state(n), keep=3) for n in range(8)]
    assert sorted(job.result() for job in jobs) == list(range(8))
    assert sorted(os.listdir(tmp_path)) == ["5", "6", "7"]
    newest = next(n for n, job in enumerate(jobs) if job.result() == 7)
    same(restore(tmp_path, state()), state(newest))


def test_the_mend_is_named_where_orbax_is_missing(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "orbax.checkpoint", None)
    with pytest.raises(
        ImportError, match=r"pip install 'recurrent-jax\[checkpoints\]'"
    ):
        save(tmp_path, state())


ROOT = pathlib.Path(__file__).parents[2]


def child(directory, event="none", count=0):
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen(
        [sys.executable, "-W", "error", killed.__file__, directory, event, str(count)],
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


# Each save opens files, renames three times, and removes the oldest at the end.
KILLS = [
    ("open", 7, 0),  # the arrays are not yet written
    ("os.rename", 3, 0),  # all is written, but the first checkpoint has no name
    ("os.rename", 6, 1),  # in the second save
    # The first removal is of what the last kill left, the second of the oldest.
    ("shutil.rmtree", 2, 4),
]


@pytest.mark.slow
def test_processes_that_save_to_one_directory(tmp_path):
    directory = str(tmp_path / "run")
    processes = [child(directory) for _ in range(2)]
    for process in processes:
        _, err = process.communicate(timeout=300)
        assert (process.returncode, err) == (0, "")
    assert len(os.listdir(directory)) == 3
    start, _ = killed.start()
    assert restore(directory, start, about=repr(killed.CELL)).step == killed.STEPS


@pytest.mark.slow
def test_killed_at_any_moment_it_reaches_the_same_bits(tmp_path):
    directory = str(tmp_path / "run")
    done = 0
    for event, count, saved in KILLS:
        process = child(directory, event, count)
        out, err = process.communicate(timeout=300)
        assert process.returncode == -9, err
        assert out.splitlines()[0] == f"from {done}", "it goes on from the last save"
        half_saved = [name for name in os.listdir(directory) if "tmp" in name]
        assert bool(half_saved) == (event != "shutil.rmtree")
        done = saved
    # Between two saves, from outside, whatever it is doing then.
    process = child(directory)
    while process.stdout.readline().strip() != "saved 5":
        assert process.poll() is None, process.stderr.read()
    process.kill()
    process.communicate(timeout=300)
    process = child(directory)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    state, step = killed.start()
    for _ in range(killed.STEPS):
        state = step(state)
    assert json.loads(out.splitlines()[-1]) == json.loads(
        json.dumps(killed.reached(state))
    )


@pytest.mark.parametrize("directory", ["gs://bucket/run", "~/run"])
def test_what_is_no_path_here(directory):
    with pytest.raises(ValueError, match="directory must be one of this machine"):
        save(directory, {"a": np.ones(2)})
