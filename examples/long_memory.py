# SPDX-License-Identifier: Apache-2.0
"""Measure how long networks remember: three tasks, five networks, growing length.

At each length a network is trained from the beginning, until it solves the task or
reaches the maximum number of steps. The first length that it does not solve ends its
row. The table also shows how many decades the gradient of each untrained network loses
over 100 steps.

    python examples/long_memory.py --help

Results are saved after each length. After any interruption, the same command resumes
after the last finished length and reaches the same result.

Exit status: 0; 1 if there is no result; 2 for a bad flag; 130 after Ctrl-C, which stops
after the current length and reports on the finished ones.
"""

import dataclasses
import functools
import hashlib
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import cli
import jax
import jax.numpy as jnp
import long_memory_report as report
import long_memory_tasks as tasks
import numpy as np
from rich.console import Console

import recurrent_jax as rj
from recurrent_jax import diagnostics, training
from recurrent_jax.initializers import Chrono, timescales

CHECK = 50  # steps between two checks of the loss


@dataclasses.dataclass(frozen=True)
class Config:
    """Measure over how many steps Elman, IRNN, LSTM and GRU learn to remember.

    Ctrl-C stops after the current length. The same command resumes.

    Attributes:
        tasks: names of the tasks.
        lengths: of the sequences, in growing order.
        steps: maximum of training steps at each length.
        batch_size: new sequences in each step.
        hidden_size: units of every network.
        learning_rate: of Adam.
        solved: fraction of the loss without memory at which a task counts as solved.
        seed: of all random numbers.
        output: directory for the picture and results.
    """

    tasks: tuple[str, ...] = tuple(tasks.TASKS)
    lengths: tuple[int, ...] = (20, 40, 80, 160, 320)
    steps: int = 2000
    batch_size: int = 32
    hidden_size: int = 32
    learning_rate: float = 5e-3
    solved: float = 0.1
    seed: int = 0
    output: Path = Path("results")

    def __post_init__(self) -> None:
        unknown = set(self.tasks) - set(tasks.TASKS)
        if unknown or not self.tasks:
            raise ValueError(f"tasks must be some of {', '.join(tasks.TASKS)}")
        if not self.lengths or list(self.lengths) != sorted(set(self.lengths)):
            raise ValueError("lengths must grow")
        if self.lengths[0] < tasks.SHORTEST:
            raise ValueError(f"lengths must be at least {tasks.SHORTEST}")
        if self.steps < CHECK or self.steps % CHECK:
            raise ValueError(f"steps must be a multiple of {CHECK}")
        if self.batch_size < 1 or self.hidden_size < 1:
            raise ValueError("batch_size and hidden_size must be at least 1")
        if not self.learning_rate > 0 or not 0 < self.solved < 1:
            raise ValueError(
                "learning_rate must be positive, and solved between 0 and 1"
            )


class Params(NamedTuple):
    """Parameters of one network."""

    cell: Any
    kernel: jax.Array  # (H, outputs)
    bias: jax.Array  # (outputs,)


def cells(config: Config, length: int) -> dict[str, rj.Cell]:
    """Return the networks by name; only the chrono initialisation uses the length."""
    H = config.hidden_size
    return {
        "Elman": rj.Elman(H),
        "IRNN": rj.IRNN(H),
        "LSTM": rj.LSTM(H),
        "LSTM, chrono": timescales(Chrono(length), rj.LSTM(H)),
        "GRU": rj.GRU(H),
    }


def plain(cell: rj.Cell) -> rj.Cell:
    """Return the cell with default initialisers: both LSTMs share a compilation."""
    return rj.LSTM(cell.hidden_size) if isinstance(cell, rj.LSTM) else cell


def init(cell: rj.Cell, task: tasks.Task, key: jax.Array) -> Params:
    """Return fresh parameters."""
    key, key_head = jax.random.split(key)
    shape = (cell.hidden_size, task.outputs)
    return Params(
        cell=cell.init(key, task.features),
        kernel=rj.initializers.glorot_uniform(key_head, shape, float),
        bias=jnp.zeros(task.outputs),
    )


