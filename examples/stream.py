# SPDX-License-Identifier: Apache-2.0
"""Learn from a stream of a million steps, one step after the other, in constant memory.

The stream is Python's own source, letter by letter; letters count as one symbol, and
so do digits. A network is told each symbol once, says how likely each next one is, and
learns from what comes. There is no second pass, no test set and no end: the loss is
that of symbols that no network has seen yet. No part of the stream comes twice, and
it drifts, since each file has its own style.

Gradients that are carried forward (`rj.online`) are compared with back-propagation
that is truncated. All networks take their turns on the same stretch of the stream, so
that their times are comparable on a busy machine too.

    python examples/stream.py --help

The networks are saved as they learn. After any interruption, a kill included, the same
command resumes from the last save and reaches the same result, bit for bit.

Exit status: 0; 1 if there is no result; 2 for a bad flag; 130 after Ctrl-C, which
saves.
"""

import dataclasses
import functools
import hashlib
import sys
import threading
import time
from pathlib import Path
from typing import Any, NamedTuple

import cli
import jax
import jax.numpy as jnp
import numpy as np
import stream_data as data
import stream_report as report
from rich.console import Console
from stream_ways import Forward, Params, Truncated, init

import recurrent_jax as rj
from recurrent_jax import online, training

SAVE = 15.0  # seconds between two saves
SKIP = 1000  # updates in a row whose gradient may have overflowed


@dataclasses.dataclass(frozen=True)
class Config:
    """Learn from a stream in constant memory, forward in time or truncated.

    Ctrl-C saves; the same command resumes.

    Attributes:
        ways: what to compare, of rtrl, window, chunks, uoro, snap1, eprop, gru_window
            and gru_chunks.
        hidden_size: units of every cell.
        steps: symbols of the stream; a multiple of the stretch.
        stretch: steps in one call, over which losses are averaged.
        every: steps between two updates.
        window: steps that truncated back-propagation goes back, at least `every`. At
            the default it takes about the time of the gradients of `rj.online`.
        gru_window: the same for the GRU.
        learning_rate: of Adam.
        bound: of the numbers that a learner keeps of the past.
        seeds: networks of each kind, which learn side by side.
        seed: of all random numbers.
        source: a directory of Python files. The default is Python's own library.
        output: directory for the picture, the table and the saved networks.
    """

    ways: tuple[str, ...] = tuple(report.NAMES)
    hidden_size: int = 32
    steps: int = 1_000_000
    stretch: int = 10_000
    every: int = 16
    window: int = 256
    gru_window: int = 144
    learning_rate: float = 0.005
    bound: float = 100.0
    seeds: int = 2
    seed: int = 0
    source: Path | None = None
    output: Path = Path("results")

    def __post_init__(self) -> None:
        for name, value in dataclasses.asdict(self).items():
            if isinstance(value, int) and name != "seed" and value < 1:
                raise ValueError(f"{name} must be at least 1")
        if not self.ways or set(self.ways) - set(report.NAMES):
            raise ValueError(f"ways must be some of {', '.join(report.NAMES)}")
        if self.steps % self.stretch or self.stretch % self.every:
            raise ValueError(
                "steps must be a multiple of stretch, and stretch one of every"
            )
        if min(self.window, self.gru_window) < self.every:
            raise ValueError("window and gru_window must be at least every")
        if not min(self.learning_rate, self.bound) > 0:
            raise ValueError("learning_rate and bound must be positive")

    def way(self, name: str) -> Forward | Truncated:
        """Return a way to the gradient by its name."""
        diagonal, gru = rj.DiagonalGRU(self.hidden_size), rj.GRU(self.hidden_size)
        every, bound = self.every, self.bound
        return {
            "rtrl": Forward(online.RTRL(diagonal), every, bound),
            "window": Truncated(diagonal, every, self.window),
            "chunks": Truncated(diagonal, every, every),
            "uoro": Forward(online.UORO(diagonal), every, bound),
            "snap1": Forward(online.SnAp1(gru), every, bound),
            "eprop": Forward(online.EProp(gru), every, bound),
            "gru_window": Truncated(gru, every, self.gru_window),
            "gru_chunks": Truncated(gru, every, every),
        }[name]


class Network(NamedTuple):
    """One network in the stream."""

    params: Params
    moments: Any
    state: Any  # of its way


class Saved(NamedTuple):
    """All that is saved."""

    networks: dict[str, Network]  # by way, stacked over seeds
    bits: dict[str, np.ndarray]  # (seeds, stretches), NaN where nothing is known yet
    seconds: dict[str, np.ndarray]  # (stretches,)
    done: np.ndarray  # stretches


def optimizer_of(learning_rate: float) -> Any:
    """Return Adam with clipping, which skips a gradient that is not finite."""
    return training.adamw(learning_rate, skip=SKIP)


def begin(config: Config) -> Saved:
    """Return all networks before the first step."""
    keys = jax.random.split(jax.random.key(config.seed), config.seeds)
    stretches, networks = config.steps // config.stretch, {}
    for name in config.ways:
        way = config.way(name)

        def one(key: jax.Array, way: Any = way) -> Network:
            params = init(way.cell, len(data.SYMBOLS), key)
            moments = optimizer_of(config.learning_rate).init(params)
            return Network(params, moments, way.start(params, key))

        networks[name] = jax.vmap(one)(keys)
    unknown = np.full((config.seeds, stretches), np.nan, np.float32)
    return Saved(
        networks,
        dict.fromkeys(config.ways, unknown),
        dict.fromkeys(config.ways, unknown[0]),
        np.zeros((), np.int32),
    )


