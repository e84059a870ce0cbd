# SPDX-License-Identifier: Apache-2.0
"""Losses that ignore padding."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.typing import ArrayLike

from recurrent_jax import _checks
from recurrent_jax._core.arrays import trail
from recurrent_jax._core.input_types import Floats, Labels, Logits, Mask


@_checks.checked
def masked_mean(values: Floats, mask: Mask | None = None) -> jax.Array:
    r"""Return the mean of the valid values.

    $$ \frac{\sum_k m_k v_k}{\sum_k m_k}, \qquad 0 \text{ if no value is valid} $$

    It selects and does not multiply, so a NaN in the padding changes neither the mean
    nor its gradient with respect to `values`. It cannot undo a NaN *gradient* of
    earlier operations. Select before you divide or take logarithms, as `cross_entropy`
    and `squared_error` do.

    Args:
        values: floating point, `(*lead, ...)`.
        mask: bool, `(*lead)`, True for valid values. It applies to all trailing axes
            of `values`. None means that all are valid.

    Returns:
        A scalar of the dtype of `values`, summed in at least float32.

    Raises:
        TypeError, ValueError: if `values` are not floating point, or the mask is not
            bool or does not fit.

    Example:
        >>> import jax.numpy as jnp
        >>> from recurrent_jax.training import masked_mean
        >>> values = jnp.array([1.0, 3.0, jnp.nan])
        >>> print(masked_mean(values, jnp.array([True, True, False])))
        2.0
    """
    values = jnp.asarray(values)
    wide = values.dtype if jnp.finfo(values.dtype).bits >= 32 else jnp.float32
    if values.size == 0:
        return jnp.zeros((), values.dtype)
    if mask is None:
        return values.mean(dtype=wide).astype(values.dtype)
    mask = leading_mask("masked_mean", mask, "values", values)
    total = jnp.where(trail(mask, values), values, jnp.zeros_like(values))
    each = math.prod(values.shape[mask.ndim :])
    count = jnp.maximum(mask.sum(), 1).astype(wide) * jnp.asarray(max(each, 1), wide)
    return (total.sum(dtype=wide) / count).astype(values.dtype)


@_checks.checked
def cross_entropy(
    logits: Logits, labels: Labels, *, mask: Mask | None = None
) -> jax.Array:
    r"""Return the mean cross-entropy of the valid steps, in nats.

    $$ -\frac{1}{\sum_t m_t} \sum_t m_t \log \mathrm{softmax}(a_t)_{k_t} $$

    This is exactly the loss without the padding. Logits and labels in the padding,
    including NaN, inf and -1, change neither the value nor any gradient.

    Args:
        logits: $a$, `(*lead, classes)`, floating point.
        labels: $k$, `(*lead)`, integers from 0 to below the number of classes. Under
            `jit`, another one makes the loss NaN.
        mask: bool, `(*lead)`, True for valid steps; None means all.

    Returns:
        A scalar of the dtype of `logits`.

    Raises:
        TypeError, ValueError: if dtypes or shapes do not fit.

    Example:
        >>> import jax.numpy as jnp
        >>> from recurrent_jax.training import cross_entropy
        >>> logits, labels = jnp.zeros((3, 2, 4)), jnp.array([[0, 1], [3, 2], [-1, 0]])
        >>> loss = cross_entropy(logits, labels, mask=labels >= 0)
        >>> print((loss / jnp.log(2.0)).round(4))
        2.0
    """
    logits, labels = jnp.asarray(logits), jnp.asarray(labels)
    if labels.shape != logits.shape[:-1]:
        raise ValueError(
            f"cross_entropy: labels must be {logits.shape[:-1]}, one for each step of "
            f"logits {_checks.describe(logits)}; got {_checks.describe(labels)}"
        )
    if mask is not None:
        mask = leading_mask("cross_entropy", mask, "labels", labels)
        logits = jnp.where(trail(mask, logits), logits, jnp.zeros_like(logits))
        labels = jnp.where(mask, labels, jnp.zeros_like(labels))
    _check_labels(labels, logits.shape[-1])
    # Optax compares labels with a range of its own integers.
    with jax.numpy_dtype_promotion("standard"):
        each = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    # Optax takes -1 as the last class, and other labels out of range as NaN.
    each = jnp.where(labels < 0, jnp.full_like(each, jnp.nan), each)
    return masked_mean(each, mask)


def _check_labels(labels: jax.Array, classes: int) -> None:
    """Check that labels are classes, where their values are known."""
    if isinstance(labels, jax.core.Tracer) or not labels.is_fully_addressable:
        return
    values = np.asarray(labels)
    low, high = values.min(initial=0), values.max(initial=0)
    if low < 0 or high >= classes:
        raise ValueError(
            f"cross_entropy: labels must lie between 0 and {classes - 1}, got "
            f"{low if low < 0 else high}; pass mask=... to leave out the padding"
        )


@_checks.checked
def squared_error(
    predictions: Floats, targets: Floats, *, mask: Mask | None = None
) -> jax.Array:
    r"""Return the mean squared error of the valid steps.

    $$ \frac{1}{D \sum_t m_t} \sum_t m_t \lVert y_t - \hat y_t \rVert^2 $$

    This is exactly the loss without the padding, as for `cross_entropy`. Shapes must be
    equal, because `(T, N)` and `(T, N, 1)` would broadcast to every pair of sequences.

    Args:
        predictions: floating point, `(*lead, ...)`.
        targets: of the same shape and dtype.
        mask: bool, `(*lead)`, True for valid steps; None means all.

    Returns:
        A scalar of the dtype of `predictions`.

    Raises:
        TypeError, ValueError: if dtypes or shapes do not fit.

    Example:
        >>> import jax.numpy as jnp
        >>> from recurrent_jax.training import squared_error
        >>> print(squared_error(jnp.array([1.0, 5.0]), jnp.array([3.0, 5.0])))
        2.0
    """
    predictions, targets = jnp.asarray(predictions), jnp.asarray(targets)
    if (predictions.shape, predictions.dtype) != (targets.shape, targets.dtype):
        raise ValueError(
            "squared_error: targets must be of the shape and dtype of predictions, "
            f"{_checks.describe(predictions)}; got {_checks.describe(targets)}"
        )
    if mask is not None:
        mask = leading_mask("squared_error", mask, "predictions", predictions)
        chosen = trail(mask, predictions)
        predictions, targets = (
            jnp.where(chosen, x, jnp.zeros_like(x)) for x in (predictions, targets)
        )
    return masked_mean(optax.squared_error(predictions, targets), mask)


def leading_mask(where: str, mask: ArrayLike, argument: str, like: Any) -> jax.Array:
    """Return the mask as an array, checked to lead `like`."""
    mask = jnp.asarray(mask)
    if mask.shape != like.shape[: mask.ndim]:
        raise ValueError(
            f"{where}: mask must have the leading axes of {argument} "
            f"{_checks.describe(like)}, got {_checks.describe(mask)}"
        )
    return mask
