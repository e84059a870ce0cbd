# SPDX-License-Identifier: Apache-2.0
"""Four tasks for the state of a network, with new data for every update."""

import itertools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

COPIED, ALPHABET = 4, 4  # symbols to copy, and symbols to choose from
BLANK, SIGNAL = ALPHABET, ALPHABET + 1  # further codes
ORDERS = tuple(itertools.permutations(range(3)))  # the six orders of three things
SWAPS = (
    (0, 1, 2),
    (1, 0, 2),
    (0, 2, 1),
    (2, 1, 0),
)  # places to read from


class Batch(NamedTuple):
    """Codes to read, and classes to answer at the last steps."""

    codes: jax.Array  # (T, N)
    targets: jax.Array  # (last, N)


class Task(NamedTuple):
    """A task at any length."""

    draw: Callable[[jax.Array, int, int], Batch]  # key, length, batch size
    codes: int  # the number of different inputs
    classes: int  # the number of different answers

    @property
    def chance(self) -> float:
        """Return the accuracy of a random answer."""
        return 1 / self.classes


def parity(key: jax.Array, length: int, size: int) -> Batch:
    """Return bits; the target at each step is whether the ones so far are odd.

    Grazzi et al., 2025. Unlocking state-tracking in linear RNNs through negative
    eigenvalues. https://arxiv.org/abs/2411.12537
    """
    bits = jax.random.randint(key, (length, size), 0, 2)
    return Batch(bits, jnp.cumsum(bits, axis=0) % 2)


def swaps(key: jax.Array, length: int, size: int) -> Batch:
    """Return swaps of two of three places; the target is the order after each.

    One code in four swaps nothing, or else the time would tell half of the answer.

    Merrill et al., 2024. The illusion of state in state-space models.
    https://arxiv.org/abs/2404.08819
    """
    codes = jax.random.randint(key, (length, size), 0, len(SWAPS))
    after = [[ORDERS.index(tuple(o[n] for n in s)) for s in SWAPS] for o in ORDERS]
    table = jnp.asarray(after)  # the number of the order after a swap

    def step(order: jax.Array, code: jax.Array) -> tuple[jax.Array, jax.Array]:
        order = table[order, code]
        return order, order

    return Batch(codes, jax.lax.scan(step, jnp.zeros(size, int), codes)[1])


def selective_copying(key: jax.Array, length: int, size: int) -> Batch:
    """Return symbols among blanks, then signals, each of which asks for one symbol.

    The symbols stand at random places and are asked for in their order.

    Gu and Dao, 2023. Mamba: linear-time sequence modeling with selective state spaces.
    https://arxiv.org/abs/2312.00752
    """
    key_places, key_symbols = jax.random.split(key)
    before = length - COPIED
    drawn = jax.random.uniform(key_places, (size, before))
    places = jnp.sort(jnp.argsort(drawn, axis=1)[:, :COPIED], axis=1).T
    symbols = jax.random.randint(key_symbols, (COPIED, size), 0, ALPHABET)
    codes = jnp.full((before, size), BLANK)
    codes = codes.at[places, jnp.arange(size)[None]].set(symbols)
    signals = jnp.full((COPIED, size), SIGNAL)
    return Batch(jnp.concatenate([codes, signals]), symbols)


def recall(key: jax.Array, length: int, size: int) -> Batch:
    """Return a symbol and then blanks; the target at the last step is the symbol."""
    symbol = jax.random.randint(key, (1, size), 0, ALPHABET)
    blanks = jnp.full((length - 1, size), BLANK)
    return Batch(jnp.concatenate([symbol, blanks]), symbol)


PARITY = Task(parity, codes=2, classes=2)
SWAPPING = Task(swaps, codes=len(SWAPS), classes=len(ORDERS))
COPYING = Task(selective_copying, codes=ALPHABET + 2, classes=ALPHABET)
RECALL = Task(recall, codes=ALPHABET + 1, classes=ALPHABET)
