# SPDX-License-Identifier: Apache-2.0
"""Penalties on the outputs of a network, to add to a loss."""

import jax
import jax.numpy as jnp

from recurrent_jax import _checks
from recurrent_jax._core.arrays import trail
from recurrent_jax._core.input_types import Floats, Mask
from recurrent_jax.training._losses import leading_mask, masked_mean


@_checks.checked
def activity_penalty(ys: Floats, *, mask: Mask | None = None) -> jax.Array:
    r"""Return the mean square of outputs, a penalty that keeps activity near zero.

    $$ \frac{1}{\sum_t m_t} \sum_t m_t \, \frac{1}{H} \lVert y_t \rVert^2 $$

    This is AR of the paper without its factor alpha, which is 2 in its experiments. The
    paper uses outputs after dropout.

    Args:
        ys: outputs, `(*lead, features)`.
        mask: bool, `(*lead)`, True for valid steps; None means all.

    Returns:
        A scalar of the dtype of `ys`.

    Raises:
        TypeError, ValueError: if the mask is not bool or does not fit.

    Example:
        >>> import jax.numpy as jnp
        >>> from recurrent_jax.training import activity_penalty
        >>> ys = jnp.array([[3.0, 1.0], [1.0, 1.0]])
        >>> print(activity_penalty(ys), activity_penalty(ys, mask=[False, True]))
        3.0 1.0

    References:
        Merity, McCann and Socher, 2017. Revisiting activation regularization for
        language RNNs. https://arxiv.org/abs/1708.01009
    """
    ys = jnp.asarray(ys)
    if mask is not None:
        mask = leading_mask("activity_penalty", mask, "ys", ys)
        ys = jnp.where(trail(mask, ys), ys, jnp.zeros_like(ys))
    return masked_mean(jnp.square(ys), mask)


@_checks.checked
def temporal_activity_penalty(
    ys: Floats, *, mask: Mask | None = None, time_axis: int = 0
) -> jax.Array:
    r"""Return the mean square of changes, a penalty that keeps activity slow.

    $$
    \frac{1}{\sum_t m_t m_{t+1}}
        \sum_t m_t m_{t+1} \, \frac{1}{H} \lVert y_{t+1} - y_t \rVert^2
    $$

    This is TAR of the paper without its factor beta, which is 1 in its experiments. The
    paper uses outputs before dropout. A change is valid if both of its steps are.

    Args:
        ys: outputs, `(time, *batch, features)`.
        mask: bool, `(time, *batch)`, True for valid steps; None means all.
        time_axis: the axis of time in both.

    Returns:
        A scalar of the dtype of `ys`; 0 if there is no valid change.

    Raises:
        TypeError, ValueError: if the mask is not bool or does not fit, or there is no
            such axis.

    Example:
        >>> import jax.numpy as jnp
        >>> from recurrent_jax.training import temporal_activity_penalty
        >>> ys = jnp.array([[0.0], [1.0], [3.0], [0.0]])
        >>> print(temporal_activity_penalty(ys, mask=[True, True, True, False]))
        2.5

    References:
        Merity, McCann and Socher, 2017. Revisiting activation regularization for
        language RNNs. https://arxiv.org/abs/1708.01009
    """
    where = "temporal_activity_penalty"
    ys = jnp.asarray(ys)
    if not -ys.ndim <= time_axis < ys.ndim - 1 or time_axis == -1:
        raise ValueError(
            f"{where}: time_axis must be one of the first {ys.ndim - 1} axes of ys "
            f"{_checks.describe(ys)}, since features come last; got {time_axis}"
        )
    axis = time_axis % ys.ndim
    valid = jnp.ones(ys.shape[:-1], bool)
    if mask is not None:
        valid = leading_mask(where, mask, "ys", ys)
        if valid.ndim <= axis:
            raise ValueError(
                f"{where}: mask must have the axis of time, {axis}, of ys "
                f"{_checks.describe(ys)}; got {_checks.describe(valid)}"
            )
    ys, valid = jnp.moveaxis(ys, axis, 0), jnp.moveaxis(valid, axis, 0)
    ys = jnp.where(trail(valid, ys), ys, jnp.zeros_like(ys))
    return masked_mean(jnp.square(ys[1:] - ys[:-1]), valid[1:] & valid[:-1])
