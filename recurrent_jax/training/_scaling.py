# SPDX-License-Identifier: Apache-2.0
"""Standardisation of features, and its inverse."""

from typing import Any, NamedTuple

import jax
import numpy as np

from recurrent_jax import _checks
from recurrent_jax._core.arrays import expand_like
from recurrent_jax._core.input_types import Features, Mask
from recurrent_jax.training._losses import leading_mask


class Standardiser(NamedTuple):
    r"""Mean and standard deviation of each feature, from `standardiser`.

    $$ x \mapsto (x - \mu) / \sigma, \qquad z \mapsto z \sigma + \mu $$

    This is a pytree of two arrays. Save it together with the parameters.

    Example:
        >>> import numpy as np
        >>> from recurrent_jax.training import standardiser
        >>> scale = standardiser(np.array([[0.0, 1.0], [2.0, 5.0]]))
        >>> print(scale.apply(np.array([[4.0, 3.0]])))
        [[3. 0.]]
    """

    mean: Any  # (D,)
    deviation: Any  # (D,)

    @_checks.checked
    def apply(self, x: Features) -> Any:
        """Return `x`, `(..., D)`, standardised."""
        rows = _fitting("apply", x, self.mean)
        return (rows - expand_like(self.mean, rows)) / expand_like(self.deviation, rows)

    @_checks.checked
    def invert(self, x: Features) -> Any:
        """Return `x`, `(..., D)`, in its original units."""
        rows = _fitting("invert", x, self.mean)
        return rows * expand_like(self.deviation, rows) + expand_like(self.mean, rows)


@_checks.checked
def standardiser(train: Features, *, mask: Mask | None = None) -> Standardiser:
    r"""Return mean and standard deviation of each feature over all other axes.

    Pass only the training part. Statistics of the whole series would contain
    information about the test.

    Args:
        train: floating point, `(..., D)`.
        mask: bool, with the leading axes of `train`. False leaves out padding.

    Returns:
        A `Standardiser` of NumPy arrays, `(D,)`, of the dtype of `train`, computed in
        float64. The deviation divides by n and not by n - 1.

    Raises:
        ValueError: if a feature is constant or not finite, or nothing is left.
        TypeError: if `train` is not floating point.

    Example:
        >>> import numpy as np
        >>> from recurrent_jax.training import standardiser
        >>> series = np.random.default_rng(0).normal(5.0, 2.0, (100, 3))
        >>> scale = standardiser(series[:70])
        >>> bool(np.allclose(scale.invert(scale.apply(series)), series))
        True
    """
    if isinstance(train, jax.core.Tracer):
        raise TypeError(
            "standardiser: train must be known before tracing, since features without "
            "a scale are refused; call it outside of jit"
        )
    data = np.asarray(train)
    rows = data
    if mask is not None:
        rows = data[np.asarray(leading_mask("standardiser", mask, "train", data))]
    if not rows.size:
        raise ValueError(f"standardiser: no steps in train {_checks.describe(data)}")
    rows = rows.reshape(-1, data.shape[-1]).astype(np.float64)
    mean, deviation = rows.mean(0), rows.std(0)
    if bad := np.flatnonzero(~np.isfinite(deviation)).tolist():
        raise ValueError(
            f"standardiser: features {bad} are not finite in train; leave padding out "
            "with mask=..., and mend the rest"
        )
    if flat := np.flatnonzero(rows.max(0) == rows.min(0)).tolist():
        raise ValueError(
            f"standardiser: features {flat} are constant in train, so they have no "
            "scale; drop them"
        )
    return Standardiser(mean.astype(data.dtype), deviation.astype(data.dtype))


def _fitting(where: str, x: Any, mean: Any) -> Any:
    """Return `x` as an array, checked to have the features that were measured."""
    x = x if hasattr(x, "dtype") else np.asarray(x)
    if x.shape[-1] != mean.shape[-1]:
        raise ValueError(
            f"{where}: x must have {mean.shape[-1]} features, as the part that was "
            f"measured; got {_checks.describe(x)}"
        )
    return x
