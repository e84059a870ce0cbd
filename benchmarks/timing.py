# SPDX-License-Identifier: Apache-2.0
"""Clocks: interleaved rounds, and the rate of the machine's own matrix product."""

import gc
import random
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

# Thread pools spin for a moment after work and sleep after that. The pause keeps the
# pool of one contender out of the time of the next, and an untimed call, of what is
# quick enough to notice, wakes the pool that is to be timed.
PAUSE = 0.005
QUICK = 0.1


def seconds(call: Callable[[], Any]) -> tuple[float, Any]:
    """Return how long a call took, and its result."""
    start = time.perf_counter()
    result = call()
    return time.perf_counter() - start, result


def interleave(
    calls: dict[str, Callable[[], Any]], rounds: int, at_least: float = 0.5
) -> dict[str, list[float]]:
    """Time calls in turn, round by round, and return the seconds of each by round.

    Each round has its own order, drawn, so that none always follows the same other.
    Quick calls get more rounds than asked for, up to five times as many, until
    `at_least` seconds are spent.
    """
    samples: dict[str, list[float]] = {name: [] for name in calls}
    order = random.Random(0)
    quick = {name for name, call in calls.items() if seconds(call)[0] < QUICK}
    gc.collect()
    gc.disable()
    try:
        start = time.perf_counter()
        for done in range(5 * rounds):
            if done >= rounds and time.perf_counter() - start > at_least:
                break
            for name in order.sample(list(calls), len(calls)):
                time.sleep(PAUSE)
                if name in quick:
                    calls[name]()
                samples[name].append(seconds(calls[name])[0])
    finally:
        gc.enable()
    return samples


def gemm_rate(size: int | None = None, rounds: int = 12) -> float:
    """Return the best rate of a square float32 product through JAX, in FLOP/s."""
    if size is None:
        size = 2048 if jax.default_backend() == "cpu" else 8192
    a, b = jax.random.normal(jax.random.key(0), (2, size, size), jnp.float32)
    product = jax.jit(jnp.matmul)
    product(a, b).block_until_ready()
    times = [
        seconds(lambda: product(a, b).block_until_ready())[0] for _ in range(rounds)
    ]
    return 2 * size**3 / min(times)
