# SPDX-License-Identifier: Apache-2.0
"""A whole optimiser for recurrent networks, assembled from Optax."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import optax

from recurrent_jax import _checks
from recurrent_jax.training._clipping import clipping
from recurrent_jax.training._labels import decayed, relative_rates


def adamw(
    learning_rate: float | Callable[[Any], jax.Array],
    *,
    weight_decay: float = 0.0,
    max_norm: float | None = 1.0,
    max_value: float | None = None,
    max_ratio: float | None = None,
    rates: Mapping[str, float] | None = None,
    plateau: optax.GradientTransformationExtraArgs | None = None,
    skip: int = 0,
) -> optax.GradientTransformationExtraArgs:
    r"""Return Optax's AdamW with what recurrent networks want around it.

    In this order: `clipping` of the gradient, Adam, decay of kernels alone, rates by
    label, the plateau; and around all of it `optax.apply_if_finite`, which leaves
    parameters and averages alone where a gradient is not finite.

    Args:
        learning_rate: a number, or a schedule of Optax such as
            `optax.warmup_cosine_decay_schedule`.
        weight_decay: for kernels, see `decayed`; times the learning rate.
        max_norm: see `clipping`.
        max_value: see `clipping`.
        max_ratio: see `clipping`.
        rates: factors on the learning rate by label, see `relative_rates`.
        plateau: `optax.contrib.reduce_on_plateau(...)`, which reads the loss that
            `recurrent_jax.training.train_step` hands to the optimiser.
        skip: how many updates in a row may be skipped for not being finite; the next
            one is let through, so that a lasting fault shows. 0 skips none.

    Returns:
        An Optax transformation, complete: its updates are to be added.

    Raises:
        TypeError, ValueError: if an argument is out of its range.

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
    _checks.integer("adamw", "skip", skip)
    if not 0 <= weight_decay < float("inf"):
        raise ValueError(
            f"adamw: weight_decay must be finite and not negative, got {weight_decay}"
        )
    if skip < 0:
        raise ValueError(f"adamw: skip must not be negative, got {skip}")
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
