# SPDX-License-Identifier: Apache-2.0
"""What online gradients keep, and what a step of them costs, against the units."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

import recurrent_jax as rj
from benchmarks import timing

D, T = 8, 64
CELLS: dict[str, Callable[[int], rj.Cell]] = {
    "GRU": rj.GRU,
    "LSTM": rj.LSTM,
    "DiagonalGRU": rj.DiagonalGRU,
}


@dataclasses.dataclass
class Row:
    """One learner of one cell at one size."""

    cell: str
    H: int
    learner: str
    numbers: int  # kept for a sequence
    us: float  # of a step, with its gradient
    times_bptt: float  # that of a step of back-propagation, measured in turn


def measure(name: str, hidden: int, learners: dict[str, Any], rounds: int) -> list[Row]:
    """Return a row for each learner of a cell, which is given by label."""
    cell, keys = CELLS[name](hidden), jax.random.split(jax.random.key(0), 2)
    params = cell.init(keys[0], D, jnp.float32)
    xs = jax.random.normal(keys[1], (T, D))
    calls = {"BPTT": compiled(back_propagation(cell), params, xs)}
    for label, learner in learners.items():
        calls[label] = compiled(forward(learner), params, xs)
    found = timing.interleave(calls, rounds)
    us = {label: 1e6 / T * min(samples) for label, samples in found.items()}
    rows = []
    for label, learner in learners.items():
        kept = numbers(learner, D)
        rows.append(Row(name, hidden, label, kept, us[label], us[label] / us["BPTT"]))
    jax.clear_caches()
    return rows


def numbers(learner: Any, features: int) -> int:
    """Return how many numbers a learner keeps of the past of a sequence."""

    def begin(key: jax.Array) -> Any:
        params = learner.cell.init(key, features, jnp.float32)
        return learner.init(params, jnp.zeros(features), key=key)

    memory = jax.eval_shape(begin, jax.random.key(0)).memory
    return sum(leaf.size for leaf in jax.tree.leaves(memory))


def compiled(run: Callable[..., Any], *args: Any) -> Callable[[], Any]:
    """Return a call of a compiled function that waits for the result."""
    done = jax.jit(run).lower(*args).compile()
    return lambda: jax.block_until_ready(done(*args))


def back_propagation(cell: rj.Cell) -> Callable[..., Any]:
    """Return the gradient of a loss of all outputs, through all steps."""
    return jax.grad(lambda params, xs: jnp.square(rj.unroll(cell, params, xs)[1]).sum())


def forward(learner: Any) -> Callable[..., Any]:
    """Return the sum of the online gradients of the same loss."""

    def run(params: Any, xs: jax.Array) -> Any:
        def body(now: Any, x: jax.Array) -> Any:
            state, total = now
            state, y = learner.step(params, state, x)
            slope = learner.gradient(state, 2 * y)
            return (state, jax.tree.map(jnp.add, total, slope)), None

        begin = learner.init(params, xs[0], key=jax.random.key(0))
        zero = jax.tree.map(jnp.zeros_like, params)
        return jax.lax.scan(body, (begin, zero), xs)[0][1]

    return run


def markdown(rows: list[dict]) -> list[str]:
    """Return the lines of the table on the page: numbers kept, and time over BPTT."""
    sizes = list(dict.fromkeys(int(row["H"]) for row in rows))
    heads = [f"{part}, H = {size}" for part in ("numbers", "time") for size in sizes]
    lines = [f"| cell | learner | {' | '.join(heads)} |"]
    lines.append("|---" * (2 + len(heads)) + "|")
    found: dict[Any, list[dict]] = {}
    for row in rows:
        found.setdefault((row["cell"], row["learner"]), []).append(row)
    for (cell, learner), mine in found.items():
        kept = [f"{int(row['numbers']):,}" for row in mine]
        short = [float(f"{row['times_bptt']:.2g}") for row in mine]  # two digits
        time = [f"{value:,g}" for value in short]
        lines.append(f"| `{cell}` | `{learner}` | {' | '.join(kept + time)} |")
    return lines
