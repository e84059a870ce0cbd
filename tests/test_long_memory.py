# SPDX-License-Identifier: Apache-2.0
"""The example `examples/long_memory.py`: its tasks, its ladder, and its picture."""

import dataclasses
import os
import pathlib
import sys
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest

for needed in ("matplotlib", "rich", "tyro"):
    if not __import__("importlib.util").util.find_spec(needed):
        pytest.skip(f"the example needs {needed}", allow_module_level=True)

ROOT = pathlib.Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "examples"))

import cli  # noqa: E402
import long_memory  # noqa: E402
import long_memory_report as report  # noqa: E402
import long_memory_tasks as tasks  # noqa: E402
from rich.console import Console  # noqa: E402

pytestmark = pytest.mark.slow

T, N = 30, 500


def draw(name, length=T):
    batch = tasks.TASKS[name].draw(jax.random.key(0), length, N)
    return np.asarray(batch.xs), np.asarray(batch.targets)


@pytest.mark.parametrize("name", tasks.TASKS)
@pytest.mark.parametrize("length", [tasks.SHORTEST, 30])
def test_shapes(name, length):
    task, (xs, targets) = tasks.TASKS[name], draw(name, length)
    assert xs.shape == (length, N, task.features)
    assert targets.shape == (task.last, N)


def test_adding():
    xs, targets = draw("adding")
    marks = xs[..., 1]
    assert (marks[: T // 2].sum(0) == 1).all() and (marks[T // 2 :].sum(0) == 1).all()
    np.testing.assert_allclose(targets[0], (xs[..., 0] * marks).sum(0), rtol=1e-6)
    assert targets.var() == pytest.approx(1 / 6, rel=0.15)


def test_copying():
    xs, targets = draw("copying")
    codes = xs.argmax(-1)
    assert (codes[: tasks.COPIED] == targets).all()
    assert (codes[tasks.COPIED : -tasks.COPIED] == tasks.ALPHABET).all()
    assert (codes[-tasks.COPIED :] == tasks.ALPHABET + 1).all()


def test_temporal_order():
    xs, targets = draw("temporal order")
    codes = xs.argmax(-1)
    assert ((codes < 2).sum(0) == 2).all()
    both = codes.T[codes.T < 2].reshape(N, 2)  # in the order of time
    assert (2 * both[:, 0] + both[:, 1] == targets[0]).all()
    assert set(np.unique(targets)) == {0, 1, 2, 3}


@pytest.mark.parametrize("name", tasks.TASKS)
def test_loss_is_one_without_memory_and_zero_with_it(name):
    task, (_, targets) = tasks.TASKS[name], draw(name)
    blind = jnp.ones((*targets.shape, task.outputs))
    assert tasks.loss(task, blind, targets) == pytest.approx(1, rel=0.15)
    known = targets[..., None] if task.outputs == 1 else 99 * jax.nn.one_hot(targets, 4)
    assert tasks.loss(task, jnp.asarray(known), targets) == pytest.approx(0, abs=1e-6)


def results(curves, lengths=(20, 40, 80)):
    gradients = {"GRU": np.linspace(0.0, -9.9, 100)[:, None]}
    return report.Results(curves, gradients, lengths, ("adding",), 0.1)


def test_the_ladder_is_read_from_below():
    curves = {("adding", "GRU", 20): [1.0, 0.05], ("adding", "GRU", 40): [0.9, 0.55]}
    found = results(curves)
    assert found.longest("adding", "GRU") == 20
    assert report.entry(found, "adding", "GRU") == "[bold]20[/bold] (55% left at 40)"
    assert found.decades("GRU") == pytest.approx(-10)
    assert results({}).longest("adding", "GRU") == 0


TINY = long_memory.Config(
    tasks=("temporal order",), lengths=(11, 14), steps=50, batch_size=3, hidden_size=2
)


def test_it_climbs_only_where_it_solves_and_goes_on(tmp_path, monkeypatch):
    config, asked = dataclasses.replace(TINY, output=tmp_path), []

    def train(config, name, network, length, advance):
        asked.append((network, length))
        return [0.01] if network == "LSTM" else [0.5]

    monkeypatch.setattr(long_memory, "train", train)
    stopped = threading.Event()
    stopped.set()
    assert long_memory.climb(config, stopped, Console()) == {} and not asked
    curves = long_memory.climb(config, threading.Event(), Console())
    networks = [network for network, _ in asked]
    assert asked.count(("LSTM", 14)) == 1 and networks.count("GRU") == 1
    asked.clear()
    assert long_memory.climb(config, threading.Event(), Console()) == curves
    assert not asked


def test_a_damaged_file_of_results_is_an_error_in_one_line(tmp_path):
    config = dataclasses.replace(TINY, output=tmp_path)
    path = tmp_path / f"long_memory-{long_memory.name_of(config)}.json"
    path.write_text('[["copying", "GRU"')
    with pytest.raises(cli.Failure, match="json is damaged .*; remove it to start"):
        long_memory.climb(config, threading.Event(), Console())


def test_a_process_that_stores_beside_another_does_not_write_to_its_file(
    tmp_path, monkeypatch
):
    path, number = tmp_path / "results.json", os.getpid()

    def meanwhile(file):
        monkeypatch.setattr(cli.os, "fsync", lambda file: None)
        monkeypatch.setattr(cli.os, "getpid", lambda: number + 1)
        cli.store(path, ["theirs", "and more"])

    monkeypatch.setattr(cli.os, "fsync", meanwhile)
    cli.store(path, ["ours"])
    assert cli.load(path) == ["ours"]
    assert list(tmp_path.iterdir()) == [path]


def test_training_learns_and_repeats():
    config = long_memory.Config(hidden_size=16, steps=300, learning_rate=0.02)
    seen = []
    curve, again = (
        long_memory.train(config, "temporal order", "LSTM", 11, seen.append)
        for _ in range(2)
    )
    assert curve[-1] < 0.7 * curve[0] and sum(seen) == 100 * len(curve)
    assert again == curve


def test_what_a_user_sees(capsys, tmp_path, monkeypatch):
    flags = "--tasks copying --lengths 11 --steps 50 --batch-size 2 --hidden-size 2"
    monkeypatch.setattr(
        sys, "argv", ["long_memory.py", *flags.split(), "--output", str(tmp_path)]
    )
    monkeypatch.setenv("COLUMNS", "100")
    cells = long_memory.cells
    two = ("Elman", "GRU")
    monkeypatch.setattr(
        long_memory, "cells", lambda *of: {name: cells(*of)[name] for name in two}
    )
    with jax.numpy_dtype_promotion("standard"):  # Optax's Adam needs it
        assert long_memory.main() == 0
    out = capsys.readouterr().out
    assert " Elman " in out and " GRU " in out
    assert (tmp_path / "long_memory.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    "flags, text",
    [
        ("--lengths 40 20", "lengths must grow"),
        ("--lengths 5", "lengths must be at least 11"),
        ("--steps 60", "steps must be a multiple of 50"),
        ("--tasks juggling", "tasks must be some of adding, copying, temporal order"),
    ],
)
def test_flags_out_of_range(flags, text, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["long_memory.py", *flags.split()])
    with pytest.raises(SystemExit, match="2"):
        long_memory.main()
    assert text in capsys.readouterr().err
