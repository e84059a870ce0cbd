# SPDX-License-Identifier: Apache-2.0
"""The example `examples/forecast.py`: its data, its baselines, and what a user sees."""

import os
import pathlib
import signal
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import recurrent_jax as rj
from recurrent_jax.training import CheckpointError

for needed in ("matplotlib", "optax", "rich", "tyro", "vega_datasets"):
    if not __import__("importlib.util").util.find_spec(needed):
        pytest.skip(f"the example needs {needed}", allow_module_level=True)

ROOT = pathlib.Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "examples"))

import cli  # noqa: E402
import forecast  # noqa: E402
import forecast_data as data  # noqa: E402
import forecast_report as report  # noqa: E402

pytestmark = pytest.mark.slow

TINY = ("--seeds", "2", "--epochs", "2", "--hidden-size", "3")


@pytest.fixture(scope="module")
def seattle():
    return data.prepare(*data.read(data.shipped_file()))


@pytest.fixture(scope="module")
def lines():
    return data.shipped_file().read_text().splitlines()


def start(*flags):
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen(
        [sys.executable, "-W", "error", "examples/forecast.py", *map(str, flags)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": path, "COLUMNS": "100", "TERM": "dumb"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process):
    out, err = process.communicate(timeout=120)
    return process.returncode, out, err


def fails(capsys, *flags):
    """Run in this process; return the exit status and the one line on stderr."""
    before, sys.argv = sys.argv, ["forecast.py", *map(str, flags)]
    try:
        status = forecast.main()
    except SystemExit as stop:
        status = stop.code
    finally:
        sys.argv = before
    err = capsys.readouterr().err
    assert err.startswith("forecast.py: ") and err.count("\n") == 1, err
    return status, err


def test_shipped_data_is_four_years_of_days(seattle):
    assert seattle.inputs.shape == (1461, 6)
    assert str(seattle.dates[0]) == "2012-01-01"
    np.testing.assert_allclose(seattle.values[1], [10.6, 2.8, np.log1p(10.9), 4.5])


def test_windows_do_not_cross_splits(seattle):
    splits = data.split(1461, window=20)
    days = [set(windows.ravel().tolist()) for windows in splits]
    assert not days[0] & days[1] and not days[1] & days[2] and not days[0] & days[2]
    assert max(days[0]) < min(days[1]) and max(days[1]) < min(days[2])
    assert set.union(*days) == set(range(1461))
    for windows in splits:
        assert windows.shape[1] == 20 + data.HORIZON
        assert (np.diff(windows, axis=1) == 1).all()
    years = seattle.dates.astype("datetime64[Y]").astype(int) + 1970
    assert set(years[splits.test].ravel()) == {2015}


def test_statistics_are_of_the_training_days_alone():
    dates, values = data.read(data.shipped_file())
    one = data.prepare(dates, values)
    changed = values.copy()
    changed[-2 * data.YEAR :] += 100.0
    two = data.prepare(dates, changed)
    np.testing.assert_array_equal(one.climatology, two.climatology)
    np.testing.assert_array_equal(one.scale, two.scale)
    train = one.inputs[: -2 * data.YEAR, :4]
    np.testing.assert_allclose(train.std(0), 1.0, rtol=1e-9)


def test_degrees_undo_the_standardisation(seattle):
    days = np.array([[3, 4], [1000, 1460]])
    np.testing.assert_allclose(
        seattle.degrees(seattle.inputs[days, :4], days), seattle.values[days]
    )


def test_climatology_by_hand():
    dates = np.array(["2001-01-01", "2001-01-31", "2001-12-31", "2001-07-01"])
    dates = dates.astype("datetime64[D]")
    values = np.array([[1.0], [3.0], [8.0], [20.0]])
    when = np.array(["2002-01-01", "2002-07-20"], "datetime64[D]")
    # 31 January is 30 days off and counts; 31 December is 1.25 days off.
    np.testing.assert_allclose(
        data.climatology(when, dates, values), [[4.0], [20.0]], rtol=1e-12
    )


def toy(values):
    """Weather of a given course in every variable, without a season."""
    values = np.repeat(np.asarray(values, float)[:, None], 4, axis=1)
    inputs = np.concatenate([values, np.zeros((len(values), 2))], 1)
    zero = np.zeros_like(values)
    return data.Weather(np.arange(len(values)), values, zero, np.ones(4), inputs)


def test_persistence_by_hand():
    guess = data.persistence(toy(np.arange(40)), np.arange(3, 20)[None])
    assert guess.shape == (1, data.HORIZON, 4)
    assert (guess == 5).all()  # of the days 3, 4, 5, the last


def test_autoregression_finds_a_linear_rule():
    series = [1.0, 0.7]
    for _ in range(3 * data.YEAR):
        series.append(1.6 * series[-1] - 0.999 * series[-2])
    weather = toy(series)
    splits = data.split(len(series), window=6)
    guess, lags = data.autoregression(weather, splits)
    assert lags >= 2
    truth = weather.values[splits.test[:, -data.HORIZON :]]
    np.testing.assert_allclose(guess, truth, atol=1e-6)
    one = data.regress(weather, splits.train, splits.test, lags=1)
    assert np.abs(one - truth).max() > 0.01


def test_regression_by_hand():
    rng = np.random.default_rng(0)
    weather = toy(rng.normal(size=60))
    windows = np.lib.stride_tricks.sliding_window_view(np.arange(60), 2 + data.HORIZON)
    guess = data.regress(weather, windows, windows, lags=1)
    x, y = weather.values[windows[:, 1], 0], weather.values[windows[:, 4], 0]
    slope, shift = np.polyfit(x, y, 1)
    np.testing.assert_allclose(guess[:, 2, 0], slope * x + shift, atol=1e-9)


@pytest.mark.parametrize("name", sorted(forecast.CELLS))
def test_feedback_loop_equals_a_python_loop(name):
    cell = forecast.CELLS[name](5)
    params = forecast.init(cell, jax.random.key(0))
    keys = jax.random.split(jax.random.key(1), 4)
    params = params._replace(kernel=jax.random.normal(keys[0], params.kernel.shape))
    params = params._replace(bias=jax.random.normal(keys[1], params.bias.shape))
    history = jax.random.normal(keys[2], (3, 7, 6))
    season = jax.random.normal(keys[3], (3, 5, 2))
    got = forecast.forecast(cell, params, history, season)
    carry, x, want = cell.initial_carry((3,)), None, []
    for day in range(7 + 5 - 1):
        x = history[:, day] if day < 7 else x
        carry, y = cell.step(params.cell, carry, x)
        seen = jnp.concatenate([y, x[:, :4]], axis=1)
        weather = seen @ params.kernel + params.bias[None]
        if day >= 6:
            want.append(weather)
            x = jnp.concatenate([weather, season[:, day - 6]], axis=1)
    np.testing.assert_allclose(got, jnp.stack(want, axis=1), rtol=2e-4, atol=2e-4)


def test_a_fresh_network_forecasts_the_climatology():
    cell = rj.LSTM(4)
    params = forecast.init(cell, jax.random.key(0))
    got = forecast.forecast(cell, params, jnp.ones((2, 5, 6)), jnp.ones((2, 14, 2)))
    assert (got == 0).all()


def test_forecast_does_not_see_the_days_ahead():
    inputs = jnp.arange(60.0)[:, None] * jnp.ones((1, 6))
    windows = jnp.arange(10, 10 + 5 + data.HORIZON)[None]
    history, season, truth = forecast.cut(inputs, windows, days=3)
    assert history[0, :, 0].tolist() == [10, 11, 12, 13, 14]
    assert truth[0, :, 0].tolist() == [15, 16, 17]
    assert season.shape == (1, 3, 2)


def test_best_parameters_are_kept():
    def state(value, best, loss):
        return forecast.State(value, (), best, jnp.asarray(loss), jnp.asarray(1))

    worse = forecast.keep_best(state(5.0, 4.0, 0.3), jnp.asarray(0.4), 2)
    assert (worse.best, worse.best_loss, worse.best_epoch) == (4.0, jnp.float32(0.3), 1)
    better = forecast.keep_best(state(5.0, 4.0, 0.3), jnp.asarray(0.2), 2)
    assert (better.best, better.best_epoch, better.params) == (5.0, 2, 5.0)


def test_verdict(seattle):
    splits = data.split(len(seattle.dates), window=5)
    truth = seattle.values[splits.test[:, -data.HORIZON :]]
    held = seattle.values[splits.validation[:, -data.HORIZON :]][None]
    best = report.Results("gru", seattle, splits, np.stack([truth, truth]), held)
    assert "GRU wins" in report.verdict(best, 1)
    assert best.errors["GRU"].max() == best.spread.max() == 0
    worst = report.Results("gru", seattle, splits, truth[None] + 50.0, held)
    np.testing.assert_allclose(worst.errors["GRU"], 50.0)
    assert "better than GRU" in report.verdict(worst, 1)
    usual = seattle.climatology[splits.test[:, -data.HORIZON :]]
    same = report.Results("gru", seattle, splits, usual[None], held)
    assert report.compare(same, 7, "climatology") == (0.0, True)


def test_intervals_by_hand(seattle):
    # Of 9 errors, the 9th smallest holds a tenth one with probability 9 / 10.
    assert report.reach(np.arange(9.0)[::-1, None], 0.9).tolist() == [8.0]
    assert report.reach(np.arange(19.0)[:, None], 0.5).tolist() == [9.0]
    assert report.reach(np.arange(5.0)[:, None], 0.99).tolist() == [4.0]
    splits = data.split(len(seattle.dates), window=5)
    truth, held = (
        seattle.values[windows[:, -data.HORIZON :]][None]
        for windows in (splits.test, splits.validation)
    )
    results = report.Results("gru", seattle, splits, truth + 2.0, held - 3.0)
    np.testing.assert_allclose(results.reach, 3.0)
    assert (results.coverage == 1).all()
    results = report.Results("gru", seattle, splits, truth + 2.0, held + 1.0)
    assert (results.coverage == 0).all()


def test_intervals_hold_what_they_say():
    rng = np.random.default_rng(0)
    inside = [
        np.abs(rng.normal()) <= report.reach(np.abs(rng.normal(size=(30, 1))), 0.8)
        for _ in range(2000)
    ]
    # 25 of 31 and 0.806; two standard errors are 0.018.
    assert np.mean(inside) == pytest.approx(25 / 31, abs=0.018)


@pytest.mark.parametrize("cell", ["lstm", "peephole"])
def test_run_prints_the_table_and_saves_the_picture(tmp_path, cell):
    output = tmp_path / "new" / "results"
    status, out, err = finish(start(*TINY, "--cell", cell, "--output", output))
    assert (status, err) == (0, "")
    for text in ("daily maximum", "±", "climatology", "linear AR", "90% interval"):
        assert text in out
    for text in (
        "338 forecasts",
        "2015-01-01 to 2015-12-31",
        "parameters",
        " s in all",
    ):
        assert text in out
    assert [out.count(f"{days:>2} d ahead:") for days in (1, 3, 7, 14)] == [1] * 4
    assert "\r" not in out and "\x1b" not in out and len(out.splitlines()) < 40
    assert (output / "forecast.png").read_bytes().startswith(b"\x89PNG")


def test_ctrl_c_leaves_a_result(tmp_path):
    process = start(
        *("--seeds", 2, "--epochs", 100000, "--patience", 100000),
        *("--output", tmp_path),
    )
    first = process.stdout.readline()
    assert first.startswith("Training 2 x LSTM"), first + process.stderr.read()
    process.send_signal(signal.SIGINT)
    status, out, err = finish(process)
    assert (status, err) == (cli.INTERRUPTED, "")
    assert "daily maximum" in out and "Stopped by Ctrl-C" in out
    assert (tmp_path / "forecast.png").exists()


def test_missing_file(capsys, tmp_path):
    status, err = fails(capsys, "--data", tmp_path / "none.csv", "--output", tmp_path)
    assert status == 1 and "none.csv: No such file or directory" in err


def broken(lines, case):
    """Return the shipped file with one thing wrong, as bytes."""
    middle = lines[500].split(",")
    if case == "bad number":
        middle[2] = "warm"
    if case == "nan":
        middle[2] = "nan"
    if case == "bad date":
        middle[0] = "yesterday"
    if case == "negative rain":
        middle[1] = "-1.0"
    rows = [*lines[:500], ",".join(middle), *lines[501:]]
    if case == "short row":
        rows[500] = middle[0]
    if case == "missing column":
        rows[0] = rows[0].replace("temp_max", "tmax")
    if case == "too short":
        rows = rows[:400]
    if case == "gap":
        del rows[500]
    if case == "constant":
        rows = [row.rsplit(",", 2)[0] + ",1.0,sun" for row in rows]
        rows[0] = lines[0]
    text = "" if case == "empty" else "\n".join(rows)
    return b"\x89PNG\xff\x00" if case == "no text" else text.encode()


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("bad number", "line 501: could not convert string to float: 'warm'"),
        ("nan", "line 501: not a day's weather"),
        ("bad date", "line 501: "),
        ("negative rain", "line 501: not a day's weather"),
        ("short row", "line 501: could not convert string to float: ''"),
        ("missing column", "no column named temp_max"),
        ("too short", "399 days are too few"),
        ("gap", "is not followed by the next day"),
        ("constant", "wind never changes"),
        ("empty", "no column named date"),
        ("no text", "not a CSV file"),
    ],
)
def test_damaged_file(capsys, tmp_path, lines, case, message):
    path = tmp_path / "weather.csv"
    path.write_bytes(broken(lines, case))
    status, err = fails(capsys, "--data", path, "--output", tmp_path)
    assert status == 1 and message in err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--nope", "3"], "--nope"),
        (["--seeds", "many"], "--seeds"),
        (["--seeds", "0"], "seeds must be at least 1"),
        (["--seeds"], "--seeds"),
        (["--cell", "transformer"], "'transformer'"),
        (["--dropout", "1"], "dropout must be in [0, 1)"),
        (["--learning-rate", "nan"], "learning_rate must be positive"),
        (["--train-days", "15"], "train_days must be at most 14"),
    ],
)
def test_bad_flag(capsys, flags, message):
    status, err = fails(capsys, *flags)
    assert status == 2 and message in err


