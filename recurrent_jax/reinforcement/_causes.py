# SPDX-License-Identifier: Apache-2.0
"""The usual mistakes in a rollout, found by a replay that makes them."""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from recurrent_jax.reinforcement._resets import resets_from_dones
from recurrent_jax.reinforcement._rollout import Replay, Rollout


def cause(replay: Replay, rollout: Rollout, carry: Any, resets: Any) -> str | None:
    """Return what explains the stored outputs, if a known mistake gives them."""

    def explains(carry: Any, *resets: Any, steps: slice = slice(None)) -> bool:
        """Say whether one of these resets gives the outputs, sequence by sequence."""
        differs = np.ones(rollout.counts.shape[1:], bool)
        for each in resets:
            options = replay.options
            if each is None:
                options = options | {"reset_carry": None}
            _, ys = dataclasses.replace(replay, options=options)(carry, each)
            differs &= rollout.errors(ys, steps).any(0)
        return not differs.any()

    return next(_causes(explains, carry, resets, replay.axis), None)


def _causes(
    explains: Callable[..., bool], carry: Any, resets: Any, axis: int
) -> Iterator[str]:
    """Yield what explains the outputs: mistakes whose replay gives them."""
    if resets is not None:
        turned = jnp.moveaxis(jnp.asarray(resets), axis, 0)
        edge = jnp.zeros_like(turned[0])

        def shifted(resets: jax.Array, initial: jax.Array) -> jax.Array:
            return jnp.moveaxis(resets_from_dones(resets, initial), 0, axis)

        if explains(carry, shifted(turned, edge), shifted(turned, ~edge)):
            yield (
                "resets are the dones of the same steps, but a reset comes before the "
                "step after a done: pass resets=resets_from_dones(dones)"
            )
        # The reset before the last step is not known, so that step does not count.
        earlier = jnp.moveaxis(jnp.concatenate([turned[1:], edge[None]]), 0, axis)
        if len(turned) > 1 and explains(carry, earlier, steps=slice(-1)):
            yield (
                "resets come one step late: pass resets_from_dones(dones) of the dones "
                "themselves, once"
            )
        if explains(carry, None):
            yield (
                "The rollout made no resets: it passed its carry on from one episode "
                "to the next. Reset it before the step after a done"
            )
    if carry is not None and explains(None, resets):
        yield (
            "The rollout started from cell.initial_carry, not from carry: store the "
            "carry before the first step of these inputs"
        )
    if resets is not None and carry is not None:
        turned = jnp.moveaxis(jnp.asarray(resets), axis, 0)
        first = jnp.moveaxis(turned.at[0].set(True), 0, axis)
        if explains(carry, resets, first):
            yield (
                "An episode ended with the step before these, and resets do not tell: "
                "pass its dones, resets_from_dones(dones, initial)"
            )
