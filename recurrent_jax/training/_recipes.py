# SPDX-License-Identifier: Apache-2.0
"""A complete optimiser for recurrent networks, built from Optax."""

from collections.abc import Callable
from typing import Annotated, Any

import jax
import optax

from recurrent_jax import _checks
from recurrent_jax._checks.input_kinds import Scalar
from recurrent_jax._core.types import Bound, Count, NonNegative
from recurrent_jax.training._clipping import clipping
from recurrent_jax.training._labels import Rates, decayed, relative_rates
from recurrent_jax.training._step import Optimizer

LearningRate = (
    Annotated[float | jax.Array, Scalar(least=0)] | Callable[[Any], jax.Array]
)


@_checks.checked
def adamw(
    learning_rate: LearningRate,
    *,
    weight_decay: NonNegative = 0.0,
    max_norm: Bound = 1.0,
    max_value: Bound = None,
    max_ratio: Bound = None,
    rates: Rates | None = None,
    plateau: Optimizer | None = None,
    skip: Count = 0,
) -> optax.GradientTransformationExtraArgs:
    r"""Return Optax's AdamW with common additions for recurrent networks.

    The order is: `clipping` of the gradient, Adam, decay of kernels, rates by label,
    and the plateau. `optax.apply_if_finite` wraps all of these and skips an update if a
    gradient is not finite.

    Args:
        learning_rate: a number, or a schedule of Optax such as
            `optax.warmup_cosine_decay_schedule`.
        weight_decay: of kernels, see `decayed`. The learning rate multiplies it.
        max_norm: see `clipping`.
        max_value: see `clipping`.
        max_ratio: see `clipping`.
        rates: factors on the learning rate by label, see `relative_rates`.
        plateau: `optax.contrib.reduce_on_plateau(...)`, which reads the loss that
            `recurrent_jax.training.train_step` passes to the optimiser.
        skip: number of consecutive updates that may be skipped because they are not
            finite. The next one is applied, so that a lasting fault shows. 0 skips
            none.

    Returns:
        A complete Optax transformation, whose updates are added to the parameters.

    Raises:
        TypeError, ValueError: if an argument is out of range.

    Example:
        >>> import jax, optax
        >>> import recurrent_jax as rj
        >>> params = rj.LSTM(hidden_size=3).init(jax.random.key(0), in_features=2)
        >>> rate = optax.warmup_cosine_decay_schedule(0.0, 3e-3, 100, 2000)
        >>> tx = rj.training.adamw(
        ...     rate, weight_decay=0.01, rates={"recurrent_kernel": 0.5}, skip=5,
        ...     plateau=optax.contrib.reduce_on_plateau(accumulation_size=50))
        >>> state = rj.training.init_state(params, tx, key=jax.random.key(1))

    References:
        Loshchilov and Hutter, 2019. Decoupled weight decay regularization.
        https://arxiv.org/abs/1711.05101
    """
    steps = [
        clipping(max_norm, max_value, max_ratio),
        optax.adamw(learning_rate, weight_decay=weight_decay, mask=decayed),
    ]
    if rates is not None:
        steps.append(relative_rates(rates))
    if plateau is not None:
        steps.append(plateau)
    whole = optax.with_extra_args_support(optax.chain(*steps))
    if skip == 0:
        return whole
    return optax.with_extra_args_support(optax.apply_if_finite(whole, skip))
