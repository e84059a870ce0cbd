# SPDX-License-Identifier: Apache-2.0
"""Inputs made from a vector or from targets."""

from typing import Annotated, Any

import jax
import jax.numpy as jnp

from recurrent_jax import _checks
from recurrent_jax._checks.input_kinds import OneArray
from recurrent_jax._core.input_types import AnyArray, Arrays
from recurrent_jax._core.types import Size
from recurrent_jax.tasks import _check

Sequence = Annotated[jax.Array, OneArray(least=1, axes="(time, ...)")]


@_checks.checked
def repeat(x: Arrays, steps: Size, *, time_axis: int = 0) -> Any:
    """Return a sequence that repeats `x` at every step.

    Args:
        x: `(*batch, features)`, or a pytree of arrays.
        steps: number of steps.
        time_axis: the axis of time in the result.

    Returns:
        `(steps, *batch, features)`.

    Raises:
        TypeError, ValueError: if `steps` is not a positive integer.

    Example:
        >>> import jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> rj.tasks.repeat(jnp.ones((5, 2)), 7).shape
        (7, 5, 2)
    """

    def one(a: jax.Array) -> jax.Array:
        a = jnp.asarray(a)
        _check.axis("repeat", "x", time_axis, a.ndim + 1)
        timed = jnp.broadcast_to(a[None], (steps, *a.shape))
        return jnp.moveaxis(timed, 0, time_axis)

    return jax.tree.map(one, x)


@_checks.checked
def delay(targets: Sequence, first: AnyArray, *, time_axis: int = 0) -> Any:
    r"""Return targets delayed by one step: the inputs for teacher forcing.

    $$ x_1 = \text{first}, \qquad x_t = \text{target}_{t-1} $$

    Args:
        targets: `(time, *batch)` of tokens or `(time, *batch, features)`.
        first: the input at the first step, such as a start token: a number, or an
            array of the shape of one step.
        time_axis: the axis of time.

    Returns:
        An array like `targets`, without the last target, which has no successor.

    Raises:
        TypeError, ValueError: if `first` does not have the shape of one step.

    Example:
        >>> import jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> print(rj.tasks.delay(jnp.array([5, 6, 7]), first=0))
        [0 5 6]
    """
    targets = jnp.asarray(targets)
    _check.axis("delay", "targets", time_axis, targets.ndim)
    targets = jnp.moveaxis(targets, time_axis, 0)
    start = _check.first("delay", first, targets)
    late = jnp.concatenate([start[None], targets[:-1]])
    return jnp.moveaxis(late[: len(targets)], 0, time_axis)