@functools.partial(jax.jit, static_argnums=(0, 1, 2, 3))
def some_steps(
    config: Config, name: str, cell: rj.Cell, length: int, state: training.State
) -> tuple[training.State, jax.Array]:
    """Return the state after `CHECK` steps, and their losses."""
    task = tasks.TASKS[name]

    def loss(params: Params, carry: Any, batch: tasks.Batch, key: jax.Array) -> Any:
        _, ys = rj.unroll(cell, params.cell, batch.xs)
        guesses = rj.affine(ys[-task.last :], params.kernel, params.bias)
        return tasks.loss(task, guesses, batch.targets), carry

    def one(state: training.State, _: None) -> tuple[training.State, training.Metrics]:
        key = jax.random.fold_in(state.key, state.step)
        batch = task.draw(key, length, config.batch_size)
        return training.train_step(state, batch, loss=loss, optimizer=optimizer(config))

    state, metrics = jax.lax.scan(one, state, length=CHECK)
    return state, metrics.loss


def optimizer(config: Config) -> Any:
    """Return Adam with clipping, which skips updates that are not finite."""
    return training.adamw(config.learning_rate, max_norm=1.0, skip=1000)


def train(
    config: Config, name: str, network: str, length: int, advance: Callable[[int], None]
) -> list[float]:
    """Return the loss at each check, up to the check at which the task is solved."""
    task, cell = tasks.TASKS[name], cells(config, length)[network]
    key_init, key = jax.random.split(jax.random.key(config.seed))
    state = training.init_state(init(cell, task, key_init), optimizer(config), key=key)
    curve: list[float] = []
    while len(curve) < config.steps // CHECK:
        state, losses = some_steps(config, name, plain(cell), length, state)
        curve.append(float(losses.mean()))
        advance(CHECK)
        if curve[-1] <= config.solved:
            break
    return curve


def diagnose(config: Config) -> dict[str, np.ndarray]:
    """Return the gradient by lag of each untrained network, at the longest length."""
    length = config.lengths[-1]
    task = tasks.TASKS[config.tasks[0]]
    key, key_init = jax.random.split(jax.random.key(config.seed))
    xs = task.draw(key, length, config.batch_size).xs
    found: dict[str, np.ndarray] = {}
    for network, cell in cells(config, length).items():
        params = cell.init(key_init, task.features)
        curve = diagnostics.gradient_by_lag(cell, params, xs)
        found[network] = np.asarray(curve)
    return found


def climb(
    config: Config, stop: threading.Event, console: Console
) -> dict[tuple[str, str, int], list[float]]:
    """Return the losses of every task, network and length that was reached."""
    path = config.output / f"long_memory-{name_of(config)}.json"
    saved = cli.load(path)
    curves = {(name, network, length): c for name, network, length, c in saved}
    if curves:
        console.print(f"Going on; remove {path} to start again.", soft_wrap=True)
    names = list(cells(config, config.lengths[0]))
    total = len(config.tasks) * len(names) * len(config.lengths) * config.steps
    with cli.Bar(console, total) as bar:
        for rung, (name, network) in enumerate(
            (name, network) for name in config.tasks for network in names
        ):
            done = rung * len(config.lengths) * config.steps
            for n, length in enumerate(config.lengths):
                at = f"{name}, {network}, length {length}"
                bar.advance(done + n * config.steps - bar.done, at)
                if (name, network, length) not in curves:
                    if stop.is_set():
                        return curves
                    curve = train(config, name, network, length, bar.advance)
                    curves[name, network, length] = curve
                    rows = [[*key, curve] for key, curve in curves.items()]
                    cli.store(path, rows)
                if not curves[name, network, length][-1] <= config.solved:
                    break
        bar.advance(total - bar.done)
    return curves


def name_of(config: Config) -> str:
    """Return a name for results, which depends on the flags that affect them."""
    fields = dataclasses.asdict(config)
    for name in ("output", "tasks", "lengths"):  # other results do not depend on these
        del fields[name]
    return hashlib.sha256(repr(fields).encode()).hexdigest()[:8]


def run(config: Config, console: Console, stop: threading.Event) -> list[Path]:
    """Train, diagnose, print the table, save the picture; return its path."""
    console.print(
        f"Lengths {', '.join(map(str, config.lengths))}; at most {config.steps} "
        f"steps for each, {config.hidden_size} units",
        highlight=False,
    )
    curves = climb(config, stop, console)
    results = report.Results(
        curves, diagnose(config), config.lengths, config.tasks, config.solved
    )
    report.table(console, results, config.steps)
    picture = config.output / "long_memory.png"
    report.picture(picture, results)
    return [picture]


def main() -> int:
    """Read the flags and run."""
    return cli.main(Config, run)


if __name__ == "__main__":
    sys.exit(main())
