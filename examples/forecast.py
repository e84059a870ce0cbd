# SPDX-License-Identifier: Apache-2.0
"""Forecast the weather of Seattle with a recurrent cell, a linear head and feedback.

The network reads the last days of weather and forecasts the next day. The forecast is
its next input, and so on for two weeks. The weather is given as anomalies, that is
deviations from the mean at that time of year. A network that knows nothing therefore
forecasts the climatology. Statistics come from the training days alone. Every method
knows the calendar. Each forecast has an interval for 90 % of the days, whose width is
that of the errors in the validation year.

    python examples/forecast.py --help

Exit status: 0; 1 if there is no result; 2 for a bad flag; 130 after Ctrl-C, which stops
training and reports on the best parameters so far.
"""

import dataclasses
import functools
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple

import cli
import forecast_data as data
import forecast_report as report
import jax
import jax.numpy as jnp
import numpy as np
import optax
from rich.console import Console

import recurrent_jax as rj
from recurrent_jax.training import clipping

CELLS = {"lstm": rj.LSTM, "gru": rj.GRU, "elman": rj.Elman, "peephole": rj.PeepholeLSTM}
V = len(data.VARIABLES)


@dataclasses.dataclass(frozen=True)
class Config:
    """Forecast Seattle's weather with a recurrent cell, 14 days ahead.

    Ctrl-C stops training and reports on the best parameters so far.

    Attributes:
        cell: the recurrent cell.
        hidden_size: units of the cell; two years of data suffice for only a few.
        window: days of history before a forecast.
        seeds: number of networks, trained together from different seeds.
        seed: of the random numbers of all networks.
        epochs: maximum of passes over the training windows.
        patience: epochs without a better validation loss before training stops.
        train_days: days ahead, with feedback, in the training loss.
        batch_size: windows in a gradient step.
        learning_rate: of Adam.
        weight_decay: of Adam.
        dropout: rate of dropout on the outputs of the cell.
        data: a file of daily weather in the format of vega-datasets, whose file is
            the default.
        output: directory for the picture.
    """

    cell: Literal["lstm", "gru", "elman", "peephole"] = "lstm"
    hidden_size: int = 8
    window: int = 14
    seeds: int = 5
    seed: int = 0
    epochs: int = 60
    patience: int = 15
    train_days: int = 3
    batch_size: int = 32
    learning_rate: float = 0.01
    weight_decay: float = 0.01
    dropout: float = 0.7
    data: Path | None = None
    output: Path = Path("results")

    def __post_init__(self) -> None:
        least = dict.fromkeys(("hidden_size", "seeds", "epochs", "patience"), 1)
        least |= {"window": 2, "train_days": 1, "batch_size": 1}
        for name, bound in least.items():
            if getattr(self, name) < bound:
                raise ValueError(f"{name} must be at least {bound}")
        if self.train_days > data.HORIZON:
            raise ValueError(f"train_days must be at most {data.HORIZON}")
        if not 0 <= self.dropout < 1:
            raise ValueError("dropout must be in [0, 1)")
        if not self.learning_rate > 0:
            raise ValueError("learning_rate must be positive")
        if not self.weight_decay >= 0:
            raise ValueError("weight_decay must not be negative")


class Params(NamedTuple):
    """Parameters of one network."""

    cell: Any
    kernel: jax.Array  # (H + 4, 4)
    bias: jax.Array  # (4,)


class State(NamedTuple):
    """One network in training, and its best parameters so far."""

    params: Params
    opt_state: optax.OptState
    best: Params
    best_loss: jax.Array  # validation loss
    best_epoch: jax.Array


def init(cell: rj.Cell, key: jax.Array) -> Params:
    """Return fresh parameters. The head is zero, so it forecasts no anomaly."""
    return Params(
        cell=cell.init(key, in_features=V + 2),
        kernel=jnp.zeros((cell.hidden_size + V, V)),
        bias=jnp.zeros(V),
    )


def forecast(
    cell: rj.Cell,
    params: Params,
    history: jax.Array,
    season: jax.Array,
    keep: jax.Array | float = 1.0,
) -> jax.Array:
    """Return the forecasts of the days ahead, each of which is the next input.

    Args:
        cell: the recurrent cell.
        params: what `init` returned.
        history: the days up to today, `(N, T, 4 + 2)`: weather and season.
        season: sine and cosine of the days ahead, `(N, days, 2)`.
        keep: the dropout mask, `(N, H)`; 1.0 keeps everything.

    Returns:
        The forecasts, `(N, days, 4)`.
    """
    past, today = history[:, :-1], history[:, -1]
    carry, _ = rj.unroll(cell, params.cell, past, time_axis=1)

    def next_day(state: Any, season: jax.Array) -> Any:
        carry, x = state
        carry, y = cell.step(params.cell, carry, x)
        seen = jnp.concatenate([y * keep, x[:, :V]], axis=1)
        weather = rj.affine(seen, params.kernel, params.bias)
        x = jnp.concatenate([weather, season], axis=1)
        return (carry, x), weather

    _, weather = jax.lax.scan(next_day, (carry, today), season.swapaxes(0, 1))
    return weather.swapaxes(0, 1)


