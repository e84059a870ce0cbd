# SPDX-License-Identifier: Apache-2.0
"""The table and the picture."""

from pathlib import Path

import numpy as np
from forecast_data import HORIZON, Splits, Weather, autoregression, persistence
from matplotlib.axes import Axes
from matplotlib.dates import DateFormatter, DayLocator
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

SHOWN = (1, 3, 7, 14)  # days ahead
SHARE = 0.9  # of the days that an interval is to hold
NAMES = {"lstm": "LSTM", "gru": "GRU", "elman": "Elman", "peephole": "Peephole"}
BLUE, ORANGE, GREEN, GREY = "#0060b0", "#d95f02", "#1b8a5a", "#777777"


class Results:
    """Forecasts of the test windows by all methods, and their errors.

    Attributes:
        name: of the network.
        network: forecasts of each seed, `(seeds, N, HORIZON, 4)`.
        others: forecasts of each baseline, `(N, HORIZON, 4)`.
        errors: root mean squared error of each method, `(HORIZON, 4)`.
        spread: standard deviation over the seeds of the network's error.
        reach: half the width of the interval around the mean forecast, `(HORIZON, 4)`.
        coverage: share of the test days within it, `(HORIZON, 4)`.
    """

    def __init__(
        self,
        cell: str,
        weather: Weather,
        splits: Splits,
        network: np.ndarray,
        held: np.ndarray,
    ) -> None:
        self.name, self.weather, self.test = NAMES[cell], weather, splits.test
        self.ahead = splits.test[:, -HORIZON:]
        self.truth = weather.values[self.ahead]
        self.network = network
        linear, lags = autoregression(weather, splits)
        days = f"{lags} day{'s' if lags > 1 else ''}"
        self.others = {
            "persistence": persistence(weather, splits.test),
            "climatology": weather.climatology[self.ahead],
            f"linear AR, {days}": linear,
        }
        each = np.stack([self.rmse(forecast) for forecast in network])
        self.errors = {self.name: each.mean(0)}
        self.errors |= {name: self.rmse(guess) for name, guess in self.others.items()}
        self.spread = each.std(0)
        self.together = self.rmse(network.mean(0))
        known = weather.values[splits.validation[:, -HORIZON:]]
        self.reach = reach(np.abs(held.mean(0) - known))
        self.coverage = (np.abs(network.mean(0) - self.truth) <= self.reach).mean(0)

    def rmse(self, forecast: np.ndarray) -> np.ndarray:
        """Return the error by horizon and variable."""
        return np.sqrt(np.square(forecast - self.truth).mean(0))


def reach(errors: np.ndarray, share: float = SHARE) -> np.ndarray:
    """Return the error that a share of new errors does not exceed.

    This is split conformal prediction: of n errors it takes the k-th smallest, with
    k = (n + 1) share, rounded up. New days that are exchangeable with these are then
    within reach with at least that probability. Days of the next year nearly are.
    """
    count = len(errors)
    rank = min(int(np.ceil((count + 1) * share)), count)
    return np.sort(errors, axis=0)[rank - 1]


def table(console: Console, results: Results) -> None:
    """Print errors by horizon, and the best method at each."""
    first, last = results.weather.dates[results.test[[0, -1], [0, -1]]]
    seeds, count = results.network.shape[:2]
    shown = Table(title="Error (RMSE, °C) by days ahead", title_justify="left")
    shown.add_column("")
    for days in SHOWN:
        shown.add_column(f"{days} d", justify="right")
    for variable, title in enumerate(("daily maximum", "daily minimum")):
        shown.add_section()
        shown.add_row(f"[bold]{title}[/bold]")
        for name, error in results.errors.items():
            cells = [f"{error[days - 1, variable]:.2f}" for days in SHOWN]
            if name == results.name:
                spread = [results.spread[days - 1, variable] for days in SHOWN]
                cells = [f"{a} ± {b:.2f}" for a, b in zip(cells, spread, strict=True)]
                name = f"{name}, {seeds} seed{'s' if seeds > 1 else ''}"
            shown.add_row(name, *cells)
        together = [f"{results.together[days - 1, variable]:.2f}" for days in SHOWN]
        shown.add_row(f"{results.name}, mean forecast", *together)
        within = [
            f"± {results.reach[days - 1, variable]:.1f}, "
            f"holds {results.coverage[days - 1, variable]:.0%}"
            for days in SHOWN
        ]
        shown.add_row(f"  its {SHARE:.0%} interval", *within)
    console.print(shown)
    console.print(
        "±: standard deviation over seeds. Linear AR: a least-squares autoregression\n"
        "for each day ahead. Noise: within two standard errors over the test months.\n"
        f"Interval: as wide as holds {SHARE:.0%} of the validation days. Holds: its "
        "share of\nthe test days."
    )
    console.print(f"{count} forecasts, test period {first} to {last}.", highlight=False)
    for days in SHOWN:
        console.print(verdict(results, days), highlight=False)


