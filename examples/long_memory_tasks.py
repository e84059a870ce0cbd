# SPDX-License-Identifier: Apache-2.0
"""Three tasks that need a long memory, with new data for every training step."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

COPIED, ALPHABET = 5, 4  # symbols to copy, and size of the alphabet


class Batch(NamedTuple):
    """Inputs, and targets at the last steps."""

    xs: jax.Array  # (T, N, in)
    targets: jax.Array  # (last, N): numbers or classes


class Task(NamedTuple):
    """A task at any length."""

    draw: Callable[[jax.Array, int, int], Batch]  # key, length, batch size
    features: int
    outputs: int  # 1 for a number, otherwise the number of classes
    last: int  # steps at the end that enter the loss


def adding(key: jax.Array, length: int, size: int) -> Batch:
    """Return numbers, one marked in each half; the target is the sum of these two.

    Hochreiter and Schmidhuber, 1997. Long short-term memory.
    https://doi.org/10.1162/neco.1997.9.8.1735
    """
    key, first, second = jax.random.split(key, 3)
    half = length // 2
    numbers = jax.random.uniform(key, (length, size))
    marked = jnp.stack(
        [
            jax.random.randint(first, (size,), 0, half),
            jax.random.randint(second, (size,), half, length),
        ]
    )
    marks = jax.nn.one_hot(marked, length, axis=1).sum(0)  # (T, N)
    xs = jnp.stack([numbers, marks], axis=-1)
    return Batch(xs, (numbers * marks).sum(0)[None])


def copying(key: jax.Array, length: int, size: int) -> Batch:
    """Return a few symbols, a long pause, and a signal to repeat the symbols.

    Arjovsky, Shah and Bengio, 2016. Unitary evolution recurrent neural networks.
    https://arxiv.org/abs/1511.06464
    """
    symbols = jax.random.randint(key, (COPIED, size), 0, ALPHABET)
    pause = jnp.full((length - 2 * COPIED, size), ALPHABET)
    signal = jnp.full((COPIED, size), ALPHABET + 1)
    codes = jnp.concatenate([symbols, pause, signal])
    return Batch(jax.nn.one_hot(codes, ALPHABET + 2), symbols)


def temporal_order(key: jax.Array, length: int, size: int) -> Batch:
    """Return noise with X or Y near start and middle; the target is their order.

    Hochreiter and Schmidhuber, 1997. Long short-term memory, experiment 6a.
    https://doi.org/10.1162/neco.1997.9.8.1735
    """
    key, early, late, kinds = jax.random.split(key, 4)
    tenth = max(1, length // 10)
    places = jnp.stack(
        [
            jax.random.randint(early, (size,), tenth, 2 * tenth),
            jax.random.randint(late, (size,), 5 * tenth, 6 * tenth),
        ]
    )
    which = jax.random.randint(kinds, (2, size), 0, 2)
    codes = 2 + jax.random.randint(key, (length, size), 0, 4)
    codes = codes.at[places, jnp.arange(size)[None]].set(which)
    return Batch(jax.nn.one_hot(codes, 6), (2 * which[0] + which[1])[None])


TASKS = {
    "adding": Task(adding, 2, 1, 1),
    "copying": Task(copying, ALPHABET + 2, ALPHABET, COPIED),
    "temporal order": Task(temporal_order, 6, 4, 1),
}
SHORTEST = 2 * COPIED + 1


def loss(task: Task, guesses: jax.Array, targets: jax.Array) -> jax.Array:
    """Return squared error or cross-entropy, relative to the loss without memory.

    Without memory the best guess of a sum is 1, with the variance 1 / 6 as its error.
    The best guess of a class is random.
    """
    if task.outputs == 1:
        return jnp.square(guesses[..., 0] - targets).mean() * 6
    chosen = jnp.take_along_axis(jax.nn.log_softmax(guesses), targets[..., None], -1)
    return -chosen.mean() / jnp.log(float(task.outputs))
