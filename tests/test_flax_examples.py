# SPDX-License-Identifier: Apache-2.0
"""The examples in Flax: their data, their baselines, and what a user sees."""

import os
import pathlib
import signal
import sys

import jax
import numpy as np
import pytest

for needed in ("flax", "names", "optax", "rich", "tyro"):
    if not __import__("importlib.util").util.find_spec(needed):
        pytest.skip(f"the examples need {needed}", allow_module_level=True)

ROOT = pathlib.Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "examples"))

import flax_linen  # noqa: E402
import flax_nnx  # noqa: E402
import names_data as data  # noqa: E402
import names_task as task  # noqa: E402

pytestmark = pytest.mark.slow

EXAMPLES = {"linen": flax_linen, "nnx": flax_nnx}
TINY = ("--hidden-size", "4", "--embedding", "3", "--epochs", "1")


@pytest.fixture(scope="module")
def names():
    return data.load()


def start(capsys, monkeypatch, example, *flags):
    monkeypatch.setattr(sys, "argv", [f"flax_{example}.py", *flags])
    monkeypatch.setenv("COLUMNS", "100")
    with jax.numpy_dtype_promotion("standard"):  # Optax needs it
        try:
            status = EXAMPLES[example].main()
        except SystemExit as stop:
            status = stop.code
    return status, *capsys.readouterr()


def test_shipped_names(names):
    text = names.text()
    assert len(text) == len(set(text)) == 5163
    assert names.codes.shape == (5163, 11) and names.lengths.max() == 11
    woman = dict(zip(text, names.women, strict=True))
    # Both bear the last three; JEAN is commoner among women, LESLIE too.
    assert woman["MARY"] == 1 and woman["JOHN"] == 0
    assert woman["JAMES"] == 0 and woman["JEAN"] == 1 and woman["LESLIE"] == 1
    assert 0.7 < names.women.mean() < 0.8


def test_test_names_are_not_trained_on(names):
    train, test = data.split(names, seed=3)
    assert len(test.women) == data.TEST
    assert not set(train.text()) & set(test.text())
    assert sorted(train.text() + test.text()) == sorted(names.text())
    assert data.split(names, seed=4)[1].text() != test.text()


def listed(**women):
    rows = list(women)
    codes = np.zeros((len(rows), 5), int)
    for row, name in zip(codes, rows, strict=True):
        row[: len(name)] = [ord(letter) - 64 for letter in name]
    return data.Names(
        codes, np.array([len(r) for r in rows]), np.array([*women.values()], np.float32)
    )


def test_endings_by_hand():
    train = listed(ANNA=1, EVA=1, NOA=0, ODO=0, HUGO=0)
    test = listed(LOA=0, IDA=1, UTO=1, EMY=0)
    assert data.endings(train, test, 0).tolist() == [True, False, False, True]
    assert data.endings(train, test, 1).tolist() == [False, True, False, True]
    assert data.endings(train, test, 2).tolist() == [True, True, False, True]
    assert data.percent(np.array([True, False, False, False])) == "25.0 ± 21.7"


def test_batches_are_every_name_in_another_order(names):
    config = task.Config(batch_size=100)
    first, second = (
        [batch.text() for batch in task.batches(config, names, epoch)]
        for epoch in (0, 1)
    )
    assert {len(batch) for batch in first} == {100}
    assert set(sum(first, [])) == set(sum(second, [])) == set(names.text())
    assert first != second


@pytest.mark.parametrize("example", EXAMPLES)
def test_training_learns_and_padding_does_not_matter(example, names):
    config = task.Config(8, 4, dropout=0.2, epochs=20, batch_size=64)
    few = names[np.arange(0, 5120, 80)]
    with jax.numpy_dtype_promotion("standard"):
        step, logits = EXAMPLES[example].start(config, few)
        losses = [float(step(few)) for _ in range(20)]
        got = logits(few)
        assert losses[-1] < losses[0] - 0.1
        np.testing.assert_array_equal(logits(few), got)  # no dropout
        wider = few._replace(codes=np.pad(few.codes, ((0, 0), (0, 3))))
        np.testing.assert_allclose(logits(wider), got, atol=1e-5)


@pytest.mark.parametrize("example", EXAMPLES)
def test_a_run_prints_the_table(capsys, monkeypatch, example):
    status, out, err = start(capsys, monkeypatch, example, *TINY)
    assert (status, err) == (0, "")
    for text in (
        "on 4,163 names",
        "always a woman's",
        "ending",
        "points, name by name",
    ):
        assert text in out
    assert "\x1b" not in out and "\r" not in out


def test_ctrl_c_leaves_a_result(capsys, monkeypatch):
    whole = task.batches

    def pressed(*arguments):
        for n, batch in enumerate(whole(*arguments)):
            if n == 1:
                os.kill(os.getpid(), signal.SIGINT)
            yield batch

    monkeypatch.setattr(task, "batches", pressed)
    flags = (*TINY, "--epochs", "1000")
    status, out, err = start(capsys, monkeypatch, "linen", *flags)
    assert (status, err) == (130, "")
    assert "the Linen model" in out and "Stopped by Ctrl-C" in out


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--epochs", "0"], "epochs must be at least 1"),
        (["--dropout", "1"], "dropout must be in [0, 1)"),
        (["--learning-rate", "nan"], "learning_rate must be positive"),
        (["--weight-decay", "-1"], "weight_decay must not be negative"),
        (["--batch-size", "many"], "--batch-size"),
    ],
)
def test_bad_flag(capsys, monkeypatch, flags, message):
    status, out, err = start(capsys, monkeypatch, "nnx", *flags)
    assert status == 2 and message in err
    assert err.startswith("flax_nnx.py: ") and err.count("\n") == 1


@pytest.mark.parametrize("line", ["MARY 2.6 2.6", "mary 2.6 2.6 1", ""])
def test_damaged_file(tmp_path, line):
    path = tmp_path / "dist.female.first"
    path.write_text(f"ANNA 1.0 1.0 1\n{line}\nEVA 1.0 1.0 1\n")
    with pytest.raises(data.Failure, match="line 2: not a name and three numbers"):
        data.read(path)


def test_missing_package(monkeypatch):
    monkeypatch.setattr(data.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(data.Failure, match="install the extra 'examples'"):
        data.load()


@pytest.mark.nans
def test_loss_that_is_not_finite(capsys, monkeypatch):
    flags = (*TINY, "--learning-rate", "1e38")
    status, out, err = start(capsys, monkeypatch, "linen", *flags)
    assert status == 1 and "try a --learning-rate below 1e+38" in err
