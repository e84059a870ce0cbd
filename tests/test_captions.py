# SPDX-License-Identifier: Apache-2.0
"""The example `examples/captions.py`: its pictures, its baselines, what a user sees."""

import io
import os
import pathlib
import subprocess
import sys
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import recurrent_jax as rj

for needed in ("flax", "matplotlib", "optax", "orbax", "rich", "sklearn", "tyro"):
    if not __import__("importlib.util").util.find_spec(needed):
        pytest.skip(f"the example needs {needed}", allow_module_level=True)

ROOT = pathlib.Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "examples"))

import captions  # noqa: E402
import captions_data as data  # noqa: E402
import captions_report as report  # noqa: E402
from captions_model import Captioner  # noqa: E402
from rich.console import Console  # noqa: E402

from recurrent_jax import training  # noqa: E402

pytestmark = pytest.mark.slow

TINY = ("--steps", "20", "--batch-size", "4", "--hidden-size", "3", "--tests", "50")
TINY += ("--features", "4", "--beams", "2")


@pytest.fixture(scope="module")
def digits():
    return data.parts()


@pytest.fixture(scope="module")
def shown(digits):
    compose = jax.jit(lambda key: data.compose(key, digits["test"], 300))
    return compose(jax.random.key(0))


def test_no_digit_is_in_two_parts(digits):
    count = sum(len(part.labels) for part in digits.values())
    every = np.concatenate([np.asarray(part.images) for part in digits.values()])
    assert count == 1797 and len(np.unique(every.reshape(count, -1), axis=0)) == 1797
    assert [len(part.labels) for part in digits.values()] == [1078, 270, 449]
    for part in digits.values():
        assert set(part.labels.tolist()) == set(range(10))
        assert 0 <= part.images.min() and part.images.max() == 1


def test_a_picture_shows_its_digits_once_in_order(digits, shown):
    images = np.asarray(digits["test"].images)
    for n in range(50):
        picture, amount = np.asarray(shown.pictures[n]), int(shown.lengths[n]) - 1
        which = np.asarray(shown.which[n])[:amount]
        np.testing.assert_allclose(picture.sum(), images[which].sum(), rtol=1e-5)
        # Each digit is found in one place, to the right of the one before.
        views = np.lib.stride_tricks.sliding_window_view(picture, (8, 8))
        left = -8
        for image in images[which]:
            inked = image > 0
            hit = (np.abs(views - image) < 1e-6)[..., inked].all(-1)
            columns = np.flatnonzero(hit.any(0))
            columns = columns[columns >= left + 8]
            assert len(columns), f"picture {n}"
            left = columns[0]


def test_captions_are_the_labels_and_an_end(digits, shown):
    labels = np.asarray(digits["test"].labels)
    tokens = np.asarray(shown.tokens)
    for n in range(300):
        amount = int(shown.lengths[n]) - 1
        want = [*labels[np.asarray(shown.which[n])[:amount]]]
        want += [data.END] * (data.MOST + 1 - amount)
        assert tokens[:, n].tolist() == want
    assert np.bincount(np.asarray(shown.lengths), minlength=7)[2:].min() > 30
    assert data.words(np.array([3, 7, 1, 10, 10, 10])) == "three seven one"
    assert data.words(np.array([10])) == ""


def test_baselines_by_hand(digits, shown):
    right = data.baselines(digits, shown)
    held = digits["test"]
    flat = lambda d: np.asarray(d.images).reshape(-1, 64)  # noqa: E731
    train = flat(digits["training"])
    for n in range(20):
        which = np.asarray(shown.which[n])[: int(shown.lengths[n]) - 1]
        gaps = np.square(flat(held)[which][:, None] - train[None]).sum(-1)
        guess = np.asarray(digits["training"].labels)[gaps.argmin(1)]
        want = (guess == np.asarray(held.labels)[which]).all()
        assert right["nearest neighbour, ideal crops"][n] == want
    assert 0.8 < right["logistic regression, ideal crops"].mean() < 1
    assert right["most frequent caption"].mean() < 0.06


def test_the_loss_leaves_out_what_follows_the_end(shown):
    model = Captioner(rj.GRU(3), features=4)
    params = jax.jit(model.init)(jax.random.key(0))
    few = jax.tree.map(lambda a: a[..., :5] if a.ndim == 2 else a[:5], shown)
    few = few._replace(pictures=shown.pictures[:5], which=shown.which[:5])
    run = jax.jit(jax.value_and_grad(lambda p, b: model.loss(p, (), b, None)[0]))
    value, gradient = run(params, few)
    after = jnp.arange(data.MOST + 1)[:, None] >= few.lengths
    other = few._replace(tokens=jnp.where(after, 7, few.tokens))
    again, same = run(params, other)
    np.testing.assert_array_equal(value, again)
    jax.tree.map(np.testing.assert_array_equal, gradient, same)


