# SPDX-License-Identifier: Apache-2.0
"""The example `examples/memory_agent.py`: its corridor, its replay, its output."""

import dataclasses
import functools
import json
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

import memory_agent  # noqa: E402
import memory_agent_maze as world  # noqa: E402
import memory_agent_report as report  # noqa: E402

pytestmark = pytest.mark.slow

KEY = jax.random.key(0)
MAZE = world.Maze(longest=5, cut=0.2)
TINY = memory_agent.shortened(memory_agent.Config())


def walk(act, agents=300, steps=40):
    """Return what is seen and what follows, step by step, with new episodes."""
    place, seen, doors, outcomes = world.start(MAZE, KEY, agents), [], [], []
    step = jax.jit(world.step, static_argnums=0)
    for n in range(steps):
        seen.append(np.asarray(world.observe(place)))
        doors.append(np.asarray(place.door))
        key = jax.random.fold_in(KEY, n)
        moved, outcome = step(MAZE, key, place, act(place))
        outcomes.append(jax.tree.map(np.asarray, outcome))
        done = outcome.terminated | outcome.truncated
        start = world.start(MAZE, jax.random.fold_in(key, 1), agents)
        place = memory_agent.select(done, start, moved)
    return (
        np.stack(seen),
        np.stack(doors),
        jax.tree.map(lambda *a: np.stack(a), *outcomes),
    )


def test_the_signal_is_shown_once_and_the_right_door_pays():
    seen, doors, (reward, terminated, truncated) = walk(lambda place: place.door)
    done = terminated | truncated
    first = np.concatenate([np.ones_like(done[:1]), done[:-1]])
    signal = seen[..., : world.DOORS - 1]
    assert not signal[~first].any()
    np.testing.assert_array_equal(signal[first].sum(-1), doors[first] > 0)
    shown = signal[first & (doors > 0)].argmax(-1) + 1
    np.testing.assert_array_equal(shown, doors[first & (doors > 0)])
    np.testing.assert_array_equal(reward == 1, terminated)
    np.testing.assert_array_equal(seen[..., world.DOORS - 1] == 1, terminated)
    assert not (terminated & truncated).any()
    assert set(np.unique(seen[..., -1])) == {-1, 1}


def test_who_guesses_is_right_by_chance():
    _, _, (reward, terminated, truncated) = walk(lambda p: jnp.zeros_like(p.door))
    assert reward.sum() / terminated.sum() == pytest.approx(1 / world.DOORS, abs=0.03)
    # Of the steps before the fork, a fifth is the last one.
    assert truncated.sum() / (~terminated).sum() == pytest.approx(0.2, abs=0.02)


@pytest.mark.parametrize("name", memory_agent.CELLS)
def test_the_replay_of_every_cell_is_its_rollout(name):
    cell = memory_agent.CELLS[name](TINY.hidden_size)
    assert memory_agent.check(TINY, cell, "right") is None


@pytest.mark.parametrize("how, differs", [("none", False), ("dones", True)])
def test_dones_for_resets_are_noticed(how, differs):
    text = memory_agent.check(TINY, memory_agent.CELLS["gru"](8), how)
    assert (text is not None) == differs
    assert not differs or "resets are the dones of the same steps" in text


def test_acting_and_learning_promote_nothing():
    cell = memory_agent.CELLS["lstm"](8)
    with jax.numpy_rank_promotion("raise"), jax.numpy_dtype_promotion("strict"):
        params = memory_agent.init(cell, 8, KEY)
        acting = memory_agent.begin(TINY, cell, KEY)
        go = jax.jit(functools.partial(memory_agent.roll_out, TINY, cell, "right"))
        _, steps = go(params, acting, KEY)
        resets = memory_agent.resets_of("right", steps.done, acting.done)
        batch = steps, memory_agent.advantages(TINY, steps)
        loss = jax.jit(functools.partial(memory_agent.loss, TINY, cell))
        value = loss(params, acting.carry, resets, batch)
    assert value.dtype == "float32" and jnp.isfinite(value)
    # At first the ratios are one, so the gain is the mean of scaled advantages: zero.
    logits, _ = memory_agent.judge(params, steps.ys)
    entropy = -(jnp.exp(logits) * logits).sum(-1).mean()
    missed = 0.5 * (batch[1] ** 2).mean() - TINY.entropy * entropy
    assert float(value) == pytest.approx(float(missed), abs=1e-4)


