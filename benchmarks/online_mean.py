# SPDX-License-Identifier: Apache-2.0
"""Whether the mean of a random online gradient is that of back-propagation."""

import dataclasses
import functools
from typing import Any

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np

import recurrent_jax as rj


@dataclasses.dataclass
class Row:
    """One learner of one cell; all but `draws` over the norm of the exact gradient."""

    cell: str
    T: int
    learner: str
    draws: int
    noise: float  # of one draw: its distance from the exact gradient
    distance: float  # of the mean of all draws
    standard_error: float  # of that mean: what the distance is if nothing is biased


def measure(cell: rj.Cell, learner: Any, sample: Any, draws: int) -> Row:
    """Return the row of a learner for parameters, inputs and weights of a loss."""
    params, xs, weights = sample
    label, time = type(learner).__name__, len(xs)

    def loss(params: Any) -> jax.Array:
        return jnp.sum(rj.unroll(cell, params, xs, method=rj.Sequential())[1] * weights)

    def online(key: jax.Array) -> jax.Array:
        def body(now: Any, pair: Any) -> Any:
            state, total = now
            state, _ = learner.step(params, state, pair[0])
            return (state, total + flat(learner.gradient(state, pair[1]))), None

        begin = learner.init(params, xs[0], key=key)
        pairs = xs, jnp.broadcast_to(weights, (time, *weights.shape))
        return jax.lax.scan(body, (begin, jnp.zeros_like(flat(params))), pairs)[0][1]

    want = np.asarray(flat(jax.jit(jax.grad(loss))(params)), float)
    keys = jax.random.split(jax.random.key(1), draws)
    found = np.asarray(jax.jit(functools.partial(jax.lax.map, online))(keys), float)
    size = np.linalg.norm(want)
    noise = np.sqrt(np.mean(np.sum(np.square(found - want), axis=1))) / size
    distance = np.linalg.norm(found.mean(0) - want) / size
    error = np.sqrt(np.sum(found.var(0, ddof=1)) / draws) / size
    name = type(cell).__name__
    return Row(name, time, label, draws, float(noise), float(distance), float(error))


def flat(tree: Any) -> jax.Array:
    """Return all numbers as a vector."""
    return jax.flatten_util.ravel_pytree(tree)[0]


def markdown(rows: list[dict]) -> list[str]:
    """Return the lines of the table on the page."""
    heads = "cell", "learner", "one draw", "mean of all draws", "its standard error"
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for row in rows:
        numbers = (float(row[key]) for key in ("noise", "distance", "standard_error"))
        parts = [f"`{row['cell']}`", f"`{row['learner']}`"]
        lines.append(f"| {' | '.join([*parts, *(f'{n:.3f}' for n in numbers)])} |")
    return lines
