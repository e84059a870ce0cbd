# SPDX-License-Identifier: Apache-2.0
"""Gradient clipping against exploding gradients."""

import optax

from recurrent_jax import _checks
from recurrent_jax._core.types import Bound


@_checks.checked
def clipping(
    max_norm: Bound = None,
    max_value: Bound = None,
    max_ratio: Bound = None,
) -> optax.GradientTransformation:
    r"""Return Optax's clipping by global norm, value and ratio, in that order.

    $$
    g \leftarrow g \min(1, \mathrm{max\_norm} / \lVert g \rVert), \qquad
    g_k \leftarrow \min(\max(g_k, -\mathrm{max\_value}), \mathrm{max\_value})
    $$
    $$
    G_j \leftarrow G_j \min(1, \mathrm{max\_ratio} \lVert W_j \rVert /
    \lVert G_j \rVert) \quad \text{for every unit } j
    $$

    The norm comes first, because it scales the whole gradient and keeps its direction.
    The value then clips only the rare coordinate that still dominates. In the opposite
    order, the value would change the direction of every exploding gradient, and the
    norm would rarely act.

    The ratio is adaptive: it bounds the change of a unit, which is a column of a fused
    kernel, in proportion to the weights of that unit. It needs `params` in `update`.

    Put clipping first in the chain. Adaptive optimisers divide by the size of past
    gradients and would hide an explosion from clipping after them.

    The norm is a sum of squares, which overflows in float32 above 1e19. The update is
    then zero or NaN, and `optax.apply_if_finite` can skip it.
    `recurrent_jax.ClippedBackward` stops such an explosion earlier.

    Args:
        max_norm: greatest norm of all gradients together; None does not clip by norm.
        max_value: greatest magnitude of any one number; None does not clip by value.
        max_ratio: greatest norm of a unit's gradient, relative to the norm of its
            weights, or to 1e-3 if that is greater; None does not clip by ratio.

    Returns:
        A transformation for `optax.chain`. It does nothing if all bounds are None.

    Raises:
        ValueError: if a bound is not positive and finite.

    Example:
        >>> import jax.numpy as jnp, optax
        >>> from recurrent_jax.training import clipping
        >>> tx = optax.chain(clipping(max_norm=5.0, max_value=3.5), optax.sgd(1.0))
        >>> params = jnp.zeros(2)
        >>> updates, _ = tx.update(jnp.array([0.3, 40.0]), tx.init(params))
        >>> print(updates.round(2))
        [-0.04 -3.5 ]

    References:
        Pascanu, Mikolov and Bengio, 2013. On the difficulty of training recurrent
        neural networks. https://proceedings.mlr.press/v28/pascanu13.html
        Mikolov, 2012. Statistical language models based on neural networks (by value).
        Brock, De, Smith and Simonyan, 2021. High-performance large-scale image
        recognition without normalization (by ratio). https://arxiv.org/abs/2102.06171
    """
    steps = []
    if max_norm is not None:
        steps.append(optax.clip_by_global_norm(max_norm))
    if max_value is not None:
        steps.append(optax.clip(max_value))
    if max_ratio is not None:
        steps.append(optax.adaptive_grad_clip(max_ratio))
    return optax.chain(*steps) if steps else optax.identity()
