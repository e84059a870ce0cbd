# SPDX-License-Identifier: Apache-2.0
"""Train agents with memory by PPO, and measure what a wrong reset costs.

An agent sees a signal, walks a corridor, and has to choose the door that the signal
named. Without memory it can only guess. Agents act with `cell.step` and learn with
`unroll` over the stored steps. One more agent makes no resets at all, and another
passes the dones as resets when it learns, which is one step off.

    python examples/memory_agent.py --help

Exit status: 0; 1 if there is no result; 2 for a bad flag; 130 after Ctrl-C, which stops
training and reports on the agents up to there.
"""

import dataclasses
import functools
import json
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import cli
import jax
import jax.numpy as jnp
import memory_agent_maze as world
import memory_agent_report as report
import numpy as np
from jax import lax
from jax.typing import DTypeLike
from rich.console import Console

import recurrent_jax as rj
from recurrent_jax import reinforcement, training

CALL = 10  # updates in one call


class MemorylessParams(NamedTuple):
    """Parameters of `Memoryless`."""

    kernel: jax.Array  # (in, H)
    bias: jax.Array  # (H,)


@dataclasses.dataclass(frozen=True)
class Memoryless(rj.Cell[MemorylessParams, tuple[()]]):
    """A cell that remembers nothing: one layer, for comparison."""

    hidden_size: int

    Params = MemorylessParams
    Carry = tuple
    output = None

    def init(
        self, key: jax.Array, in_features: int, dtype: DTypeLike = float
    ) -> MemorylessParams:
        """Return fresh parameters."""
        shape = (in_features, self.hidden_size)
        kernel = rj.initializers.glorot_uniform(key, shape, dtype)
        return MemorylessParams(kernel, jnp.zeros(self.hidden_size, dtype))

    def initial_carry(
        self,
        batch_shape: tuple[int, ...] = (),
        dtype: DTypeLike = float,
        params: Any = None,
    ) -> tuple[()]:
        """Return no state."""
        return ()

    def project(self, params: MemorylessParams, x: jax.Array) -> jax.Array:
        """Return the layer before its activation."""
        return rj.affine(x, params.kernel, params.bias)

    def recur(
        self, params: MemorylessParams, carry: tuple[()], z: jax.Array
    ) -> tuple[tuple[()], jax.Array]:
        """Return the output."""
        return carry, jnp.tanh(z)


CELLS: dict[str, Callable[[int], rj.Cell]] = {
    "lstm": rj.LSTM,
    "gru": rj.GRU,
    "min_gru": rj.MinGRU,
    # States that turn slowly and forget slowly.
    "lru": lambda size: rj.LRU(size, min_radius=0.8, max_phase=0.3),
    "none": Memoryless,
}
# What an agent does at the end of an episode, by name.
RESETS = {
    "right": "resets of the step after a done",
    "none": "no resets, neither in acting nor in learning",
    "dones": "dones passed as resets in learning, one step off",
}


