# SPDX-License-Identifier: Apache-2.0
"""Colour Python programs as an editor does, by a network that learns it from examples.

For each character the network says whether it is code, a comment, a string or a
triple-quoted string. Whether a quote opens or closes a string depends on all that came
before, so a network must remember. It is compared with networks that see the last
characters only, on files that no network has seen. Python's tokenizer gives the answers
to learn from.

    python examples/highlight.py --help

Exit status: 0; 1 if there is no result; 2 for a bad flag; 130 after Ctrl-C, which stops
training and reports on the networks that are trained.
"""

import dataclasses
import functools
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import cli
import highlight_data as data
import highlight_report as report
import jax
import jax.numpy as jnp
import numpy as np
import optax
from highlight_models import Recurrent, Window
from rich.console import Console

import recurrent_jax as rj
from recurrent_jax import training

CELLS = {"gru": rj.GRU, "lstm": rj.LSTM, "elman": rj.Elman, "mgu": rj.MGU}
TEST_STREAMS = 16  # parts of the test that are read in parallel


@dataclasses.dataclass(frozen=True)
class Config:
    """Colour Python programs, with memory and without.

    Ctrl-C stops training and reports on the networks that are trained.

    Attributes:
        cell: the recurrent cell.
        hidden_size: units of the cell.
        embedding: size of the embedding of a character.
        widths: characters that the networks without memory see.
        window_size: hidden units of the networks without memory.
        seeds: number of networks of each kind.
        seed: the first seed.
        characters: number of characters to train on.
        tested: number of characters to test on.
        epochs: passes over the training text.
        streams: parts of the text that are read in parallel.
        length: characters in a chunk, over which gradients propagate.
        learning_rate: the maximum of the schedule.
        source: a directory of Python files. The default is Python's own library.
        output: directory for the picture.
    """

    cell: Literal["gru", "lstm", "elman", "mgu"] = "gru"
    hidden_size: int = 64
    embedding: int = 16
    widths: tuple[int, ...] = (8, 32)
    window_size: int = 32
    seeds: int = 3
    seed: int = 0
    characters: int = 600_000
    tested: int = 100_000
    epochs: int = 2
    streams: int = 64
    length: int = 64
    learning_rate: float = 0.01
    source: Path | None = None
    output: Path = Path("results")

    def __post_init__(self) -> None:
        sizes = dataclasses.asdict(self)
        for name, value in sizes.items():
            if isinstance(value, int) and name != "seed" and value < 1:
                raise ValueError(f"{name} must be at least 1")
        if not self.widths or min(self.widths) < 1:
            raise ValueError("widths must be numbers of at least 1")
        if self.characters <= self.streams * self.length:
            raise ValueError("characters must be more than streams times length")
        if self.tested < 10 * TEST_STREAMS:
            raise ValueError(f"tested must be at least {10 * TEST_STREAMS}")
        if not self.learning_rate > 0:
            raise ValueError("learning_rate must be positive")

    def networks(self) -> dict[str, Recurrent | Window]:
        """Return the networks by name, that with memory first."""
        window = functools.partial(
            Window, hidden_size=self.window_size, embedding=self.embedding
        )
        cell = CELLS[self.cell](self.hidden_size)
        found = {report.memory(self.cell): Recurrent(cell, self.embedding)}
        found |= {report.window(width): window(width) for width in self.widths}
        most = max(self.widths)
        return found | {report.bag(most): window(most, ordered=False)}


def make_epoch(config: Config, network: Any) -> Callable[..., Any]:
    """Return a compiled function that trains for one epoch: state and mean loss."""
    optimizer = make_optimizer(config)

    def loss(params: Any, carry: Any, chunk: Any, key: jax.Array) -> Any:
        codes, kinds = chunk
        carry, logits = network(params, carry, codes)
        return training.cross_entropy(logits, kinds), carry

    def step(state: training.State, chunk: Any) -> Any:
        state, metrics = training.train_step(
            state, chunk, loss=loss, optimizer=optimizer
        )
        return state, metrics.loss

    @jax.jit
    def epoch(state: training.State, chunks: Any) -> tuple[training.State, jax.Array]:
        state = state._replace(carry=network.start(config.streams))
        state, losses = jax.lax.scan(step, state, chunks)
        return state, losses.mean()

    return epoch


