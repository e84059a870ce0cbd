# SPDX-License-Identifier: Apache-2.0
"""The example `examples/state_tracking.py`: its tasks, its networks, its picture."""

import dataclasses
import functools
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

import state_tracking  # noqa: E402
import state_tracking_report as report  # noqa: E402
import state_tracking_tasks as tasks  # noqa: E402
from rich.console import Console  # noqa: E402

pytestmark = pytest.mark.slow

T, N = 20, 200
KEY = jax.random.key(0)
QUICK = dataclasses.replace(state_tracking.Config(), **state_tracking.QUICK)


def draw(task):
    return map(np.asarray, task.draw(KEY, T, N))


def test_parity():
    bits, targets = draw(tasks.PARITY)
    assert bits.shape == targets.shape == (T, N) and set(np.unique(bits)) == {0, 1}
    odd = np.zeros(N, int)
    for bit, target in zip(bits, targets, strict=True):
        odd ^= bit
        np.testing.assert_array_equal(target, odd)


def test_swaps():
    codes, targets = draw(tasks.SWAPPING)
    assert set(np.unique(codes)) == set(range(4)) and set(np.unique(targets)) <= set(
        range(6)
    )
    things = np.tile(np.arange(3), (N, 1))
    for code, target in zip(codes, targets, strict=True):
        for n, pair in ((1, (0, 1)), (2, (1, 2)), (3, (0, 2))):
            rows = np.flatnonzero(code == n)
            things[np.ix_(rows, pair)] = things[np.ix_(rows, pair[::-1])]
        np.testing.assert_array_equal(np.array(tasks.ORDERS)[target], things)


def test_selective_copying():
    codes, targets = draw(tasks.COPYING)
    assert (codes[-tasks.COPIED :] == tasks.SIGNAL).all()
    before = codes[: -tasks.COPIED].T
    symbols = before[before != tasks.BLANK].reshape(N, tasks.COPIED)  # in order of time
    np.testing.assert_array_equal(symbols.T, targets)
    assert (before != tasks.BLANK).any(0).all()  # at any place
    assert set(np.unique(targets)) == set(range(tasks.ALPHABET))


def test_recall():
    codes, targets = draw(tasks.RECALL)
    np.testing.assert_array_equal(codes[:1], targets)
    assert (codes[1:] == tasks.BLANK).all()
    assert set(np.unique(targets)) == set(range(tasks.ALPHABET))


def test_networks_differ_in_their_cell_alone():
    todo = state_tracking.runs(QUICK)
    assert len({(run.panel, run.name) for run in todo}) == len(todo)
    for run in todo:
        params = jax.eval_shape(functools.partial(state_tracking.init, run), KEY)
        assert len(params.blocks) == len(run.cells)
        assert params.embedding.shape == (run.task.codes, QUICK.hidden_size)
        assert params.kernel.shape == (QUICK.hidden_size, run.task.classes)
        assert {cell.hidden_size for cell in run.cells} == {QUICK.hidden_size}


def run_of(panel, name):
    todo = state_tracking.runs(QUICK)
    return next(run for run in todo if (run.panel, run.name) == (panel, name))


def test_answers_read_no_later_step():
    run = run_of("parity", "MinGRU")
    params = state_tracking.init(run, KEY)
    codes = jnp.zeros((T, 1), int)
    answer = jax.jit(state_tracking.answer, static_argnums=(0, 3))
    before, after = (answer(run, params, c, T) for c in (codes, codes.at[9].set(1)))
    np.testing.assert_allclose(before[:9], after[:9], rtol=1e-5, atol=1e-6)
    assert not np.allclose(before[9:], after[9:])
    last = answer(run, params, codes, 3)
    np.testing.assert_allclose(last, before[-3:], rtol=1e-5, atol=1e-6)


def test_training_learns_and_repeats():
    run = run_of("parity", "LSTM")._replace(length=2, updates=100)
    config = dataclasses.replace(QUICK, batch_size=16, learning_rate=0.03)
    seen = []
    first, again = (state_tracking.train(config, run, seen.append) for _ in range(2))
    assert first.upto(2).shape == (2,)
    assert np.mean(first.curve[-1]) > 0.95 and sum(seen) == 200
    assert (first.curve, first.steps) == (again.curve, again.steps)


def made(panel="parity", name="LSTM", steps=((1.0,) * 16, (0.5,) * 16)):
    return report.Result(panel, name, 0.5, [1, 2], [[0.5, 0.5], [1.0, 0.5]], steps, 1.0)


def test_the_table_reads_the_last_answers_up_to_a_step():
    steps = [[1.0] * 8 + [0.5] * 8]
    assert made(steps=steps).upto(8) == 1 and made(steps=steps).upto(16) == 0.5
    assert made(steps=steps).upto(12) == 0.75
    assert report.entry(np.array([1.0, 0.995])) == "[bold]99.8%[/bold]"
    assert report.entry(np.array([1.0, 0.9])) == "95.0%"
    assert report.marks(40, 256) == [40, 64, 128, 256]


def test_it_goes_on_where_it_stopped(tmp_path, monkeypatch):
    config = dataclasses.replace(QUICK, output=tmp_path)
    stop, asked = threading.Event(), []

    def train(config, run, advance):
        asked.append(run.name)
        if len(asked) == 3:
            stop.set()
        return made(run.panel, run.name)

    monkeypatch.setattr(state_tracking, "train", train)
    assert len(state_tracking.measure(config, stop, Console())) == len(asked) == 3
    todo = state_tracking.runs(config)
    results = state_tracking.measure(config, threading.Event(), Console())
    assert asked == [run.name for run in todo]
    assert [result.name for result in results] == asked


def test_what_a_user_sees(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(
        sys, "argv", ["state_tracking.py", "--quick", "--output", str(tmp_path)]
    )
    monkeypatch.setenv("COLUMNS", "100")
    todo = state_tracking.runs
    kept = (
        ("parity", "MinGRU"),
        ("recall", "LRU"),
    )  # as after Ctrl-C: a panel is empty

    def some(config):
        return [run for run in todo(config) if (run.panel, run.name) in kept]

    monkeypatch.setattr(state_tracking, "runs", some)
    assert state_tracking.main() == 0
    out = capsys.readouterr().out
    assert all(name in out for _, name in kept)
    assert "Chance: 50% in parity, 25% in recall." in out
    assert (tmp_path / "state_tracking.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    "flags, text",
    [
        ("--seeds 0", "seeds must be at least 1"),
        (
            "--recall-updates 5",
            f"recall_updates must be a multiple of {state_tracking.CHECKS}",
        ),
        ("--hidden-size 6", "hidden_size must be a multiple of 4"),
        ("--tracked-length 300", "tracked_length must be at least 8 and below"),
        ("--copying-length 7", "copying_length must be at least 8"),
        ("--learning-rate 0", "learning_rate must be positive"),
    ],
)
def test_flags_out_of_range(flags, text, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["state_tracking.py", *flags.split()])
    with pytest.raises(SystemExit, match="2"):
        state_tracking.main()
    assert text in capsys.readouterr().err