def compare(results: Results, days: int, rival: str) -> tuple[float, bool]:
    """Return the network's lead over a baseline in degrees, and whether it is noise.

    Noise means within two standard errors over months; days are not independent.
    """
    lead = (results.errors[rival] - results.errors[results.name])[days - 1, 0]
    truth = results.truth[:, days - 1, 0]
    own = np.square(results.network[:, :, days - 1, 0] - truth).mean(0)
    difference = np.square(results.others[rival][:, days - 1, 0] - truth) - own
    months = np.array([m.mean() for m in np.array_split(difference, 12)])
    error = months.std(ddof=1) / np.sqrt(len(months))
    return float(lead), bool(abs(months.mean()) <= 2 * error)


def best_baseline(results: Results, days: int) -> str:
    """Return the baseline with the lowest error of the daily maximum."""
    return min(results.others, key=lambda name: results.errors[name][days - 1, 0])


def verdict(results: Results, days: int) -> str:
    """Return a sentence on the best method for the daily maximum, `days` ahead."""
    mine, rival = results.name, best_baseline(results, days)
    lead, noise = compare(results, days, rival)
    if noise:
        text = f"{mine} and {rival} tie ({lead:+.2f} °C, within noise)"
    elif lead > 0:
        text = f"{mine} wins, {lead:.2f} °C better than {rival}"
    else:
        text = f"{rival} wins, {-lead:.2f} °C better than {mine}"
    for name in ("persistence", "climatology"):
        lead, noise = compare(results, days, name)
        text += f"; {lead:+.2f} on {name}{' (noise)' if noise else ''}"
    return f"{days:>2} d ahead: {text}."


def picture(path: Path, results: Results) -> None:
    """Save two forecasts, selected by date and not by result, and the errors."""
    figure = Figure(figsize=(11, 8.5), layout="constrained")
    figure.suptitle(title(results), fontsize=14, fontweight="bold")
    grid = figure.add_gridspec(2, 2)
    count = len(results.test)
    left = figure.add_subplot(grid[0, 0])
    right = figure.add_subplot(grid[0, 1], sharey=left)
    for axes, row in ((left, count // 4), (right, 3 * count // 4)):
        draw_forecast(axes, results, row)
    left.set_ylabel("daily maximum (°C)")
    handles, labels = left.get_legend_handles_labels()
    draw_errors(figure.add_subplot(grid[1, 0]), results, 0, "daily maximum")
    draw_errors(figure.add_subplot(grid[1, 1]), results, 1, "daily minimum")
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
    figure.savefig(path, dpi=130)


def title(results: Results) -> str:
    """Return a title that compares the network with the best baseline."""
    parts = []
    for days in SHOWN:
        lead, noise = compare(results, days, best_baseline(results, days))
        parts.append(f"{days} d {'tie' if noise else 'won' if lead > 0 else 'lost'}")
    return (
        "Two weeks of daily temperature, from every day of the test year\n"
        f"{results.name} against the best baseline, daily maximum: {', '.join(parts)}"
    )


def colours(results: Results) -> dict[str, tuple[str, str]]:
    """Return colour and line style of each method."""
    styles = ((BLUE, "-"), (GREY, ":"), (GREEN, "--"), (ORANGE, "-."))
    return dict(zip(results.errors, styles, strict=True))


def draw_forecast(axes: Axes, results: Results, row: int) -> None:
    """Draw one forecast: observations, the seeds and the baselines."""
    window, style = results.test[row], colours(results)
    dates = results.weather.dates
    axes.plot(
        dates[window],
        results.weather.values[window, 0],
        "o-",
        color="black",
        markersize=3,
        linewidth=1,
        label="observed",
    )
    ahead = dates[window[-HORIZON:]]
    seeds = results.network[:, row, :, 0]
    colour = style[results.name][0]
    mean, wide = seeds.mean(0), results.reach[:, 0]
    held = results.coverage[:, 0].mean()
    axes.fill_between(
        *(ahead, mean - wide, mean + wide),
        **dict(color=colour, alpha=0.18, lw=0),
        label=f"{SHARE:.0%} interval; it holds {held:.0%} of the test days",
    )
    label = f"{results.name}, mean of {len(seeds)} seeds"
    axes.plot(ahead, mean, color=colour, linewidth=2.2, label=label)
    for name, guess in results.others.items():
        colour, line = style[name]
        axes.plot(ahead, guess[row, :, 0], line, color=colour, lw=1.6, label=name)
    today = dates[window[-HORIZON - 1]]
    axes.axvspan(today, ahead[-1], color="black", alpha=0.05, lw=0)
    axes.set_title(f"forecast made on {today}")
    axes.xaxis.set_major_locator(DayLocator(bymonthday=(1, 8, 15, 22)))
    axes.xaxis.set_major_formatter(DateFormatter("%d %b"))


def draw_errors(axes: Axes, results: Results, variable: int, title: str) -> None:
    """Draw the error of all methods by days ahead."""
    days = np.arange(1, HORIZON + 1)
    for name, (colour, line) in colours(results).items():
        error = results.errors[name][:, variable]
        axes.plot(days, error, line, color=colour, linewidth=2)
        if name == results.name:
            spread = results.spread[:, variable]
            low, high = error - spread, error + spread
            axes.fill_between(days, low, high, color=colour, alpha=0.25, lw=0)
    axes.set_title(f"test error, {title}, {len(results.test)} forecasts")
    axes.set_xlabel("days ahead")
    axes.set_ylabel("RMSE (°C)")
    axes.set_xticks(days)
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
