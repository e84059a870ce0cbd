# SPDX-License-Identifier: Apache-2.0
"""The example `examples/classify.py`: its data, its measure, and what a user sees."""

import dataclasses
import pathlib
import shutil
import sys
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest

for needed in ("matplotlib", "mnist1d", "orbax", "rich", "tyro"):
    if not __import__("importlib.util").util.find_spec(needed):
        pytest.skip(f"the example needs {needed}", allow_module_level=True)

ROOT = pathlib.Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "examples"))

import classify  # noqa: E402
import classify_data as data  # noqa: E402
import classify_report as report  # noqa: E402

pytestmark = pytest.mark.slow

CONFIG = classify.Config(
    hidden_size=3, epochs=3, batch_size=16, samples=60, seeds=1, layers=1
)


@pytest.fixture(scope="module")
def digits():
    return data.digits(CONFIG.samples)


def test_the_data_are_made_here_the_same_each_time(digits):
    assert digits.x.shape == (48, 40) and digits.x_test.shape == (12, 40)
    np.random.seed(3)
    expected = np.random.rand()
    np.random.seed(3)
    again = data.digits(CONFIG.samples)
    assert np.random.rand() == expected  # NumPy's own generator is as it was
    jax.tree.map(np.testing.assert_array_equal, again, digits)
    everything = jnp.concatenate([digits.x, digits.x_test])
    assert everything.mean() == pytest.approx(0, abs=1e-5)
    assert len(np.unique(np.asarray(everything), axis=0)) == 60


def test_the_whole_data_set_has_every_digit_alike():
    counts = np.bincount(data.digits().y)
    assert len(counts) == 10 and counts.sum() == 4000
    assert counts.min() > 350


def test_logistic_regression_finds_what_is_linear():
    x = jax.random.normal(jax.random.key(0), (300, 40))
    y = (x[:, 0] > 0).astype(int)
    linear = data.Digits(x[:200], y[:200], x[200:], y[200:])
    with jax.numpy_dtype_promotion("standard"):
        assert data.logistic_regression(linear, steps=200) > 0.85


def test_a_series_is_read_alone_and_without_draws(digits):
    params = classify.init(CONFIG, jax.random.key(0))
    together = classify.logits(CONFIG, params, digits.x[:5])
    alone = classify.logits(CONFIG, params, digits.x[3:4])
    np.testing.assert_allclose(together[3:4], alone, rtol=1e-4, atol=1e-6)
    drawn = classify.logits(CONFIG, params, digits.x[:5], jax.random.key(1))
    assert not np.allclose(drawn, together)


def test_stopped_and_resumed_is_never_stopped(digits, tmp_path):
    config = dataclasses.replace(CONFIG, output=tmp_path)

    def train(epochs):
        stop, advances = threading.Event(), []

        def advance(count, loss=None):
            advances.append(loss)
            if sum(map(bool, advances)) == epochs:
                stop.set()

        return classify.train(config, digits, 0, True, stop, advance)

    with jax.numpy_dtype_promotion("standard"):  # Optax's Adam needs it
        whole = train(config.epochs)
        for directory in tmp_path.iterdir():
            shutil.rmtree(directory)
        assert train(1) is None and train(1) is None
        halved = train(config.epochs)
    whole, halved = (
        run._replace(state=run.state._replace(key=None)) for run in (whole, halved)
    )
    jax.tree.map(np.testing.assert_array_equal, whole, halved)
    assert whole.curve[-1, 0] < whole.curve[0, 0]


@pytest.mark.parametrize("clip", [True, False])
def test_clipping_clips(clip):
    config = dataclasses.replace(CONFIG, max_norm=1e-9)
    params = {"kernel": jnp.ones((2, 2))}
    tx = classify.optimizer(config, 48, clip)
    with jax.numpy_dtype_promotion("standard"):
        _, state = jax.jit(tx.update)(params, tx.init(params), params)
    mean, square = (m for m in jax.tree.leaves(state) if m.shape == (2, 2))
    assert bool(mean.max() < 1e-9) is clip


def test_what_a_user_sees(capsys, tmp_path, monkeypatch):
    flags = "--samples 60 --epochs 1 --batch-size 16 --hidden-size 2 --layers 1 "
    command = ["classify.py", *flags.split(), "--seeds=1", "--output", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", command)
    monkeypatch.setenv("COLUMNS", "120")
    with jax.numpy_dtype_promotion("standard"):
        assert classify.main() == 0
    out = capsys.readouterr().out
    for row in ("clipped at norm 1", "not clipped", "logistic regression, here"):
        assert row in out
    assert "the published GRU" in out
    assert (tmp_path / "classify.png").read_bytes().startswith(b"\x89PNG")


def test_the_verdict_reads_the_mean_of_the_seeds(digits):
    curves = np.zeros((3, 2, 3))
    curves[:, -1, 1] = (0.93, 0.95, 0.97)
    results = report.Results("net", {True: curves}, 0.3, digits, np.zeros(12), 1.0)
    said = report.verdict(results)
    assert said.startswith("95.0% correct, 4.0 points above the published")


@pytest.mark.parametrize(
    "flags, text",
    [
        ("--samples 20", "samples must be at least 50"),
        ("--batch-size 5000", "four fifths of them a batch or more"),
        ("--dropout 1", "dropout must be in [0, 1)"),
    ],
)
def test_flags_out_of_range(flags, text, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["classify.py", *flags.split()])
    with pytest.raises(SystemExit, match="2"):
        classify.main()
    assert text in capsys.readouterr().err
