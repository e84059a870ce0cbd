# SPDX-License-Identifier: Apache-2.0
"""Resets of a replay, from the ends of episodes."""

from typing import Annotated

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from recurrent_jax import _checks
from recurrent_jax._checks.input_kinds import OneArray

_HINT = "numbers must be compared first: dones != 0"
Dones = Annotated[
    ArrayLike, OneArray("bool", least=1, axes="(time, *batch)", hint=_HINT)
]
Initial = Annotated[ArrayLike, OneArray("bool", axes="(*batch)", hint=_HINT)]


@_checks.checked
def resets_from_dones(
    dones: Dones, initial: Initial | None = None, *, time_axis: int = 0
) -> jax.Array:
    r"""Return the resets of a replay: the reset before a step is the done before it.

    $$ \mathrm{reset}_t = \mathrm{done}_{t-1}, \qquad
    \mathrm{reset}_0 = \mathrm{initial} $$

    `done` belongs to the step that ended an episode, and a reset to the first step of
    the next episode. To pass `dones` itself as `resets` is the most common mistake:
    then the last step of each episode is replayed without the memory of that episode.

    Args:
        dones: bool, `(time, *batch)`: whether the episode ended with that step. A
            truncated episode ends as a terminated one does: `terminated | truncated`.
        initial: bool, `(*batch)`: the done of the step before the first one. Pass the
            last dones of the chunk before. If None, it is False for every sequence:
            the first step continues from the `carry` that the replay is given. That is
            right for the first chunk of a rollout, and where the stored carry was
            already reset.
        time_axis: the axis of time in `dones`.

    Returns:
        bool, of the shape of `dones`, to pass to `unroll` as `resets`.

    Raises:
        TypeError: if `dones` or `initial` is not bool.
        ValueError: if `initial` does not have the shape of one step.

    Example:
        >>> import jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> dones = jnp.array([False, True, False, False, True])
        >>> print(rj.reinforcement.resets_from_dones(dones))
        [False False  True False False]
        >>> print(rj.reinforcement.resets_from_dones(dones, initial=True))
        [ True False  True False False]

    References:
        Lu et al., 2023. Structured state space models for in-context reinforcement
        learning. https://arxiv.org/abs/2303.03982
    """
    where = "resets_from_dones"
    dones = jnp.asarray(dones)
    axis = _checks.axis_of(where, "dones", dones, time_axis, features=0)
    dones = jnp.moveaxis(dones, axis, 0)
    if initial is None:
        initial = jnp.zeros(dones.shape[1:], bool)
    initial = jnp.asarray(initial)
    if initial.shape != dones.shape[1:]:
        raise ValueError(
            f"{where}: initial must be bool[{','.join(map(str, dones.shape[1:]))}], "
            f"one for each sequence; got {_checks.describe(initial)}"
        )
    resets = jnp.concatenate([initial[None], dones])[: len(dones)]
    return jnp.moveaxis(resets, 0, axis)
