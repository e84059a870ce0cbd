# SPDX-License-Identifier: Apache-2.0
"""A corridor with a signal at its start and a choice of doors at its end.

The first step of an episode shows which door pays. The signal of door 0 is silence. The
agent then walks a corridor of random length, with a flickering light that means
nothing. At its end it sees a fork and chooses a door. Some episodes are cut off on the
way.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

DOORS = 4
FEATURES = DOORS + 1  # a signal for each door but the first, the fork, the light
SHORTEST = 2  # steps from the signal to the fork


class Maze(NamedTuple):
    """The rules."""

    longest: int  # steps from the signal to the fork, at most
    cut: float  # probability at each step before the fork that the episode is cut off


class Place(NamedTuple):
    """Where each of N agents is."""

    time: jax.Array  # (N,), steps since the signal
    fork: jax.Array  # (N,), the step of the choice
    door: jax.Array  # (N,), the door that pays
    light: jax.Array  # (N,), -1 or 1


class Outcome(NamedTuple):
    """What a step led to."""

    reward: jax.Array  # (N,)
    terminated: jax.Array  # (N,), bool: the agent chose a door
    truncated: jax.Array  # (N,), bool: the episode was cut off before that


def start(maze: Maze, key: jax.Array, agents: int) -> Place:
    """Return new episodes at their first step."""
    key_fork, key_door, key_light = jax.random.split(key, 3)
    return Place(
        time=jnp.zeros(agents, "int32"),
        fork=jax.random.randint(key_fork, (agents,), SHORTEST, maze.longest + 1),
        door=jax.random.randint(key_door, (agents,), 0, DOORS),
        light=flicker(key_light, agents),
    )


def flicker(key: jax.Array, agents: int) -> jax.Array:
    """Return a light for each agent."""
    return 2 * jax.random.bernoulli(key, 0.5, (agents,)).astype("float32") - 1


def observe(place: Place) -> jax.Array:
    """Return what the agents see, `(N, FEATURES)`."""
    shown = jnp.where(place.time == 0, place.door, jnp.zeros_like(place.door))
    signal = jax.nn.one_hot(shown, DOORS, dtype="float32")[:, 1:]
    fork = (place.time == place.fork).astype("float32")
    return jnp.concatenate([signal, jnp.stack([fork, place.light], 1)], 1)


def step(
    maze: Maze, key: jax.Array, place: Place, action: jax.Array
) -> tuple[Place, Outcome]:
    """Return the next places, without a new episode, and what the step led to."""
    key_cut, key_light = jax.random.split(key)
    terminated = place.time == place.fork
    cut = jax.random.bernoulli(key_cut, maze.cut, terminated.shape)
    won = terminated & (action == place.door)
    moved = place._replace(
        time=place.time + 1, light=flicker(key_light, len(terminated))
    )
    return moved, Outcome(won.astype("float32"), terminated, cut & ~terminated)