def test_window_too_long(capsys, tmp_path):
    status, err = fails(capsys, "--window", 400, "--output", tmp_path)
    assert status == 1 and "a window of 400 days does not fit" in err


def test_output_cannot_be_made(capsys, tmp_path):
    (tmp_path / "file").write_text("")
    status, err = fails(capsys, "--output", tmp_path / "file" / "results")
    assert status == 1 and "Not a directory" in err


@pytest.mark.nans
def test_loss_that_is_not_finite(capsys, tmp_path):
    flags = (*TINY, "--learning-rate", "1e38", "--output", tmp_path)
    with jax.numpy_dtype_promotion("standard"):  # Optax's Adam needs it
        status, err = fails(capsys, *flags)
    assert status == 1 and "in epoch 1; try a --learning-rate below 1e+38" in err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "error", [cli.Failure, CheckpointError, OSError], ids=lambda error: error.__name__
)
def test_what_a_user_can_mend_is_one_line(capsys, error):
    def run():
        raise error("no checkpoint in here can be used")

    assert cli.guarded(run) == 1
    assert capsys.readouterr().err.endswith(": no checkpoint in here can be used\n")


def test_help(capsys):
    sys.argv, before = ["forecast.py", "--help"], sys.argv
    try:
        with pytest.raises(SystemExit, match="0"):
            forecast.main()
    finally:
        sys.argv = before
    out = capsys.readouterr().out
    for field in forecast.Config.__dataclass_fields__:
        assert f"--{field.replace('_', '-')}" in out
    assert "Ctrl-C" in out
