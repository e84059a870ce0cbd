# SPDX-License-Identifier: Apache-2.0
"""Pooling: from a sequence of outputs to one vector."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from recurrent_jax import _checks
from recurrent_jax._core.arrays import trail
from recurrent_jax._core.input_types import Arrays, FloatArrays, Lengths, Mask
from recurrent_jax._core.types import Flag


@_checks.checked
def last_output(
    ys: Arrays,
    *,
    lengths: Lengths | None = None,
    mask: Mask | None = None,
    reverse: Flag = False,
    time_axis: int = 0,
) -> Any:
    r"""Return the output at the last valid step of each sequence.

    $$ v = y_{\max \{t \,:\, \text{step } t \text{ is valid}\}} $$

    Args:
        ys: outputs of `unroll`, `(time, *batch, features)`, or a pytree of them.
        lengths: as given to `unroll`.
        mask: as given to `unroll`.
        reverse: as given to `unroll`. A reversed run ends at the first step. For both
            directions, use `Bidirectional(..., merge=None)` and concatenate
            `last_output(forward)` and `last_output(backward, reverse=True)`.
        time_axis: the axis of time in `ys` and `mask`.

    Returns:
        `(*batch, features)`; zeros for a sequence without steps.

    Raises:
        TypeError, ValueError: if lengths or mask do not fit.

    Example:
        >>> import jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> ys = jnp.arange(1.0, 7.0).reshape(3, 2, 1)
        >>> print(rj.tasks.last_output(ys, lengths=jnp.array([3, 1]))[:, 0])
        [5. 2.]
    """
    ys, valid = _timed("last_output", ys, lengths, mask, time_axis)
    step = jnp.arange(valid.shape[0]).reshape(-1, *(1,) * (valid.ndim - 1))
    if valid.shape[0] == 0:
        return jax.tree.map(lambda y: jnp.zeros(y.shape[1:], y.dtype), ys)
    order = -step if reverse else step
    least = -valid.shape[0]
    chosen = jnp.argmax(jnp.where(valid, order, least), axis=0)[None]
    exists = jnp.any(valid, axis=0)

    def one(y: jax.Array) -> jax.Array:
        v = jnp.take_along_axis(y, trail(chosen, y), axis=0)[0]
        return jnp.where(trail(exists, v), v, jnp.zeros_like(v))

    return jax.tree.map(one, ys)


@_checks.checked
def mean_output(
    ys: FloatArrays,
    *,
    lengths: Lengths | None = None,
    mask: Mask | None = None,
    time_axis: int = 0,
) -> Any:
    r"""Return the mean of the outputs over the valid steps of each sequence.

    $$ v = \frac{1}{|\mathcal{T}|} \sum_{t \in \mathcal{T}} y_t $$

    Args:
        ys: outputs of `unroll`, `(time, *batch, features)`, or a pytree of them.
        lengths: as given to `unroll`.
        mask: as given to `unroll`.
        time_axis: the axis of time in `ys` and `mask`.

    Returns:
        `(*batch, features)`; zeros for a sequence without steps.

    Raises:
        TypeError, ValueError: if lengths or mask do not fit.

    Example:
        >>> import jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> ys = jnp.arange(1.0, 7.0).reshape(3, 2, 1)
        >>> print(rj.tasks.mean_output(ys, lengths=jnp.array([3, 1]))[:, 0])
        [3. 2.]
    """
    ys, valid = _timed("mean_output", ys, lengths, mask, time_axis)

    def one(y: jax.Array) -> jax.Array:
        # In at least float32: a sum of many overflows in half precision.
        wide = jnp.float32 if jnp.finfo(y.dtype).bits < 32 else y.dtype
        kept = jnp.where(trail(valid, y), y, jnp.zeros_like(y)).astype(wide)
        count = jnp.maximum(valid.sum(0), 1).astype(wide)
        total = kept.sum(0)
        return (total / trail(count, total)).astype(y.dtype)

    return jax.tree.map(one, ys)


def _timed(
    where: str, ys: Any, lengths: Any, mask: Any, time_axis: int
) -> tuple[Any, jax.Array]:
    """Return time-major outputs, and which steps are valid, `(time, *batch)`."""
    ys = jax.tree.map(jnp.asarray, ys)
    first = jax.tree.leaves(ys)[0]
    # A mask and lengths tell how many axes are batch. Without them any axis but the
    # last may be time, which is features, or time itself where it is the only one.
    features = min(first.ndim - 1, 1)
    if mask is not None:
        features = max(first.ndim - np.ndim(mask), 0)
    elif lengths is not None:
        features = max(first.ndim - 1 - np.ndim(lengths), 0)
    valid = _checks.steps(where, "ys", first, lengths, mask, time_axis, features)
    axis = _checks.axis_of(where, "ys", first, time_axis, features)
    ys = jax.tree.map(lambda y: jnp.moveaxis(y, axis, 0), ys)
    if valid is None:
        valid = jnp.ones(first.shape[axis], bool)
    return ys, valid