def test_advantages_are_those_of_a_loop():
    T, N = 7, 3
    keys = jax.random.split(KEY, 3)
    reward, value, later = (jax.random.normal(k, (T, N)) for k in keys)
    ends = np.zeros((T, N), bool)
    ends[2, 0] = ends[4, 1] = True
    outcome = world.Outcome(reward, jnp.asarray(ends), jnp.zeros((T, N), bool))
    blank = jnp.zeros((T, N))
    steps = memory_agent.Steps(blank, blank, blank, value, later, outcome, blank)
    got = memory_agent.advantages(TINY, steps)
    error = np.asarray(reward + TINY.discount * later - value)
    for n in range(N):
        for t in range(T):
            total, weight = 0.0, 1.0
            for u in range(t, T):
                total += weight * error[u, n]
                weight *= TINY.discount * TINY.trace
                if ends[u, n]:
                    break
            assert float(got[t, n]) == pytest.approx(total, abs=1e-4)


def test_memory_learns_and_repeats():
    config = memory_agent.Config(
        longest=2, cut=0.0, updates=50, steps=16, hidden_size=16, seeds=2
    )
    config = dataclasses.replace(config, learning_rate=0.02)
    seen = []
    with jax.numpy_dtype_promotion("standard"):  # Optax's Adam needs it
        counts, blind, again = (
            memory_agent.train(config, (cell, "right"), threading.Event(), seen.append)
            for cell in ("lru", "none", "none")
        )
    np.testing.assert_array_equal(blind, again)
    assert counts.shape == (2, 50, 2) and sum(seen) == 150
    found = {("lru", "right"): counts, ("none", "right"): blind}
    results = report.Results(found, 0.25, 50)
    assert results.final("lru", "right").min() > 0.8
    assert results.final("none", "right").max() < 0.4


def test_rates_are_of_the_last_choices():
    counts = np.zeros((2, 20, 2))
    counts[..., 1] = 4
    counts[0, -2:, 0] = 3
    results = report.Results({("gru", "right"): counts}, 0.25, 20)
    assert results.final("gru", "right").tolist() == [0.75, 0]
    curve = results.curves("gru", "right")[0]
    assert curve[-3] == 0 and curve[-1] == pytest.approx(2 * 3 / (5 * 4))


def test_what_a_user_sees(capsys, tmp_path, monkeypatch):
    flags = "--quick --cells gru --resets right dones"
    monkeypatch.setattr(
        sys, "argv", ["memory_agent.py", *flags.split(), "--output", str(tmp_path)]
    )
    monkeypatch.setenv("COLUMNS", "120")
    with jax.numpy_dtype_promotion("standard"):
        assert memory_agent.main() == 0
    out = capsys.readouterr().out
    assert " GRU " in out and " dones passed as resets " in out
    assert "gru, dones: check_replay: outputs differ" in out
    assert (tmp_path / "memory_agent.png").read_bytes().startswith(b"\x89PNG")
    saved = json.loads((tmp_path / "memory_agent.json").read_text())
    assert [a["resets"] for a in saved["agents"]] == ["right", "dones"]
    assert np.shape(saved["agents"][0]["curves"]) == (2, 20)


def test_ctrl_c_reports_on_what_there_is():
    stop = threading.Event()
    with jax.numpy_dtype_promotion("standard"):
        counts = memory_agent.train(TINY, ("none", "right"), stop, lambda _: stop.set())
    assert counts.shape == (2, memory_agent.CALL, 2)


@pytest.mark.parametrize(
    "flags, text",
    [
        ("--updates 15", "updates must be a multiple of 10"),
        ("--cells gru rnn", "cells must be some of lstm, gru, min_gru, lru, none"),
        ("--resets late", "resets must be some of right, none, dones"),
        ("--longest 1", "longest must be at least 2"),
        ("--cut 1.5", "cut, discount and trace must be probabilities"),
        ("--seeds 0", "seeds must be at least 1"),
    ],
)
def test_flags_out_of_range(flags, text, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["memory_agent.py", *flags.split()])
    with pytest.raises(SystemExit, match="2"):
        memory_agent.main()
    assert text in capsys.readouterr().err
