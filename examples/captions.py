# SPDX-License-Identifier: Apache-2.0
"""Caption pictures of digits in words: "three seven one".

A picture shows one to five handwritten digits in a row, at random gaps and heights. A
convolutional network in Flax encodes it. A recurrent decoder with attention writes the
caption word by word, until it writes the end token. Every training picture is new, and
no digit of the training set is in a test picture.

    python examples/captions.py --help

Training is saved ten times. After any interruption, the same command resumes from the
last save and reaches the same result.

Exit status: 0; 1 if there is no result; 2 for a bad flag; 130 after Ctrl-C, which stops
training and reports on the best parameters so far.
"""

import dataclasses
import functools
import hashlib
import sys
import threading
import warnings
from pathlib import Path
from typing import Any, Literal, NamedTuple

import captions_data as data
import captions_report as report
import cli
import jax
import jax.numpy as jnp
import numpy as np
import optax
from captions_model import Captioner, Params
from rich.console import Console

import recurrent_jax as rj
from recurrent_jax import training

CELLS = {"gru": rj.GRU, "lstm": rj.LSTM, "elman": rj.Elman}
SAVES = 10


@dataclasses.dataclass(frozen=True)
class Config:
    """Caption pictures of digits in words.

    Ctrl-C stops training and reports on the best parameters so far. The same command
    resumes.

    Attributes:
        cell: the recurrent cell of the decoder.
        hidden_size: units of that cell.
        features: of each position of the encoded picture.
        dropout: rate of dropout on these features.
        steps: of training.
        batch_size: new pictures in each step.
        learning_rate: the maximum of the schedule.
        weight_decay: of Adam.
        beams: of the beam search on the test.
        tests: pictures in the test.
        seed: of all random numbers.
        output: directory for the picture and checkpoints.
    """

    cell: Literal["gru", "lstm", "elman"] = "gru"
    hidden_size: int = 64
    features: int = 64
    dropout: float = 0.3
    steps: int = 3000
    batch_size: int = 64
    learning_rate: float = 3e-3
    weight_decay: float = 1e-3
    beams: int = 4
    tests: int = 2000
    seed: int = 0
    output: Path = Path("results")

    def __post_init__(self) -> None:
        for name in ("hidden_size", "features", "batch_size", "beams"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1")
        if self.steps < SAVES:
            raise ValueError(f"steps must be at least {SAVES}")
        if self.tests < report.SHOWN:
            raise ValueError(f"tests must be at least {report.SHOWN}")
        if not 0 <= self.dropout < 1:
            raise ValueError("dropout must be in [0, 1)")
        if not self.learning_rate > 0 or not self.weight_decay >= 0:
            raise ValueError(
                "learning_rate must be positive, weight_decay not negative"
            )

    def model(self) -> Captioner:
        """Return the network."""
        cell = CELLS[self.cell](self.hidden_size)
        return Captioner(cell, features=self.features, dropout=self.dropout)


class Run(NamedTuple):
    """Everything that changes in training, and is saved."""

    state: training.State
    best: Params
    curve: jax.Array  # (SAVES, 2), training loss and validation accuracy


@functools.partial(jax.jit, static_argnames=("config", "beams"))
def write(
    config: Config, params: Params, pictures: jax.Array, beams: int = 1
) -> jax.Array:
    """Return captions as tokens."""
    return config.model().caption(params, pictures, beams)


def exact(written: jax.Array, truth: data.Captioned) -> np.ndarray:
    """Return which captions are entirely right."""
    return np.asarray((written == truth.tokens).all(0))


def start(config: Config, optimizer: optax.GradientTransformation) -> Run:
    """Return the run before its first step."""
    key_init, key = jax.random.split(jax.random.key(config.seed))
    params = jax.jit(config.model().init)(key_init)
    state = training.init_state(params, optimizer, key=key)
    return Run(state, params, jnp.full((SAVES, 2), jnp.nan))


def make_step(config: Config, digits: data.Digits, optimizer: Any) -> Any:
    """Return a compiled step that draws its own pictures."""
    loss = config.model().loss

    # No scan over steps, because XLA on CPU is slow at convolutions inside a loop.
    @jax.jit
    def step(state: training.State) -> tuple[training.State, jax.Array]:
        key = jax.random.fold_in(jax.random.fold_in(state.key, 1), state.step)
        batch = data.compose(key, digits, config.batch_size)
        state, metrics = training.train_step(
            state, batch, loss=loss, optimizer=optimizer
        )
        return state, metrics.loss

    return step


def train(
    config: Config,
    digits: dict[str, data.Digits],
    stop: threading.Event,
    console: Console,
) -> Run:
    """Return the run after its last step, or after the last save if it was stopped."""
    rate = optax.cosine_onecycle_schedule(
        config.steps, config.learning_rate, 0.1, 10.0, 1000.0
    )
    optimizer = training.adamw(rate, weight_decay=config.weight_decay)
    run = start(config, optimizer)
    step = make_step(config, digits["training"], optimizer)
    held = data.compose(jax.random.key(1), digits["validation"], 500)
    directory = config.output / f"captions-{name_of(config)}"
    run, done = resume(directory, run, console)
    ends = np.linspace(0, config.steps, SAVES + 1).astype(int).tolist()
    with cli.Bar(console, config.steps, "step", ends[done]) as bar:
        for number in range(done, SAVES):
            state, losses = run.state, []
            for _ in range(ends[number], ends[number + 1]):
                state, value = step(state)
                losses.append(value)
                bar.advance()
                if stop.is_set():  # steps since the save run again
                    return ended(run)
            run = after(config, run, state, losses, held, number)
            training.save(directory, run)
            loss, right = run.curve[number].tolist()
            bar.advance(0, f"loss {loss:.3f}, validation {right:.1%}")
    return run


def ended(run: Run) -> Run:
    """Return the run that was stopped, if it has a result."""
    if int(run.state.step) == 0:
        raise KeyboardInterrupt
    return run


def after(
    config: Config,
    run: Run,
    state: training.State,
    losses: list[jax.Array],
    held: data.Captioned,
    number: int,
) -> Run:
    """Return the run with one more point of its curve and its best parameters."""
    loss = float(jnp.stack(losses).mean())
    if not np.isfinite(loss):
        raise cli.Failure(
            f"the loss is {loss} after {int(state.step)} steps; try a --learning-rate "
            f"below {config.learning_rate:g}"
        )
    right = exact(write(config, state.params, held.pictures), held).mean()
    better = not bool((run.curve[:, 1] >= right).any())
    curve = run.curve.at[number].set(jnp.array([loss, right]))
    return Run(state, state.params if better else run.best, curve)


def name_of(config: Config) -> str:
    """Return a name for checkpoints; it depends on the flags that affect training."""
    fields = dataclasses.asdict(config)
    for name in ("output", "beams", "tests"):
        del fields[name]
    return hashlib.sha256(repr(fields).encode()).hexdigest()[:8]


def resume(directory: Path, run: Run, console: Console) -> tuple[Run, int]:
    """Return the last saved run, if there is one, and the number of its saves."""
    with warnings.catch_warnings(record=True) as passed_over:
        warnings.simplefilter("always", RuntimeWarning)
        saved = training.restore(directory, run)
    for warning in passed_over:
        console.print(f"Warning: {warning.message}", style="bold red")
    if saved is None:
        return run, 0
    console.print(
        f"Going on after step {int(saved.state.step)}; remove {directory} to start "
        "again.",
        soft_wrap=True,
    )
    return saved, int(np.isfinite(saved.curve[:, 1]).sum())


def run(config: Config, console: Console, stop: threading.Event) -> list[Path]:
    """Train, caption, print the table, save the picture; return its path."""
    digits = data.parts()
    test = data.compose(jax.random.key(2), digits["test"], config.tests)
    sizes = ", ".join(f"{len(d.labels)} for {name}" for name, d in digits.items())
    console.print(f"{config.model().decoder}; digits: {sizes}", highlight=False)
    finished = train(config, digits, stop, console)
    params = finished.best
    written = write(config, params, test.pictures, beams=config.beams)
    greedy = write(config, params, test.pictures)
    shown = report.chosen(exact(written, test))
    results = report.Results(
        name=config.cell.upper(),
        test=test,
        written=np.asarray(written),
        right={
            f"{config.cell.upper()}, {config.beams} beams": exact(written, test),
            f"{config.cell.upper()}, greedy": exact(greedy, test),
            **data.baselines(digits, test),
        },
        shown=shown,
        attention=np.asarray(
            config.model().attention(params, test.pictures[shown], written[:, shown])
        ),
        curve=np.asarray(finished.curve),
        steps=config.steps,
    )
    report.table(console, results)
    count = sum(leaf.size for leaf in jax.tree.leaves(params))
    console.print(f"{count:,} parameters.")
    picture = config.output / "captions.png"
    report.picture(picture, results)
    return [picture]


def main() -> int:
    """Read the flags and run."""
    return cli.main(Config, run)


if __name__ == "__main__":
    sys.exit(main())
