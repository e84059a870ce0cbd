# SPDX-License-Identifier: Apache-2.0
"""Model the help text that ships with Python, one character at a time.

A recurrent network reads the text and predicts the next character. It is trained by
truncated back-propagation: the state passes from chunk to chunk, but the gradient does
not. The result is measured in bits per character on unseen text, and compared with
Markov models and compressors on the same text.

    python examples/text.py --help

Training is saved after every epoch. After any interruption, the same command resumes
from the last epoch and reaches the same result.

The streams of the text are shared out over all devices. `--processes 4` trains in four
processes of this machine, and `--processes cluster` in those that a cluster started.

Exit status: 0; 1 if there is no result; 2 for a bad flag; 130 after Ctrl-C, which stops
training and reports on the best parameters so far.
"""

import dataclasses
import functools
import hashlib
import math
import sys
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple

import cli
import jax
import jax.numpy as jnp
import numpy as np
import optax
import several
import text_baselines as baselines
import text_data as data
import text_report as report
from rich.console import Console

import recurrent_jax as rj
from recurrent_jax import training

CELLS = {"gru": rj.GRU, "lstm": rj.LSTM, "elman": rj.Elman}
WARM_UP = 1000  # characters read before a held-out text to set the state
PROMPT = "\n\nThe "


