# SPDX-License-Identifier: Apache-2.0
"""Show what cells that are linear in their state can and cannot do.

Four tasks are learned by networks that differ in their cell alone:

- Parity: is the number of ones so far odd? The state must turn around at each one.
- Swaps: in which order are three things after all swaps so far? The order of the swaps
  matters. As in parity, the networks learn on short sequences and are tested on a
  longer one.
- Selective copying: which symbols stood among the blanks? The state must choose what
  it keeps.
- Recall: which symbol came first, a long time ago? The state must forget slowly.

    python examples/state_tracking.py --help

Results are saved after each network. After any interruption, the same command resumes
after the last finished network and reaches the same result.

Exit status: 0; 1 if there is no result; 2 for a bad flag; 130 after Ctrl-C, which stops
after the current network and reports on the finished ones.
"""

import dataclasses
import functools
import hashlib
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import cli
import jax
import jax.numpy as jnp
import numpy as np
import optax
import state_tracking_report as report
import state_tracking_tasks as tasks
from rich.console import Console

import recurrent_jax as rj
from recurrent_jax import training

CHECKS = 10  # points of each curve of training
CHECKED, TESTED = 128, 512  # sequences in a check and in the last test


@dataclasses.dataclass(frozen=True)
class Config:
    """Compare cells that are linear in their state with cells that are not.

    Ctrl-C stops after the current network. The same command resumes.

    Attributes:
        seeds: networks that are trained at the same time, each from its own seed.
        hidden_size: units of every network.
        batch_size: new sequences in each update.
        learning_rate: of Adam at its peak.
        parity_updates: for each network.
        swaps_updates: for each network.
        tracked_length: of the sequences of both in training.
        tested_length: of the sequences of both in the test.
        copying_updates: for each network.
        copying_length: of the sequences.
        recall_updates: for each network.
        recall_length: of the sequences.
        seed: of all random numbers.
        quick: whether to run a small version, whose results mean nothing.
        output: directory for the picture and results.
    """

    seeds: int = 3
    hidden_size: int = 32
    batch_size: int = 32
    learning_rate: float = 5e-3
    parity_updates: int = 600
    swaps_updates: int = 1000
    tracked_length: int = 40
    tested_length: int = 256
    copying_updates: int = 1000
    copying_length: int = 32
    recall_updates: int = 300
    recall_length: int = 1000
    seed: int = 0
    quick: bool = False
    output: Path = Path("results")

    def __post_init__(self) -> None:
        for name in ("seeds", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1")
        for task in ("parity", "swaps", "copying", "recall"):
            if (count := getattr(self, f"{task}_updates")) < CHECKS or count % CHECKS:
                raise ValueError(f"{task}_updates must be a multiple of {CHECKS}")
        if self.hidden_size < 4 or self.hidden_size % 4:
            raise ValueError("hidden_size must be a multiple of 4")
        if not report.WINDOW <= self.tracked_length < self.tested_length:
            raise ValueError(
                f"tracked_length must be at least {report.WINDOW} and below "
                "tested_length"
            )
        if self.copying_length < 2 * tasks.COPIED or self.recall_length < 2:
            raise ValueError(
                f"copying_length must be at least {2 * tasks.COPIED}, and "
                "recall_length at least 2"
            )
        if not self.learning_rate > 0:
            raise ValueError("learning_rate must be positive")


QUICK = {
    "seeds": 2,
    "hidden_size": 8,
    "batch_size": 4,
    "parity_updates": 20,
    "swaps_updates": 20,
    "tracked_length": 8,
    "tested_length": 16,
    "copying_updates": 20,
    "copying_length": 16,
    "recall_updates": 20,
    "recall_length": 20,
}


class Block(NamedTuple):
    """Parameters of a cell and of the layers after it."""

    cell: Any
    up: jax.Array  # (H, 2H)
    up_bias: jax.Array  # (2H,)
    down: jax.Array  # (2H, H)


class Params(NamedTuple):
    """Parameters of one network."""

    embedding: jax.Array  # (codes, H)
    blocks: tuple[Block, ...]
    kernel: jax.Array  # (H, classes)
    bias: jax.Array  # (classes,)


class Run(NamedTuple):
    """One network to train on one task."""

    panel: str
    name: str
    cells: tuple[rj.Cell, ...]  # layer by layer
    task: tasks.Task
    length: int
    updates: int


def runs(config: Config) -> list[Run]:
    """Return all networks, task by task."""
    H = config.hidden_size
    tracking = {
        "LRU": rj.LRU(H),
        "MinGRU": rj.MinGRU(H),
        "Mamba2": rj.Mamba2(H),
        "GatedDeltaNet": rj.GatedDeltaNet(H),
        "DeltaNet, negative": rj.DeltaNet(H, negative_eigenvalues=True),
        "GatedDeltaNet, negative": rj.GatedDeltaNet(H, negative_eigenvalues=True),
        "LSTM": rj.LSTM(H),
    }
    copying = {
        "LRU, 3 layers": (rj.LRU(H),) * 3,
        "MinGRU, 1 layer": (rj.MinGRU(H),),
        "MinGRU, 2 layers": (rj.MinGRU(H),) * 2,
        "MinGRU, 3 layers": (rj.MinGRU(H),) * 3,
        "MinLSTM, 3 layers": (rj.MinLSTM(H),) * 3,
    }
    recall = {"LRU": rj.LRU(H, min_radius=0.99), "LSTM": rj.LSTM(H)}
    of_parity = tasks.PARITY, config.tracked_length, config.parity_updates
    of_swaps = tasks.SWAPPING, config.tracked_length, config.swaps_updates
    of_copying = tasks.COPYING, config.copying_length, config.copying_updates
    of_recall = tasks.RECALL, config.recall_length, config.recall_updates
    return [
        *(Run("parity", name, (cell,), *of_parity) for name, cell in tracking.items()),
        *(Run("swaps", name, (cell,), *of_swaps) for name, cell in tracking.items()),
        *(Run("copying", name, cells, *of_copying) for name, cells in copying.items()),
        *(Run("recall", name, (cell,), *of_recall) for name, cell in recall.items()),
    ]


def init(run: Run, key: jax.Array) -> Params:
    """Return fresh parameters."""
    H, glorot = run.cells[0].hidden_size, rj.initializers.glorot_uniform
    key_in, key_out, *keys = jax.random.split(key, 2 + 3 * len(run.cells))
    blocks = (
        Block(
            cell.init(keys[3 * n], H),
            glorot(keys[3 * n + 1], (H, 2 * H), float),
            jnp.zeros(2 * H),
            glorot(keys[3 * n + 2], (2 * H, H), float),
        )
        for n, cell in enumerate(run.cells)
    )
    return Params(
        embedding=jax.random.normal(key_in, (run.task.codes, H)),
        blocks=tuple(blocks),
        kernel=glorot(key_out, (H, run.task.classes), float),
        bias=jnp.zeros(run.task.classes),
    )


def answer(run: Run, params: Params, codes: jax.Array, last: int) -> jax.Array:
    """Return a number for each class, at the last steps."""
    x = params.embedding[codes]
    for n, (cell, block) in enumerate(zip(run.cells, params.blocks, strict=True)):
        _, y = rj.unroll(cell, block.cell, normed(x))
        if n == len(run.cells) - 1:  # nothing after it reads the other steps
            x, y = x[-last:], y[-last:]
        hidden = jax.nn.gelu(rj.affine(normed(y), block.up, block.up_bias))
        x = x + rj.affine(hidden, block.down)
    return rj.affine(normed(x), params.kernel, params.bias)


def normed(x: jax.Array) -> jax.Array:
    """Return `x` with a mean square of one."""
    return x * jax.lax.rsqrt(jnp.square(x).mean(-1, keepdims=True) + 1e-6)


def loss(run: Run, params: Params, carry: Any, batch: tasks.Batch, key: Any) -> Any:
    """Return the cross-entropy, and the carry, which is not used."""
    scores = jax.nn.log_softmax(answer(run, params, batch.codes, len(batch.targets)))
    chosen = jnp.take_along_axis(scores, batch.targets[..., None], -1)
    return -chosen.mean(), carry


def optimizer(config: Config, updates: int) -> Any:
    """Return Adam with clipping, whose rate rises at the start and falls at the end."""
    peak, warm = config.learning_rate, max(1, updates // 20)
    rate = optax.warmup_cosine_decay_schedule(0.0, peak, warm, updates)
    return training.adamw(rate, max_norm=1.0, skip=1000)


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def some_updates(config: Config, run: Run, count: int, states: Any) -> Any:
    """Return the states of all seeds after `count` updates."""

    def one(state: training.State, _: None) -> tuple[training.State, None]:
        key = jax.random.fold_in(state.key, state.step)
        batch = run.task.draw(key, run.length, config.batch_size)
        state, _ = training.train_step(
            state,
            batch,
            loss=functools.partial(loss, run),
            optimizer=optimizer(config, run.updates),
        )
        return state, None

    def several(state: training.State) -> training.State:
        return jax.lax.scan(one, state, length=count)[0]

    return jax.vmap(several)(states)


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def accuracy(
    run: Run, length: int, size: int, params: Any, key: jax.Array
) -> jax.Array:
    """Return the share of right answers by seed and step, on new sequences."""
    batch = run.task.draw(key, length, size)

    def one(params: Params) -> jax.Array:
        guesses = answer(run, params, batch.codes, len(batch.targets)).argmax(-1)
        return (guesses == batch.targets).mean(-1)

    return jax.lax.map(one, params)


def train(config: Config, run: Run, advance: Callable[[int], None]) -> report.Result:
    """Return the accuracy during training and after it, of all seeds."""
    key_test, key = jax.random.split(jax.random.key(config.seed))
    key_init, key_data = jax.random.split(key)
    tx = optimizer(config, run.updates)
    states = jax.vmap(
        lambda k, d: training.init_state(init(run, k), tx, key=d),
    )(
        jax.random.split(key_init, config.seeds),
        jax.random.split(key_data, config.seeds),
    )
    count = run.updates // CHECKS
    began, curve = time.perf_counter(), []
    for _ in range(CHECKS):
        states = some_updates(config, run, count, states)
        found = accuracy(run, run.length, CHECKED, states.params, key_test)
        curve.append(np.asarray(found).mean(-1).tolist())
        advance(count)
    length = config.tested_length if run.panel in report.TRACKING else run.length
    steps = accuracy(
        run, length, TESTED, states.params, jax.random.fold_in(key_test, 1)
    )
    return report.Result(
        panel=run.panel,
        name=run.name,
        chance=run.task.chance,
        updates=[count * (n + 1) for n in range(CHECKS)],
        curve=curve,
        steps=np.asarray(steps).tolist(),
        seconds=time.perf_counter() - began,
    )


def measure(
    config: Config, stop: threading.Event, console: Console
) -> list[report.Result]:
    """Return the results of all networks, or of those before Ctrl-C."""
    path, todo = config.output / f"state_tracking-{name_of(config)}.json", runs(config)
    saved = cli.load(path)
    if saved:
        console.print(f"Going on; remove {path} to start again.", soft_wrap=True)
    known = {(one["panel"], one["name"]): report.Result(**one) for one in saved}
    total = sum(run.updates for run in todo)
    with cli.Bar(console, total) as bar:
        for run in todo:
            at = run.panel, run.name
            bar.advance(0, ", ".join(at))
            if at in known:
                bar.advance(run.updates)
            elif not stop.is_set():
                known[at] = train(config, run, bar.advance)
                cli.store(path, [result._asdict() for result in known.values()])
    return [
        known[run.panel, run.name] for run in todo if (run.panel, run.name) in known
    ]


def name_of(config: Config) -> str:
    """Return a name for results, which depends on the flags that affect them."""
    fields = dataclasses.asdict(config)
    del fields["output"]
    return hashlib.sha256(repr(fields).encode()).hexdigest()[:8]


def execute(config: Config, console: Console, stop: threading.Event) -> list[Path]:
    """Train, print the tables, save the picture; return its path."""
    if config.quick:
        config = dataclasses.replace(config, **QUICK)
    results = measure(config, stop, console)
    if not results:
        raise cli.Failure("stopped before the first network was trained")
    report.table(console, results, config.tracked_length, config.tested_length)
    picture = config.output / "state_tracking.png"
    lengths = {"copying": config.copying_length, "recall": config.recall_length}
    report.picture(picture, results, config.tracked_length, lengths)
    return [picture]


def main() -> int:
    """Read the flags and run."""
    return cli.main(Config, execute)


if __name__ == "__main__":
    sys.exit(main())
