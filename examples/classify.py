# SPDX-License-Identifier: Apache-2.0
"""Classify the noisy series of MNIST-1D, with and without gradient clipping.

Two layers read each series in both directions. The maximum of every feature over time
goes to a linear head, so the position of the digit in the series does not matter.
Several seeds are trained with the same flags, each with and without clipping.

    python examples/classify.py --help

Every network is saved during training. After any interruption, the same command resumes
from the last save and reaches the same result.

Exit status: 0; 1 if there is no result; 2 for a bad flag; 130 after Ctrl-C, which stops
training and reports on the finished networks.
"""

import dataclasses
import functools
import hashlib
import sys
import threading
from pathlib import Path
from typing import Any, Literal, NamedTuple

import classify_data as data
import classify_report as report
import cli
import jax
import jax.numpy as jnp
import numpy as np
import optax
from rich.console import Console

import recurrent_jax as rj
from recurrent_jax import training

CELLS = {"gru": rj.GRU, "lstm": rj.LSTM, "elman": rj.Elman}


@dataclasses.dataclass(frozen=True)
class Config:
    """Classify the noisy series of MNIST-1D, which are generated here.

    Ctrl-C stops training and reports on the finished networks. The same command
    resumes.

    Attributes:
        cell: the recurrent cell.
        layers: number of layers, each in both directions.
        hidden_size: units of each direction.
        dropout: rate of dropout on outputs.
        epochs: passes over the training series.
        batch_size: series in a gradient step.
        learning_rate: the maximum of the schedule.
        weight_decay: of the kernels.
        max_norm: of the gradient, if it is clipped.
        seeds: number of networks with clipping, and of those without.
        seed: the first seed.
        samples: series in the data set. A fifth is the test.
        output: directory for the picture and checkpoints.
    """

    cell: Literal["gru", "lstm", "elman"] = "gru"
    layers: int = 2
    hidden_size: int = 32
    dropout: float = 0.2
    epochs: int = 20
    batch_size: int = 50
    learning_rate: float = 0.01
    weight_decay: float = 0.01
    max_norm: float = 1.0
    seeds: int = 3
    seed: int = 0
    samples: int = 5000
    output: Path = Path("results")

    def __post_init__(self) -> None:
        for name in ("layers", "hidden_size", "epochs", "batch_size", "seeds"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1")
        if self.samples < 50 or self.batch_size > self.samples * 4 // 5:
            raise ValueError(
                "samples must be at least 50, and four fifths of them a batch or more"
            )
        if not 0 <= self.dropout < 1:
            raise ValueError("dropout must be in [0, 1)")
        if not (self.learning_rate > 0 and self.max_norm > 0):
            raise ValueError("learning_rate and max_norm must be positive")
        if not self.weight_decay >= 0:
            raise ValueError("weight_decay must not be negative")

    def network(self) -> rj.Deep:
        """Return the layers."""
        layer = rj.Bidirectional(CELLS[self.cell](self.hidden_size))
        return rj.Deep((layer,) * self.layers, dropout=self.dropout)


class Params(NamedTuple):
    """Parameters of the whole model."""

    network: Any
    kernel: jax.Array  # (2 H, 10)
    bias: jax.Array  # (10,)


class Run(NamedTuple):
    """One network in training, as it is saved."""

    state: training.State
    curve: jax.Array  # (epochs, 3): training loss, test accuracy, largest gradient


def init(config: Config, key: jax.Array) -> Params:
    """Return fresh parameters."""
    key, key_head = jax.random.split(key)
    shape = (2 * config.hidden_size, data.CLASSES)
    return Params(
        network=config.network().init(key, in_features=1),
        kernel=rj.initializers.glorot_uniform(key_head, shape, float),
        bias=jnp.zeros(data.CLASSES),
    )


def logits(config: Config, params: Params, x: jax.Array, key: Any = None) -> jax.Array:
    """Return the logits of series `(N, T)`; a key means dropout."""
    _, ys = rj.unroll(config.network(), params.network, x.T[..., None], key=key)
    seen = ys.max(0)
    if key is not None:
        kept = jax.random.bernoulli(key, 1 - config.dropout, seen.shape)
        seen = jnp.where(kept, seen / (1 - config.dropout), jnp.zeros_like(seen))
    return rj.affine(seen, params.kernel, params.bias)


@functools.partial(jax.jit, static_argnums=0)
def predict(config: Config, params: Params, x: jax.Array) -> jax.Array:
    """Return the digit of each series, `(N,)`."""
    return logits(config, params, x).argmax(-1)


def optimizer(config: Config, examples: int, clip: bool) -> Any:
    """Return Adam with its schedule, with clipping or without."""
    steps = examples // config.batch_size * config.epochs
    rate = optax.cosine_onecycle_schedule(steps, config.learning_rate, 0.2)
    return training.adamw(
        rate,
        weight_decay=config.weight_decay,
        max_norm=config.max_norm if clip else None,
    )


@functools.partial(jax.jit, static_argnums=(0, 1))
def epoch(
    config: Config, clip: bool, digits: data.Digits, state: training.State
) -> tuple[training.State, jax.Array]:
    """Return the state after an epoch, and its row of the curve."""
    examples = len(digits.x)

    def loss(params: Params, carry: Any, batch: jax.Array, key: jax.Array) -> Any:
        guesses = logits(config, params, digits.x[batch], key)
        return training.cross_entropy(guesses, digits.y[batch]), carry

    def one(state: training.State, _: None) -> tuple[training.State, training.Metrics]:
        batch = training.batch_indices(
            state.key, state.step, examples=examples, size=config.batch_size
        )
        tx = optimizer(config, examples, clip)
        return training.train_step(state, batch, loss=loss, optimizer=tx)

    state, metrics = jax.lax.scan(one, state, length=examples // config.batch_size)
    right = predict(config, state.params, digits.x_test) == digits.y_test
    row = (metrics.loss.mean(), right.astype(float).mean(), metrics.gradient_norm.max())
    return state, jnp.stack(row)


def train(
    config: Config,
    digits: data.Digits,
    seed: int,
    clip: bool,
    stop: threading.Event,
    advance: Any,
) -> Run | None:
    """Return one network after its last epoch, or None if it was stopped."""
    key_init, key = jax.random.split(jax.random.key(seed))
    tx = optimizer(config, len(digits.x), clip)
    state = training.init_state(init(config, key_init), tx, key=key)
    run = Run(state, jnp.full((config.epochs, 3), jnp.nan))
    directory = config.output / f"classify-{name_of(config)}-{seed}-{clip}"
    run = training.restore(directory, run) or run
    done = int(jnp.isfinite(run.curve[:, 0]).sum())
    advance(done)
    for number in range(done, config.epochs):
        if stop.is_set():
            training.save(directory, run)
            return None
        state, row = epoch(config, clip, digits, run.state)
        run = Run(state, run.curve.at[number].set(row))
        if not jnp.isfinite(row[0]):
            raise cli.Failure(
                f"the loss is {row[0]} in epoch {number + 1}; try a --learning-rate "
                f"below {config.learning_rate:g}"
            )
        if (number + 1) % 5 == 0 or number + 1 == config.epochs:
            training.save(directory, run)
        advance(1, f"loss {row[0]:.3f}")
    return run


def name_of(config: Config) -> str:
    """Return a name for checkpoints; it depends on the flags that affect training."""
    fields = dataclasses.asdict(config)
    for name in ("output", "seed", "seeds"):
        del fields[name]
    return hashlib.sha256(repr(fields).encode()).hexdigest()[:8]


def train_all(
    config: Config, digits: data.Digits, stop: threading.Event, console: Console
) -> dict[bool, list[Run]]:
    """Return the finished networks, with clipping and without."""
    finished: dict[bool, list[Run]] = {True: [], False: []}
    total = 2 * config.seeds * config.epochs
    with cli.Bar(console, total, "epoch") as bar:
        for seed in range(config.seed, config.seed + config.seeds):
            for clip in (True, False):
                run = train(config, digits, seed, clip, stop, bar.advance)
                if run is None:
                    return finished
                finished[clip].append(run)
    return finished


def run(config: Config, console: Console, stop: threading.Event) -> list[Path]:
    """Train, test, print the table, save the picture; return its path."""
    digits = data.digits(config.samples)
    console.print(
        f"Training {2 * config.seeds} x {config.network()} on {len(digits.x):,} "
        f"series, testing on {len(digits.x_test):,}",
        highlight=False,
    )
    finished = train_all(config, digits, stop, console)
    if not any(finished.values()):
        raise KeyboardInterrupt
    results = report.Results(
        name=f"{config.layers} x {config.cell.upper()} of {config.hidden_size}",
        curves={c: np.stack([r.curve for r in f]) for c, f in finished.items() if f},
        logistic=data.logistic_regression(digits),
        digits=digits,
        guesses=np.asarray(
            predict(config, finished[True][0].state.params, digits.x_test)
        ),
        max_norm=config.max_norm,
    )
    report.table(console, results)
    params = finished[True][0].state.params
    console.print(f"{sum(leaf.size for leaf in jax.tree.leaves(params)):,} parameters.")
    picture = config.output / "classify.png"
    report.picture(picture, results)
    return [picture]


def main() -> int:
    """Read the flags and run."""
    return cli.main(Config, run)


if __name__ == "__main__":
    sys.exit(main())