@functools.partial(jax.jit, static_argnums=(0, 1))
def learn(
    way: Forward | Truncated, learning_rate: float, networks: Network, symbols: Any
) -> tuple[Network, jax.Array]:
    """Return all seeds after a stretch of the stream, and their losses in bits.

    Args:
        way: how gradients are computed.
        learning_rate: of Adam.
        networks: stacked over seeds.
        symbols: the stretch and the symbol after it, `(stretch + 1,)`.
    """
    optimizer = optimizer_of(learning_rate)

    def update(now: Network, stretch: Any) -> tuple[Network, jax.Array]:
        codes, targets = stretch
        xs = jax.nn.one_hot(codes, len(data.SYMBOLS))
        state, losses, slope = way.gradient(now.params, now.state, xs, targets)
        updates, moments = optimizer.update(slope, now.moments, now.params)
        params = jax.tree.map(jnp.add, now.params, updates)
        return Network(params, moments, state), losses.mean()

    def one(now: Network) -> tuple[Network, jax.Array]:
        parts = (a.reshape(-1, way.every) for a in (symbols[:-1], symbols[1:]))
        now, losses = jax.lax.scan(update, now, tuple(parts))
        return now, losses.mean() / jnp.log(2.0)

    return jax.vmap(one)(networks)


def kept(config: Config, saved: Saved, name: str) -> int:
    """Return how many numbers one network keeps besides its parameters' own."""
    leaves = jax.tree.leaves(saved.networks[name].state)
    arrays = [a for a in leaves if not jnp.issubdtype(a.dtype, jax.dtypes.prng_key)]
    return sum(a.size for a in arrays) // config.seeds


def go(
    config: Config, symbols: np.ndarray, stop: threading.Event, console: Console
) -> Saved:
    """Return all networks at the end of the stream, or where Ctrl-C stopped them."""
    saved = begin(config)
    directory = config.output / f"stream-{name_of(config)}"
    saved = training.restore(directory, saved) or saved
    stretches, last = config.steps // config.stretch, time.perf_counter()
    if done := int(saved.done):
        console.print(f"Resuming after {done * config.stretch:,} steps.")
    with cli.Bar(console, stretches, "stretch", done) as bar:
        for n in range(done, stretches):
            saved = one_stretch(config, saved, symbols, n, bar)
            late = time.perf_counter() - last > SAVE
            if late or stop.is_set() or n == stretches - 1:
                training.save(directory, saved)
                last = time.perf_counter()
            if stop.is_set():
                break
    return saved


def one_stretch(
    config: Config, saved: Saved, symbols: np.ndarray, n: int, bar: cli.Bar
) -> Saved:
    """Return all networks after one more stretch; each takes its turn."""
    first = n * config.stretch
    stretch = jnp.asarray(symbols[first : first + config.stretch + 1])
    networks = dict(saved.networks)
    bits, seconds = ({k: np.array(a) for k, a in part.items()} for part in saved[1:3])
    said = []
    for name in config.ways:
        began = time.perf_counter()
        way, rate = config.way(name), config.learning_rate
        networks[name], loss = learn(way, rate, networks[name], stretch)
        bits[name][:, n] = loss  # waits for the result
        seconds[name][n] = time.perf_counter() - began
        if not np.isfinite(loss).all():
            raise cli.Failure(
                f"{report.NAMES[name]}: the loss is {loss.max()} after {first:,} "
                f"steps; try a --learning-rate below {config.learning_rate:g}"
            )
        said.append(f"{name} {loss.mean():.3f}")
        bar.advance(1 / len(config.ways), ", ".join(said))
    return Saved(networks, bits, seconds, np.asarray(n + 1, np.int32))


def name_of(config: Config) -> str:
    """Return a name for what is saved; it depends on the flags that affect training."""
    fields = dataclasses.asdict(config)
    del fields["output"]
    return hashlib.sha256(repr(fields).encode()).hexdigest()[:8]


def run(config: Config, console: Console, stop: threading.Event) -> list[Path]:
    """Learn, print the table, save it and the picture; return their paths."""
    symbols = data.stream(config.steps + 1, config.source)
    console.print(
        f"{config.steps:,} steps of Python source, {len(data.SYMBOLS)} symbols; "
        f"{config.seeds} networks of {config.hidden_size} units of each kind",
        highlight=False,
    )
    saved = go(config, symbols, stop, console)
    if not int(saved.done):
        raise cli.Failure("stopped before the first result")
    numbers = {name: kept(config, saved, name) for name in config.ways}
    skipped = {
        name: np.asarray(network.moments.total_notfinite)
        for name, network in saved.networks.items()
    }
    results = report.Results.of(config, saved, numbers, skipped, symbols)
    report.table(console, results)
    paths = [config.output / f"stream.{kind}" for kind in ("csv", "png")]
    report.write(paths[0], results)
    report.picture(paths[1], results)
    return paths


def main() -> int:
    """Read the flags and run."""
    return cli.main(Config, run)


if __name__ == "__main__":
    sys.exit(main())