@dataclasses.dataclass(frozen=True)
class Config:
    """Train agents with memory by PPO, and measure what a wrong reset costs.

    Ctrl-C stops training and reports on the agents up to there.

    Attributes:
        cells: memories to compare, of lstm, gru, min_gru, lru, none.
        resets: handling of resets for the first cell, of right, none, dones.
        longest: steps from the signal to the choice, at most.
        cut: probability at each step that an episode is cut off.
        updates: rollouts, each followed by learning; a multiple of 10.
        steps: of a rollout.
        agents: acting side by side.
        epochs: gradient steps on each rollout.
        hidden_size: units of every cell.
        learning_rate: of Adam.
        discount: of later rewards.
        trace: lambda of generalised advantage estimation.
        clip: of the probability ratio.
        entropy: weight of the entropy bonus.
        seeds: networks of each kind, trained side by side.
        seed: of all random numbers.
        quick: a much shorter run, with the first and the last of the cells. It shows
            only that all works.
        output: directory for the picture and the results.
    """

    cells: tuple[str, ...] = tuple(CELLS)
    resets: tuple[str, ...] = tuple(RESETS)
    longest: int = 12
    cut: float = 0.08
    updates: int = 200
    steps: int = 32
    agents: int = 32
    epochs: int = 4
    hidden_size: int = 32
    learning_rate: float = 4e-3
    discount: float = 0.9
    trace: float = 0.9
    clip: float = 0.2
    entropy: float = 0.01
    seeds: int = 5
    seed: int = 0
    quick: bool = False
    output: Path = Path("results")

    def __post_init__(self) -> None:
        for name, options in {"cells": CELLS, "resets": RESETS}.items():
            chosen = getattr(self, name)
            if not chosen or set(chosen) - set(options):
                raise ValueError(f"{name} must be some of {', '.join(options)}")
        for name in ("steps", "agents", "epochs", "hidden_size", "seeds"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1")
        if self.updates < CALL or self.updates % CALL:
            raise ValueError(f"updates must be a multiple of {CALL}")
        if self.longest < world.SHORTEST:
            raise ValueError(f"longest must be at least {world.SHORTEST}")
        if not (0 <= self.cut < 1 and 0 <= self.discount < 1 and 0 <= self.trace <= 1):
            raise ValueError("cut, discount and trace must be probabilities")
        if not (self.learning_rate > 0 and self.clip > 0 and self.entropy >= 0):
            raise ValueError("learning_rate, clip and entropy must be positive")

    @property
    def maze(self) -> world.Maze:
        """The rules."""
        return world.Maze(self.longest, self.cut)

    def runs(self) -> list[tuple[str, str]]:
        """Return cell and resets of each kind of agent."""
        right = [(name, "right") for name in self.cells]
        return right + [(self.cells[0], how) for how in self.resets if how != "right"]


class Params(NamedTuple):
    """Parameters of an agent."""

    cell: Any
    kernel: jax.Array  # (H, H)
    bias: jax.Array  # (H,)
    head: jax.Array  # (H, doors + 1): logits and a value
    head_bias: jax.Array  # (doors + 1,)


class Acting(NamedTuple):
    """What passes from one step of a rollout to the next."""

    place: world.Place
    carry: Any
    done: jax.Array  # (N,), of the step before


class Steps(NamedTuple):
    """The stored steps of a rollout, each `(T, N, ...)`."""

    seen: jax.Array
    action: jax.Array
    logp: jax.Array  # of the action
    value: jax.Array
    later: jax.Array  # the value after the step, zero after a termination
    outcome: world.Outcome
    ys: jax.Array  # the outputs of the cell

    @property
    def done(self) -> jax.Array:
        """Whether the episode ended, in either way."""
        return self.outcome.terminated | self.outcome.truncated


def init(cell: rj.Cell, size: int, key: jax.Array) -> Params:
    """Return fresh parameters."""
    key_cell, key_kernel, key_head = jax.random.split(key, 3)
    draw = rj.initializers.glorot_uniform
    return Params(
        cell=cell.init(key_cell, world.FEATURES),
        kernel=draw(key_kernel, (size, size), float),
        bias=jnp.zeros(size),
        head=0.1 * draw(key_head, (size, world.DOORS + 1), float),
        head_bias=jnp.zeros(world.DOORS + 1),
    )


def judge(params: Params, ys: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return the log-probabilities of the doors, and the value."""
    hidden = jnp.tanh(rj.affine(ys, params.kernel, params.bias))
    out = rj.affine(hidden, params.head, params.head_bias)
    return jax.nn.log_softmax(out[..., :-1]), out[..., -1]


def chosen(logits: jax.Array, action: jax.Array) -> jax.Array:
    """Return the entry of each action."""
    return jnp.take_along_axis(logits, action[..., None], -1)[..., 0]


def begin(config: Config, cell: rj.Cell, key: jax.Array) -> Acting:
    """Return agents at the start of their first episodes."""
    N = config.agents
    place = world.start(config.maze, key, N)
    return Acting(place, cell.initial_carry((N,)), jnp.zeros(N, bool))


def select(flags: jax.Array, yes: Any, no: Any) -> Any:
    """Return `yes` where `flags` is True, else `no`."""

    def one(a: jax.Array, b: jax.Array) -> jax.Array:
        return jnp.where(flags.reshape(-1, *(1,) * (a.ndim - 1)), a, b)

    return jax.tree.map(one, yes, no)


def roll_out(
    config: Config, cell: rj.Cell, how: str, params: Params, acting: Acting, key: Any
) -> tuple[Acting, Steps]:
    """Return the agents after a rollout, and its steps."""
    fresh = cell.initial_carry((config.agents,))

    def one(now: Acting, key: jax.Array) -> tuple[Acting, Steps]:
        key_action, key_step, key_start = jax.random.split(key, 3)
        place, carry, done = now
        if how != "none":
            carry = select(done, fresh, carry)
        seen = world.observe(place)
        carry, y = cell.step(params.cell, carry, seen)
        logits, value = judge(params, y)
        action = jax.random.categorical(key_action, logits)
        moved, outcome = world.step(config.maze, key_step, place, action)
        # Where an episode is cut off, its value goes on; so it is read before a new
        # episode begins.
        _, y_later = cell.step(params.cell, carry, world.observe(moved))
        _, later = judge(params, y_later)
        later = jnp.where(outcome.terminated, jnp.zeros_like(later), later)
        logp = chosen(logits, action)
        kept = Steps(seen, action, logp, value, later, outcome, y)
        new = world.start(config.maze, key_start, config.agents)
        return Acting(select(kept.done, new, moved), carry, kept.done), kept

    return lax.scan(one, acting, jax.random.split(key, config.steps))


def resets_of(how: str, done: jax.Array, initial: jax.Array) -> jax.Array | None:
    """Return the resets that learning uses; only those of "right" are right."""
    if how == "right":
        return reinforcement.resets_from_dones(done, initial)
    return done if how == "dones" else None


def advantages(config: Config, steps: Steps) -> jax.Array:
    """Return the advantage of each action, by generalised advantage estimation."""
    error = steps.outcome.reward + config.discount * steps.later - steps.value

    def one(after: jax.Array, now: Any) -> tuple[jax.Array, jax.Array]:
        error, done = now
        after = jnp.where(done, jnp.zeros_like(after), after)
        advantage = error + config.discount * config.trace * after
        return advantage, advantage

    start = jnp.zeros_like(error[0])
    return lax.scan(one, start, (error, steps.done), reverse=True)[1]


def loss(
    config: Config, cell: rj.Cell, params: Params, carry: Any, resets: Any, batch: Any
) -> jax.Array:
    """Return the loss of PPO. All steps are replayed at once."""
    steps, advantage = batch
    _, ys = rj.unroll(cell, params.cell, steps.seen, carry=carry, resets=resets)
    logits, value = judge(params, ys)
    ratio = jnp.exp(chosen(logits, steps.action) - steps.logp)
    scaled = (advantage - advantage.mean()) / (advantage.std() + 1e-6)
    clipped = jnp.clip(ratio, 1 - config.clip, 1 + config.clip)
    gain = jnp.minimum(ratio * scaled, clipped * scaled).mean()
    missed = ((value - steps.value - advantage) ** 2).mean()
    entropy = -(jnp.exp(logits) * logits).sum(-1).mean()
    return 0.5 * missed - gain - config.entropy * entropy


def optimizer(config: Config) -> Any:
    """Return Adam with clipping."""
    return training.adamw(config.learning_rate, max_norm=0.5)


class Learner(NamedTuple):
    """All that changes in training."""

    state: training.State
    acting: Acting


def new_learner(config: Config, cell: rj.Cell, key: jax.Array) -> Learner:
    """Return a learner before its first update."""
    key_init, key_begin, key = jax.random.split(key, 3)
    params = init(cell, config.hidden_size, key_init)
    state = training.init_state(params, optimizer(config), key=key)
    return Learner(state, begin(config, cell, key_begin))


def update(
    config: Config, cell: rj.Cell, how: str, learner: Learner
) -> tuple[Learner, jax.Array]:
    """Return the learner after a rollout and its gradient steps, and its successes."""
    state, acting = learner
    key = jax.random.fold_in(state.key, state.step)
    after, steps = roll_out(config, cell, how, state.params, acting, key)
    resets = resets_of(how, steps.done, acting.done)
    batch = steps, advantages(config, steps)

    def objective(params: Params, carry: Any, batch: Any, key: jax.Array) -> Any:
        return loss(config, cell, params, acting.carry, resets, batch), carry

    def one(state: training.State, _: None) -> tuple[training.State, None]:
        tx = optimizer(config)
        return training.train_step(state, batch, loss=objective, optimizer=tx)[0], None

    state, _ = lax.scan(one, state, length=config.epochs)
    wins = steps.outcome.reward.sum()
    choices = steps.outcome.terminated.sum().astype("float32")
    return Learner(state, after), jnp.stack([wins, choices])


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def some_updates(
    config: Config, cell: rj.Cell, how: str, learners: Learner
) -> tuple[Learner, jax.Array]:
    """Return all seeds after `CALL` updates, with wins and choices of each."""
    one = functools.partial(update, config, cell, how)
    many = jax.vmap(
        lambda learner: lax.scan(lambda now, _: one(now), learner, length=CALL)
    )
    return many(learners)


def check(config: Config, cell: rj.Cell, how: str) -> str | None:
    """Return how the replay of a first rollout differs from it, or None."""
    key = jax.random.key(config.seed)
    params = init(cell, config.hidden_size, key)
    go = jax.jit(functools.partial(roll_out, config, cell, how))
    # The second rollout, which starts within episodes.
    acting, _ = go(params, begin(config, cell, key), key)
    _, steps = go(params, acting, jax.random.fold_in(key, 1))
    try:
        reinforcement.check_replay(
            cell,
            params.cell,
            steps.seen,
            steps.ys,
            carry=acting.carry,
            resets=resets_of(how, steps.done, acting.done),
        )
    except AssertionError as difference:
        return str(difference)
    return None


def train(
    config: Config,
    run: tuple[str, str],
    stop: threading.Event,
    advance: Callable[[int], None],
) -> np.ndarray:
    """Return wins and choices in each rollout, `(seeds, updates, 2)`."""
    cell, how = CELLS[run[0]](config.hidden_size), run[1]
    keys = jax.random.split(jax.random.key(config.seed), config.seeds)
    learners = jax.vmap(lambda key: new_learner(config, cell, key))(keys)
    counts: list[np.ndarray] = []
    while len(counts) < config.updates // CALL and not stop.is_set():
        learners, some = some_updates(config, cell, how, learners)
        counts.append(np.asarray(some))
        advance(CALL)
    return np.concatenate(counts, 1) if counts else np.zeros((config.seeds, 0, 2))


def run(config: Config, console: Console, stop: threading.Event) -> list[Path]:
    """Check the replays, train, print the table, save picture and numbers."""
    config = shortened(config) if config.quick else config
    began = time.perf_counter()
    found: dict[tuple[str, str], np.ndarray] = {}
    runs = config.runs()
    with cli.Bar(console, len(runs) * config.updates) as bar:
        for one in runs:
            bar.advance(0, ", ".join(one))
            cell = CELLS[one[0]](config.hidden_size)
            if difference := check(config, cell, one[1]):
                if one[1] == "right":
                    raise cli.Failure(difference)
                console.print(f"{one[0]}, {one[1]}: {difference}", highlight=False)
            counts = train(config, one, stop, bar.advance)
            if counts.shape[1]:
                found[one] = counts
            if stop.is_set():
                break
    if not found:
        raise cli.Failure("stopped before the first result")
    seconds = time.perf_counter() - began
    results = report.Results(found, 1 / world.DOORS, config.updates)
    report.table(console, results, RESETS)
    saved = [config.output / f"memory_agent.{kind}" for kind in ("png", "json")]
    report.picture(saved[0], results)
    save(saved[1], config, results, seconds)
    return saved


def save(path: Path, config: Config, results: report.Results, seconds: float) -> None:
    """Write the flags, the final rates and the learning curves of every seed."""
    flags = {k: str(v) if k == "output" else v for k, v in vars(config).items()}
    kinds = [
        {
            "cell": cell,
            "resets": how,
            "final": results.final(cell, how).tolist(),
            "curves": np.round(results.curves(cell, how), 4).tolist(),
        }
        for cell, how in results.counts
    ]
    written = {"flags": flags, "seconds": round(seconds), "agents": kinds}
    path.write_text(json.dumps(written, indent=1))


def shortened(config: Config) -> Config:
    """Return the flags of a quick run."""
    cells = tuple(dict.fromkeys((config.cells[0], config.cells[-1])))
    sizes = {"steps": 16, "agents": 8, "epochs": 2, "hidden_size": 8, "seeds": 2}
    return dataclasses.replace(config, cells=cells, updates=20, **sizes)


def main() -> int:
    """Read the flags and run."""
    return cli.main(Config, run, "the result is of the agents that were trained.")


if __name__ == "__main__":
    sys.exit(main())