def test_a_caption_is_what_the_loss_was_trained_on(shown):
    """Greedy words are the best ones of teacher forcing on those same words."""
    model = Captioner(rj.LSTM(3), features=4)
    params = jax.jit(model.init)(jax.random.key(3))
    params = params._replace(kernel=5 * params.kernel)
    few = shown.pictures[:6]
    written = jax.jit(lambda p: model.caption(p, few, beams=1))(params)

    def forced(params):
        params_d = model.look(params, few)
        inputs = params.table[rj.tasks.delay(written, data.START)]
        _, ys = rj.unroll(model.decoder, params_d, inputs)
        return rj.affine(ys, params.kernel, params.bias).argmax(-1)

    best = np.asarray(jax.jit(forced)(params))
    over = np.cumsum(np.asarray(written) == data.END, axis=0) > 1
    np.testing.assert_array_equal(np.where(over, data.END, best), written)
    weights = jax.jit(lambda p: model.attention(p, few, written))(params)
    assert weights.shape == (6, 6, 3, 14)
    np.testing.assert_allclose(weights.sum((2, 3)), 1, rtol=1e-5)


def test_the_pictures_drawn_are_the_first_and_the_first_wrong_one():
    right = np.ones(20, bool)
    assert report.chosen(right).tolist() == [0, 1, 2, 3, 4]
    right[[2, 9, 15]] = False
    assert report.chosen(right).tolist() == [0, 1, 2, 3, 9]


def test_verdict(shown):
    right = np.ones(300, bool)
    half = np.arange(300) % 2 == 0
    results = report.Results(
        "GRU",
        shown,
        np.asarray(shown.tokens),
        {"GRU": right, "greedy": right, "ours": half, "other": ~right},
        np.arange(report.SHOWN),
        np.ones((6, report.SHOWN, 3, 14)) / 42,
        np.full((10, 2), 0.5),
        100,
    )
    text = report.verdict(results)
    assert "GRU: 100.0% of 300" in text and "wins by 50.0% against ours" in text
    same = results._replace(right={"GRU": half, "greedy": half, "ours": half})
    assert "within noise" in report.verdict(same)
    worse = results._replace(right={"GRU": ~right, "greedy": half, "ours": half})
    assert "loses by 50.0%" in report.verdict(worse)


def test_it_is_stopped_and_goes_on_to_the_same_end(digits, tmp_path, monkeypatch):
    """Bit for bit: parameters, optimiser, key, step, and the curve so far."""
    tiny = {"steps": 20, "batch_size": 4, "hidden_size": 3, "features": 4}
    console = Console(file=io.StringIO())

    def train(name, stop):
        config = captions.Config(**tiny, output=tmp_path / name)
        with jax.numpy_dtype_promotion("standard"):  # Optax's Adam needs it
            return captions.train(config, digits, stop, console)

    save, stop = training.save, threading.Event()

    def saved(directory, run):
        if save(directory, run) == 3:
            stop.set()

    whole = train("one", threading.Event())
    monkeypatch.setattr(training, "save", saved)
    cut = train("two", stop)
    assert int(cut.state.step) == 8 and np.isnan(cut.curve[4:]).all()
    rest = train("two", threading.Event())
    assert "Going on after step 8" in console.file.getvalue()
    assert int(rest.state.step) == 20 and np.isfinite(rest.curve).all()
    key, other = (jax.random.key_data(run.state.key) for run in (whole, rest))
    np.testing.assert_array_equal(key, other)
    whole, rest = (r._replace(state=r.state._replace(key=())) for r in (whole, rest))
    jax.tree.map(np.testing.assert_array_equal, whole, rest)


def test_run_prints_the_table_and_saves_the_picture(tmp_path):
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-W", "error", "examples/captions.py", *TINY]
        + ["--output", str(tmp_path / "new" / "results")],
        cwd=ROOT,
        env={
            **os.environ,
            "PYTHONPATH": path,
            "COLUMNS": "100",
            "TERM": "dumb",
        },
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert (done.returncode, done.stderr) == (0, "")
    for text in ("5 digits", "logistic regression", "most frequent", "parameters"):
        assert text in done.stdout
    assert "\x1b" not in done.stdout and len(done.stdout.splitlines()) < 40
    png = (tmp_path / "new" / "results" / "captions.png").read_bytes()
    assert png.startswith(b"\x89PNG")


def fails(capsys, *flags):
    """Run in this process; return the exit status and the one line on stderr."""
    before, sys.argv = sys.argv, ["captions.py", *map(str, flags)]
    try:
        status = captions.main()
    except SystemExit as stop:
        status = stop.code
    finally:
        sys.argv = before
    err = capsys.readouterr().err
    assert err.startswith("captions.py: ") and err.count("\n") == 1, err
    return status, err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--nope", "3"], "--nope"),
        (["--steps", "9"], "steps must be at least 10"),
        (["--tests", "3"], "tests must be at least 5"),
        (["--beams", "0"], "beams must be at least 1"),
        (["--cell", "transformer"], "'transformer'"),
        (["--dropout", "1"], "dropout must be in [0, 1)"),
        (["--learning-rate", "nan"], "learning_rate must be positive"),
    ],
)
def test_bad_flag(capsys, flags, message):
    status, err = fails(capsys, *flags)
    assert status == 2 and message in err
