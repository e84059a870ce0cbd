# SPDX-License-Identifier: Apache-2.0
"""The weather of Seattle as arrays, and baselines."""

import csv
import importlib.util
from pathlib import Path
from typing import NamedTuple

import numpy as np
from cli import Failure

VARIABLES = ("temp_max", "temp_min", "precipitation", "wind")
HORIZON = 14  # days ahead
YEAR = 365  # days of validation and of test


class Weather(NamedTuple):
    """All data for the forecasts, one row per day."""

    dates: np.ndarray  # (days,)
    values: np.ndarray  # (days, 4), degrees C, degrees C, log(1 + mm), m/s
    climatology: np.ndarray  # (days, 4), the mean at that time of year
    scale: np.ndarray  # (4,), standard deviation from the climatology
    inputs: np.ndarray  # (days, 4 + 2), standardised anomalies and season

    def degrees(self, anomalies: np.ndarray, days: np.ndarray) -> np.ndarray:
        """Return standardised anomalies of `days` in their original units."""
        return self.climatology[days] + anomalies * self.scale


class Splits(NamedTuple):
    """Windows of consecutive days: T of history, then `HORIZON` to forecast.

    Each array contains row numbers, `(N, T + HORIZON)`. All days of a window are in one
    split, so no day of the test is used in training.
    """

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray


def shipped_file() -> Path:
    """Return the weather of Seattle, 2012 to 2015, that vega-datasets ships."""
    spec = importlib.util.find_spec("vega_datasets")  # importing it would need pandas
    if spec is None or spec.origin is None:
        raise Failure("vega-datasets is not installed; install it or pass --data FILE")
    return Path(spec.origin).parent / "_data" / "seattle-weather.csv"


def read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return the dates and the values, `(days, 4)`, of a file in Seattle's format."""
    try:
        with open(path, newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            missing = {"date", *VARIABLES} - set(reader.fieldnames or ())
            if missing:
                raise Failure(f"{path}: no column named {', '.join(sorted(missing))}")
            rows = [parse(path, reader.line_num, row) for row in reader]
    except OSError as error:
        raise Failure(f"cannot read {path}: {error.strerror}") from None
    except (UnicodeDecodeError, csv.Error):
        raise Failure(f"{path}: this is not a CSV file") from None
    if len(rows) < 3 * YEAR:
        raise Failure(
            f"{path}: {len(rows)} days are too few; {3 * YEAR} are the least, a year "
            "each to train, to validate and to test"
        )
    dates = np.array([date for date, _ in rows])
    gaps = np.flatnonzero(np.diff(dates) != np.timedelta64(1, "D"))
    if gaps.size:
        raise Failure(f"{path}: {dates[gaps[0]]} is not followed by the next day")
    return dates, np.array([values for _, values in rows])


def parse(path: Path, line: int, row: dict[str, str]) -> tuple[np.datetime64, list]:
    """Return the date and the four values of one row."""
    try:
        date = np.datetime64((row["date"] or "").replace("/", "-"), "D")
        values = [float(row[name] or "") for name in VARIABLES]
    except ValueError as error:
        raise Failure(f"{path}, line {line}: {error}") from None
    rain = VARIABLES.index("precipitation")
    if np.isnat(date) or not np.isfinite(values).all() or values[rain] < 0:
        raise Failure(f"{path}, line {line}: not a day's weather: {row}")
    values[rain] = np.log1p(values[rain])  # most days are dry, few very wet
    return date, values


def prepare(dates: np.ndarray, values: np.ndarray) -> Weather:
    """Return the inputs of the network, with statistics of the training days alone."""
    train = slice(0, len(dates) - 2 * YEAR)
    usual = climatology(dates, dates[train], values[train])
    scale = (values - usual)[train].std(0)
    if not scale.all():
        raise Failure(f"{VARIABLES[int(scale.argmin())]} never changes")
    angle = 2 * np.pi * day_of_year(dates)[:, None] / 365.25
    season = np.concatenate([np.sin(angle), np.cos(angle)], 1)
    inputs = np.concatenate([(values - usual) / scale, season], 1)
    return Weather(dates, values, usual, scale, inputs)


def split(days: int, window: int) -> Splits:
    """Return all windows of the last year, of the year before, and of the rest."""
    length = window + HORIZON
    edges = (0, days - 2 * YEAR, days - YEAR, days)
    if length > min(np.diff(edges)):
        raise Failure(f"a window of {window} days does not fit into a year")
    rows = np.arange(days)
    return Splits(
        *(
            np.lib.stride_tricks.sliding_window_view(rows[start:stop], length)
            for start, stop in zip(edges, edges[1:], strict=False)
        )
    )


def day_of_year(dates: np.ndarray) -> np.ndarray:
    """Return 0 for 1 January."""
    return (dates - dates.astype("datetime64[Y]")).astype(int)


def climatology(
    dates: np.ndarray, train_dates: np.ndarray, train_values: np.ndarray
) -> np.ndarray:
    """Return the mean of training days within 30 days of the same time of year."""
    apart = np.abs(day_of_year(dates)[:, None] - day_of_year(train_dates))
    near = np.minimum(apart, 365.25 - apart) <= 30
    return near @ train_values / near.sum(1, keepdims=True)


def persistence(weather: Weather, windows: np.ndarray) -> np.ndarray:
    """Return today's weather for every day ahead, `(N, HORIZON, 4)`."""
    today = weather.values[windows[:, -HORIZON - 1]]
    return np.repeat(today[:, None], HORIZON, axis=1)


def autoregression(weather: Weather, splits: Splits) -> tuple[np.ndarray, int]:
    """Return the linear forecast of the test windows, and the number of its lags.

    There is one least-squares regression for each day ahead, on the inputs of the last
    days, which are those of the network. Validation selects the number of lags.
    """
    window = splits.test.shape[1] - HORIZON
    candidates = [lags for lags in (1, 2, 3, 5, 7, 14, 28) if lags <= window]

    def error(lags: int) -> float:
        guess = regress(weather, splits.train, splits.validation, lags)
        truth = weather.values[splits.validation[:, -HORIZON:]]
        return float(np.square(guess - truth)[..., 0].mean())

    lags = min(candidates, key=error)
    return regress(weather, splits.train, splits.test, lags), lags


def regress(
    weather: Weather, train: np.ndarray, windows: np.ndarray, lags: int
) -> np.ndarray:
    """Return forecasts for `windows` by least squares over `train`."""

    def history(rows: np.ndarray) -> np.ndarray:
        recent = weather.inputs[rows[:, -HORIZON - lags : -HORIZON]]
        return np.c_[recent.reshape(len(rows), -1), np.ones(len(rows))]

    anomalies = weather.inputs[:, : len(VARIABLES)]
    targets = anomalies[train[:, -HORIZON:]].reshape(len(train), -1)
    solution = np.linalg.lstsq(history(train), targets, rcond=None)[0]
    guess = (history(windows) @ solution).reshape(len(windows), HORIZON, -1)
    return weather.degrees(guess, windows[:, -HORIZON:])
