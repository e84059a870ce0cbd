# SPDX-License-Identifier: Apache-2.0
"""Checkpoints: what comes back, after what damage, and after being killed."""

import gc
import json
import os
import pathlib
import re
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

# Where a file cannot be read, Orbax leaves a coroutine behind whose event loop is gone.
pytestmark = pytest.mark.filterwarnings(
    "ignore:Exception ignored in:pytest.PytestUnraisableExceptionWarning"
)


@pytest.fixture(autouse=True)
def collected():
    """Collect those coroutines here, and not under another test."""
    yield
    gc.collect()


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
    ("open", 6, 0),  # the arrays are not yet written
    ("os.rename", 3, 0),  # all is written, but the first checkpoint has no name
    ("os.rename", 6, 1),  # in the second save
    # The first removal is of what the last kill left, the second of the oldest.
    ("shutil.rmtree", 2, 4),
]


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