@dataclasses.dataclass(frozen=True)
class Config:
    """Model the text that ships with Python, character by character.

    Ctrl-C stops training and reports on the best parameters so far. The same command
    resumes.

    Attributes:
        cell: the recurrent cell.
        layers: number of recurrent layers.
        hidden_size: units of each layer.
        embedding: size of the embedding of a character.
        dropout: rate of dropout between layers and on the last outputs.
        streams: parts of the text that are read in parallel.
        length: characters in a chunk, over which gradients propagate.
        epochs: passes over the text.
        learning_rate: the maximum of the schedule.
        weight_decay: of the kernels.
        seed: of all random numbers.
        samples: epochs between samples; 0 for no samples.
        processes: that train together on this machine, or `cluster` if this is one of
            those that SLURM, Kubernetes, Open MPI or a TPU pod has started.
        output: directory for the picture and checkpoints.
    """

    cell: Literal["gru", "lstm", "elman"] = "gru"
    layers: int = 1
    hidden_size: int = 384
    embedding: int = 64
    dropout: float = 0.5
    streams: int = 32
    length: int = 64
    epochs: int = 14
    learning_rate: float = 5e-3
    weight_decay: float = 0.3
    seed: int = 0
    samples: int = 4
    processes: several.Processes = 1
    output: Path = Path("results")

    def __post_init__(self) -> None:
        for name in ("layers", "hidden_size", "embedding", "streams", "length"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1")
        if self.epochs < 1 or self.samples < 0:
            raise ValueError("epochs must be at least 1, and samples not negative")
        if self.processes != "cluster" and self.processes < 1:
            raise ValueError("processes must be at least 1, or cluster")
        if not 0 <= self.dropout < 1:
            raise ValueError("dropout must be in [0, 1)")
        if not self.learning_rate > 0 or not self.weight_decay >= 0:
            raise ValueError(
                "learning_rate must be positive, weight_decay not negative"
            )

    def network(self) -> rj.Deep:
        """Return the layers."""
        layer = CELLS[self.cell](self.hidden_size)
        return rj.Deep((layer,) * self.layers, dropout=self.dropout)


class Params(NamedTuple):
    """Parameters of the whole model."""

    table: jax.Array  # (characters, E)
    network: Any
    kernel: jax.Array  # (H, characters)
    bias: jax.Array  # (characters,)


class Run(NamedTuple):
    """Everything that changes in training, and is saved after every epoch."""

    state: training.State
    best: Params
    curve: jax.Array  # (epochs, 2), bits per character in training and validation


def init(config: Config, size: int, key: jax.Array) -> Params:
    """Return fresh parameters for an alphabet of `size` characters."""
    keys = jax.random.split(key, 3)
    draw = rj.initializers.glorot_uniform
    return Params(
        table=0.1 * jax.random.normal(keys[0], (size, config.embedding)),
        network=config.network().init(keys[1], config.embedding),
        kernel=draw(keys[2], (config.hidden_size, size), float),
        bias=jnp.zeros(size),
    )


def logits(
    config: Config,
    params: Params,
    carry: Any,
    codes: jax.Array,
    key: Any = None,
    backward: Any = None,
) -> tuple[Any, jax.Array]:
    """Return the carry and the logits of each next character; a key means dropout."""
    xs = params.table[codes]
    carry, ys = rj.unroll(
        config.network(), params.network, xs, carry=carry, key=key, backward=backward
    )
    if key is not None:
        kept = jax.random.bernoulli(
            jax.random.fold_in(key, 1), 1 - config.dropout, ys.shape
        )
        ys = jnp.where(kept, ys / (1 - config.dropout), jnp.zeros_like(ys))
    return carry, rj.affine(ys, params.kernel, params.bias)


def loss(
    config: Config, params: Params, carry: Any, chunk: training.Chunk, key: Any
) -> tuple[jax.Array, Any]:
    """Return the cross-entropy of a chunk in nats, and the carry after it."""
    backward = several.one_exchange(config.length)
    carry, guesses = logits(config, params, carry, chunk.inputs, key, backward)
    return training.cross_entropy(guesses, chunk.targets), carry


def make_steps(
    config: Config, optimizer: optax.GradientTransformationExtraArgs, places: Any
) -> Callable[..., tuple[training.State, jax.Array]]:
    """Return a compiled function that runs steps and sums their losses in bits."""

    @functools.partial(
        jax.jit, static_argnames="steps", out_shardings=(places.state, places.curve)
    )
    def some(
        state: training.State, text: jax.Array, steps: int
    ) -> tuple[training.State, jax.Array]:
        step = functools.partial(
            training.train_chunk,
            streams=text,
            length=config.length,
            fresh=config.network().initial_carry((config.streams,)),
            loss=functools.partial(loss, config),
            optimizer=optimizer,
        )
        state, metrics = jax.lax.scan(
            lambda state, _: step(state), state, None, length=steps
        )
        return state, metrics.loss.sum() / jnp.log(2.0)

    return some


@functools.partial(jax.jit, static_argnames="config")
def bits(config: Config, params: Params, codes: jax.Array) -> jax.Array:
    """Return the bits of each character after the first of each stream, `(T, N)`."""
    carry = config.network().initial_carry(codes.shape[1:])
    _, guesses = logits(config, params, carry, codes[:-1])
    chosen = jnp.take_along_axis(jax.nn.log_softmax(guesses), codes[1:, ..., None], -1)
    return -chosen[..., 0] / jnp.log(2.0)


@functools.partial(jax.jit, static_argnames=("config", "count"))
def write(
    config: Config,
    params: Params,
    prompt: jax.Array,
    key: jax.Array,
    count: int = 300,
    temperature: float = 0.7,
) -> jax.Array:
    """Return characters after the prompt; each is drawn and fed back."""
    start = config.network().initial_carry((1,))
    carry, guesses = logits(config, params, start, prompt[:, None])

    def one(now: Any, key: jax.Array) -> Any:
        carry, guess = now
        code = jax.random.categorical(key, guess / temperature)
        carry, guesses = logits(config, params, carry, code[None])
        return (carry, guesses[-1]), code[0]

    _, codes = jax.lax.scan(one, (carry, guesses[-1]), jax.random.split(key, count))
    return codes


def load(text: np.ndarray, count: int, devices: jax.sharding.Mesh) -> jax.Array:
    """Return a text as `count` streams, `(time, count)`, shared out over all devices.

    Each process copies the streams of its own devices to them.
    """
    if count % devices.size:
        raise cli.Failure(
            f"{count} streams cannot be shared out over {devices.size} devices; try "
            f"--streams {math.ceil(count / devices.size) * devices.size}"
        )
    mine = training.process_indices(count, devices)
    streams = np.asarray(training.cut_streams(text, count))[:, mine]
    return jax.make_array_from_process_local_data(several.cut(devices, 1), streams)


def start(config: Config, size: int, optimizer: Any) -> Run:
    """Return the run before its first step."""
    key_init, key = jax.random.split(jax.random.key(config.seed))
    params = init(config, size, key_init)
    carry = config.network().initial_carry((config.streams,))
    state = training.init_state(params, optimizer, key=key, carry=carry)
    return Run(state, params, jnp.full((config.epochs, 2), jnp.nan))


def shardings(run: Run, devices: jax.sharding.Mesh) -> Run:
    """Return where each array is: the carry with its streams, the rest everywhere."""
    everywhere = jax.tree.map(lambda _: several.copies(devices), run)
    carry = jax.tree.map(lambda _: several.cut(devices, 0), run.state.carry)
    return everywhere._replace(state=everywhere.state._replace(carry=carry))


def train(
    config: Config, corpus: data.Corpus, stop: threading.Event, console: Console
) -> Run:
    """Return the run after its last epoch, or after the last one before a stop."""
    devices = several.mesh()
    text = load(corpus.encode(corpus.parts[0]), config.streams, devices)
    count = math.lcm(8, devices.size)  # eight streams, or as many as devices need
    validation = load(corpus.encode(corpus.parts[1]), count, devices)
    steps = training.count_chunks(text, config.length)
    rate = optax.cosine_onecycle_schedule(
        steps * config.epochs, config.learning_rate, 0.1, 10.0, 1000.0
    )
    optimizer = training.adamw(rate, weight_decay=config.weight_decay, skip=3)
    begin = functools.partial(start, config, corpus.size, optimizer)
    places = shardings(jax.eval_shape(begin), devices)
    run = jax.jit(begin, out_shardings=places)()
    some = make_steps(config, optimizer, places)
    directory = config.output / f"text-{name_of(config, corpus)}"
    run, done = resume(directory, run, steps, console)
    with cli.Bar(console, config.epochs, "epoch", done) as bar:
        for epoch in range(done, config.epochs):
            state, total = run.state, 0.0
            for part in np.diff(np.linspace(0, steps, 11).astype(int)).tolist():
                state, value = some(state, text, part)
                total += float(value)
                bar.advance(0.1)
                if several.agreed(stop):  # a resumed run repeats this epoch
                    return ended(run)
            run = after_epoch(config, run, state, total / steps, validation, epoch)
            training.save(directory, run)
            seen, held = run.curve[epoch].tolist()
            bar.advance(0, f"{seen:.3f} bits, validation {held:.3f}")
            if config.samples and (epoch + 1) % config.samples == 0:
                sample(config, run, corpus, epoch, console)
    return run


def ended(run: Run) -> Run:
    """Return the run that was stopped, if it has a result."""
    if int(run.state.step) == 0:
        raise KeyboardInterrupt
    return run


def after_epoch(
    config: Config,
    run: Run,
    state: training.State,
    seen: float,
    validation: jax.Array,
    epoch: int,
) -> Run:
    """Return the run after an epoch, with its curve and its best parameters."""
    if not np.isfinite(seen):
        raise cli.Failure(
            f"the loss is {seen} in epoch {epoch + 1}; try a --learning-rate below "
            f"{config.learning_rate:g}"
        )
    held = bits(config, state.params, validation).mean()
    better = not bool((run.curve[:, 1] <= held).any())
    curve = run.curve.at[epoch].set(jnp.stack([jnp.asarray(seen, float), held]))
    return Run(state, state.params if better else run.best, curve)


def name_of(config: Config, corpus: data.Corpus) -> str:
    """Return a name for checkpoints, which depends on flags and text."""
    fields = dataclasses.asdict(config)
    for name in ("output", "samples", "processes"):
        del fields[name]
    text = repr((fields, corpus.parts))
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def resume(directory: Path, run: Run, steps: int, console: Console) -> tuple[Run, int]:
    """Return the last saved run, if there is one, and its number of epochs."""
    with warnings.catch_warnings(record=True) as passed_over:
        warnings.simplefilter("always", RuntimeWarning)
        saved = training.restore(directory, run)
    for warning in passed_over:
        console.print(f"Warning: {warning.message}", style="bold red")
    if saved is None:
        return run, 0
    epochs = int(saved.state.step) // steps
    console.print(
        f"Going on after epoch {epochs}; remove {directory} to start again.",
        soft_wrap=True,
    )
    return saved, epochs


def sample(
    config: Config, run: Run, corpus: data.Corpus, epoch: int, console: Console
) -> None:
    """Print a sample of the network."""
    if not several.is_first():
        return
    params = several.own_copy(run.state.params)
    key = jax.random.fold_in(jax.random.key(config.seed), epoch)
    codes = write(config, params, jnp.asarray(corpus.encode(PROMPT)), key)
    text = (PROMPT + corpus.decode(np.asarray(codes))).strip()
    console.rule(f"written after epoch {epoch + 1}", align="left")
    console.print(text, markup=False, highlight=False)


def measure(config: Config, params: Params, corpus: data.Corpus) -> np.ndarray:
    """Return the bits of each character of the test, which is read as one text."""
    _, validation, test = corpus.parts
    codes = corpus.encode(validation[-WARM_UP:] + test)
    each = np.asarray(bits(config, params, jnp.asarray(codes[:, None])))[
        -len(test) :, 0
    ]
    return each + data.ESCAPE * (codes[-len(test) :] == corpus.size - 1)


def run(config: Config, console: Console, stop: threading.Event) -> list[Path]:
    """Train, measure, print the table, save the picture; return its path."""
    corpus = data.corpus()
    sizes = " / ".join(f"{len(part):,}" for part in corpus.parts)
    console.print(
        f"Training {config.network()} on {sizes} characters "
        "(training / validation / test)",
        highlight=False,
    )
    finished = train(config, corpus, stop, console)
    if not several.is_first():
        return []
    finished = several.own_copy(finished._replace(state=None))
    results = report.Results(
        name=f"{config.layers} x {config.cell.upper()} of {config.hidden_size}",
        each=measure(config, finished.best, corpus),
        text=corpus.parts[2],
        curve=np.asarray(finished.curve),
        markov=baselines.markov_bits(corpus),
        compressed=baselines.compressed_bits(corpus),
    )
    report.table(console, results)
    count = sum(leaf.size for leaf in jax.tree.leaves(finished.best))
    console.print(f"{count:,} parameters, best epoch {results.best_epoch}.")
    picture = config.output / "text.png"
    report.picture(picture, results)
    return [picture]


def main() -> int:
    """Read the flags and run."""
    return cli.main(Config, run)


if __name__ == "__main__":
    sys.exit(main())