def cut(
    inputs: jax.Array, windows: jax.Array, days: int = data.HORIZON
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Return the history, and season and weather of the first `days` after it."""
    today = windows.shape[1] - data.HORIZON
    ahead = inputs[windows[:, today : today + days]]
    return inputs[windows[:, :today]], ahead[..., V:], ahead[..., :V]


def make_epoch(
    config: Config,
    cell: rj.Cell,
    optimizer: optax.GradientTransformation,
    inputs: jax.Array,
    splits: data.Splits,
) -> Callable[..., tuple[State, jax.Array]]:
    """Return a compiled function that trains all seeds for one epoch."""
    train, validation = jnp.asarray(splits.train), jnp.asarray(splits.validation)
    batch_size = min(config.batch_size, len(train))
    batches = len(train) // batch_size

    def loss(params: Params, windows: jax.Array, keep: Any = 1.0) -> jax.Array:
        history, season, truth = cut(inputs, windows, config.train_days)
        return jnp.square(forecast(cell, params, history, season, keep) - truth).mean()

    def step(state: State, batch: Any) -> tuple[State, jax.Array]:
        windows, key = batch
        shape = (batch_size, config.hidden_size)
        keep = jax.random.bernoulli(key, 1 - config.dropout, shape)
        keep = keep.astype(inputs.dtype) / (1 - config.dropout)
        value, gradient = jax.value_and_grad(loss)(state.params, windows, keep)
        updates, opt_state = optimizer.update(gradient, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        return state._replace(params=params, opt_state=opt_state), value

    def epoch(state: State, key: jax.Array, number: int) -> tuple[State, jax.Array]:
        key_order, key_keep = jax.random.split(jax.random.fold_in(key, number))
        windows = jax.random.permutation(key_order, train)[: batches * batch_size]
        windows = windows.reshape(batches, batch_size, -1)
        keys = jax.random.split(key_keep, batches)
        state, losses = jax.lax.scan(step, state, (windows, keys))
        return keep_best(state, loss(state.params, validation), number), losses.mean()

    return jax.jit(jax.vmap(epoch, in_axes=(0, 0, None)))


def keep_best(state: State, loss: jax.Array, number: Any) -> State:
    """Return the state, with its parameters as the best ones if their loss is lower."""
    new = (state.params, loss, jnp.asarray(number))
    old = (state.best, state.best_loss, state.best_epoch)
    better = loss < state.best_loss
    best, best_loss, best_epoch = jax.tree.map(
        lambda a, b: jnp.where(better, a, b), new, old
    )
    return State(state.params, state.opt_state, best, best_loss, best_epoch)


def train(
    config: Config,
    cell: rj.Cell,
    inputs: jax.Array,
    splits: data.Splits,
    stop: threading.Event,
    console: Console,
) -> State:
    """Return all seeds after training, stacked along a first axis."""
    optimizer = optax.chain(
        clipping(max_norm=1.0, max_value=0.5),
        optax.adamw(config.learning_rate, weight_decay=config.weight_decay),
    )
    run_epoch = make_epoch(config, cell, optimizer, inputs, splits)
    keys = jax.random.split(jax.random.key(config.seed), config.seeds)
    params = jax.vmap(functools.partial(init, cell))(keys)
    state = State(
        params,
        jax.vmap(optimizer.init)(params),
        best=params,
        best_loss=jnp.full(config.seeds, jnp.inf),
        best_epoch=jnp.zeros(config.seeds, int),
    )
    with cli.Bar(console, config.epochs, "epoch") as bar:
        for number in range(1, config.epochs + 1):
            state, losses = run_epoch(state, keys, number)
            if not jnp.isfinite(losses).all():
                raise cli.Failure(
                    f"the loss is {losses.max()} in epoch {number}; try a "
                    f"--learning-rate below {config.learning_rate:g}"
                )
            bar.advance(1, f"loss {losses.mean():.3f}")
            if stop.is_set() or number >= state.best_epoch.max() + config.patience:
                break
    return state


def predict(
    cell: rj.Cell,
    params: Params,
    inputs: jax.Array,
    weather: data.Weather,
    windows: np.ndarray,
) -> np.ndarray:
    """Return the forecasts of all seeds in original units, `(seeds, N, HORIZON, 4)`."""
    history, season, _ = cut(inputs, jnp.asarray(windows))
    run = jax.jit(jax.vmap(functools.partial(forecast, cell), in_axes=(0, None, None)))
    anomalies = np.asarray(run(params, history, season))
    return weather.degrees(anomalies, windows[:, -data.HORIZON :])


def run(config: Config, console: Console, stop: threading.Event) -> list[Path]:
    """Train, forecast, print the table, save the picture; return its path."""
    path = config.data or data.shipped_file()
    weather = data.prepare(*data.read(path))
    splits = data.split(len(weather.dates), config.window)
    cell = CELLS[config.cell](config.hidden_size)
    inputs = jnp.asarray(weather.inputs, float)
    console.print(f"Training {config.seeds} x {cell} on {path.name}", highlight=False)
    state = train(config, cell, inputs, splits, stop, console)
    network, held = (
        predict(cell, state.best, inputs, weather, windows)
        for windows in (splits.test, splits.validation)
    )
    results = report.Results(config.cell, weather, splits, network, held)
    report.table(console, results)
    size = sum(leaf[0].size for leaf in jax.tree.leaves(state.params))
    epochs = ", ".join(map(str, state.best_epoch.tolist()))
    console.print(f"{size} parameters; best epoch of each seed: {epochs}")
    picture = config.output / "forecast.png"
    report.picture(picture, results)
    return [picture]


def main() -> int:
    """Read the flags and run."""
    return cli.main(Config, run, cli.BEST)


if __name__ == "__main__":
    sys.exit(main())