def make_optimizer(config: Config) -> optax.GradientTransformation:
    """Return Adam with a clipped gradient, warm-up and decay."""
    steps = config.characters // (config.streams * config.length) * config.epochs
    rate = optax.cosine_onecycle_schedule(max(steps, 3), config.learning_rate, 0.2)
    return training.adamw(rate)


def cut(config: Config, source: data.Source) -> tuple[jax.Array, jax.Array]:
    """Return codes and kinds in chunks of parallel streams, `(chunks, length, N)`."""
    chunks = config.characters // (config.streams * config.length)
    steps = chunks * config.length

    def one(values: np.ndarray) -> jax.Array:
        streams = training.cut_streams(values[: steps * config.streams], config.streams)
        return streams.reshape(chunks, config.length, config.streams)

    return one(source.codes), one(source.kinds)


def guess(network: Any, params: Any, source: data.Source) -> np.ndarray:
    """Return the most likely kind of each character, `(characters,)`."""
    count = len(source.codes)
    padded = np.resize(source.codes, -(-count // TEST_STREAMS) * TEST_STREAMS)
    streams = training.cut_streams(padded, TEST_STREAMS)
    _, logits = jax.jit(network)(params, network.start(TEST_STREAMS), streams)
    return np.asarray(logits.argmax(-1)).T.reshape(-1)[:count]


def train_all(
    config: Config,
    train: data.Source,
    test: data.Source,
    console: Console,
    stop: threading.Event,
) -> tuple[dict[str, np.ndarray], dict[str, int]]:
    """Return guesses on the test, `(seeds, characters)`, and sizes of the networks."""
    chunks, networks = cut(config, train), config.networks()
    guesses: dict[str, list[np.ndarray]] = {name: [] for name in networks}
    sizes: dict[str, int] = {}
    with cli.Bar(console, len(networks) * config.seeds * config.epochs) as bar:
        for name, network in networks.items():
            epoch = make_epoch(config, network)
            for seed in range(config.seed, config.seed + config.seeds):
                key_init, key = jax.random.split(jax.random.key(seed))
                params, carry = network.init(key_init), network.start(config.streams)
                sizes[name] = sum(leaf.size for leaf in jax.tree.leaves(params))
                state = training.init_state(
                    params, make_optimizer(config), key=key, carry=carry
                )
                for _ in range(config.epochs):
                    state, loss = epoch(state, chunks)
                    if not jnp.isfinite(loss):
                        raise cli.Failure(
                            f"{name}: the loss is {loss}; try a --learning-rate below "
                            f"{config.learning_rate:g}"
                        )
                    bar.advance(1, f"{name}, loss {loss:.3f}")
                guesses[name].append(guess(network, state.params, test))
                if stop.is_set():
                    break
            if stop.is_set():
                break
    return {name: np.stack(each) for name, each in guesses.items() if each}, sizes


def run(config: Config, console: Console, stop: threading.Event) -> list[Path]:
    """Train, test, print the table, save the picture."""
    train, test = data.load(config.characters, config.tested, config.source)
    first, *others = config.networks()
    console.print(
        f"Training {config.seeds} of each: {first}, {len(others)} networks without "
        f"memory; {config.characters:,} characters of Python to train on, "
        f"{config.tested:,} of other files to test on",
        highlight=False,
    )
    guesses, sizes = train_all(config, train, test, console, stop)
    results = report.Results(first, test, guesses, sizes)
    report.table(console, results)
    picture = config.output / "highlight.png"
    report.picture(picture, results)
    return [picture]


def main() -> int:
    """Read the flags and run."""
    return cli.main(Config, run, "the result is of the networks that were trained.")


if __name__ == "__main__":
    sys.exit(main())
