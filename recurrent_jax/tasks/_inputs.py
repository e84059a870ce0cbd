# SPDX-License-Identifier: Apache-2.0
"""What a cell reads where the task has no sequence to give, or gives targets."""

from typing import Any

import jax
import jax.numpy as jnp

from recurrent_jax import _checks
from recurrent_jax.tasks import _check


def repeat(x: Any, steps: int, *, time_axis: int = 0) -> Any:
    """Return `x` as the input of every step: a vector as a sequence.

    Args:
        x: `(*batch, features)`, or a pytree of arrays.
        steps: how many.
        time_axis: where time goes.

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
    _checks.size("repeat", "steps", steps)

    def one(a: jax.Array) -> jax.Array:
        timed = jnp.broadcast_to(a[None], (steps, *a.shape))
        return jnp.moveaxis(timed, 0, time_axis)

    return jax.tree.map(one, _checks.arrays("repeat", "x", x))


def delay(targets: Any, first: Any, *, time_axis: int = 0) -> Any:
    r"""Return targets one step late: the inputs of teacher forcing.

    $$ x_1 = \text{first}, \qquad x_t = \text{target}_{t-1} $$

    Args:
        targets: `(time, *batch)` of tokens or `(time, *batch, features)`.
        first: what stands for the target before the first, such as a start token: a
            number, or an array of the shape of one step.
        time_axis: the axis of time.

    Returns:
        An array like `targets`; the last target, which nothing follows, is left out.

    Raises:
        TypeError, ValueError: if `first` has not the shape of one step.

    Example:
        >>> import jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> print(rj.tasks.delay(jnp.array([5, 6, 7]), first=0))
        [0 5 6]
    """
    targets = jnp.moveaxis(_check.timed("delay", targets), time_axis, 0)
    start = _check.first("delay", first, targets)
    late = jnp.concatenate([start[None], targets[:-1]])
    return jnp.moveaxis(late[: len(targets)], 0, time_axis)
