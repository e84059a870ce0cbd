# SPDX-License-Identifier: Apache-2.0
"""The common part of both Flax examples: flags, batches, optimiser and table."""

import dataclasses
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cli
import names_data as data
import numpy as np
import optax
from rich.console import Console
from rich.table import Table

from recurrent_jax.training import clipping


@dataclasses.dataclass(frozen=True)
class Config:
    """Tell women's first names from men's, letter by letter, with a model in Flax.

    Ctrl-C stops training and reports on the parameters so far.

    Attributes:
        hidden_size: units of each recurrent layer.
        embedding: size of the embedding of a letter.
        dropout: rate of dropout between the recurrent layers.
        epochs: passes over the names.
        batch_size: names in a gradient step.
        learning_rate: the maximum of the schedule.
        weight_decay: of Adam.
        seed: of all random numbers.
    """

    hidden_size: int = 48
    embedding: int = 16
    dropout: float = 0.5
    epochs: int = 16
    batch_size: int = 64
    learning_rate: float = 0.005
    weight_decay: float = 0.01
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("hidden_size", "embedding", "epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1")
        if not 0 <= self.dropout < 1:
            raise ValueError("dropout must be in [0, 1)")
        if not self.learning_rate > 0:
            raise ValueError("learning_rate must be positive")
        if not self.weight_decay >= 0:
            raise ValueError("weight_decay must not be negative")


Model = tuple[Callable[..., Any], Callable[..., Any]]


def optimizer(config: Config, count: int) -> optax.GradientTransformation:
    """Return clipping and Adam with warm-up and decay, for `count` names."""
    steps = config.epochs * -(-count // config.batch_size)
    rate = optax.warmup_cosine_decay_schedule(
        0.0, config.learning_rate, min(50, steps // 4), steps
    )
    return optax.chain(
        clipping(max_norm=1.0), optax.adamw(rate, weight_decay=config.weight_decay)
    )


def batches(config: Config, names: data.Names, epoch: int) -> Iterator[data.Names]:
    """Yield batches in the order of this epoch; the last is filled from the start."""
    order = np.random.default_rng((config.seed, epoch)).permutation(len(names.women))
    count = -(-len(order) // config.batch_size)
    for batch in np.resize(order, (count, config.batch_size)):
        yield names[batch]


def run(
    config: Config,
    console: Console,
    stop: threading.Event,
    *,
    what: str,
    start: Callable[[Config, data.Names], Model],
) -> list[Path]:
    """Train, measure and print the table; no file is saved.

    Args:
        config: the flags.
        console: where to print.
        stop: what Ctrl-C sets.
        what: the name of the model.
        start: returns a training step, `(batch) -> loss`, and `(names) -> logits`.
    """
    train, test = data.split(data.load(), config.seed)
    console.print(f"Training {what} on {len(train.women):,} names", highlight=False)
    step, logits = start(config, train)
    with cli.Bar(console, config.epochs, "epoch") as bar:
        for epoch in range(config.epochs):
            losses = [step(batch) for batch in batches(config, train, epoch)]
            loss = float(np.mean(losses))
            if not np.isfinite(loss):
                raise cli.Failure(
                    f"the loss is {loss} in epoch {epoch + 1}; try a --learning-rate "
                    f"below {config.learning_rate:g}"
                )
            bar.advance(1, f"loss {loss:.3f}")
            if stop.is_set():
                break
    right = (logits(test) > 0) == (test.women > 0)
    table(console, what, right, train, test)
    return []


def table(
    console: Console, what: str, right: np.ndarray, train: data.Names, test: data.Names
) -> None:
    """Print the accuracy of each method on names not seen in training."""
    others = {
        "always a woman's": data.endings(train, test, 0),
        "by the last letter": data.endings(train, test, 1),
        "by the longest known ending": data.endings(train, test, 5),
    }
    title = f"Right on {len(right):,} names not seen in training"
    result = Table(title=title, min_width=len(title) + 2)
    result.add_column("method")
    result.add_column("accuracy, %", justify="right")
    for name, each in {**others, what: right}.items():
        result.add_row(name, data.percent(each))
    console.print(result)
    best = max(others, key=lambda name: others[name].mean())
    ahead = data.percent(right.astype(float) - others[best])
    console.print(f"{what}, less '{best}': {ahead} points, name by name.")
