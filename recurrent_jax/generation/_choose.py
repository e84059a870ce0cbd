# SPDX-License-Identifier: Apache-2.0
"""Functions that set the logits of excluded tokens to minus infinity."""

from typing import Annotated

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from recurrent_jax import _checks
from recurrent_jax._checks.input_kinds import Scalar
from recurrent_jax._core.input_types import Logits
from recurrent_jax._core.types import Size

Mass = Annotated[ArrayLike, Scalar(above=0, most=1)]


@_checks.checked
def top_k(logits: Logits, k: Size) -> jax.Array:
    """Return logits, with all but the `k` greatest set to minus infinity.

    Of equal logits the first are kept, so that exactly `k` remain.

    Args:
        logits: `(*batch, vocabulary)`.
        k: at least 1. If it exceeds the vocabulary, all are kept.

    Returns:
        Logits of the same shape.

    Raises:
        TypeError, ValueError: if `k` is not a positive integer.

    Example:
        >>> import jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> print(rj.generation.top_k(jnp.array([1.0, 3.0, 2.0]), 2))
        [-inf   3.   2.]

    References:
        Fan, Lewis and Dauphin, 2018. Hierarchical neural story generation.
        https://arxiv.org/abs/1805.04833
    """
    logits = jnp.asarray(logits)
    if k >= logits.shape[-1]:
        return logits
    _, best = lax.top_k(logits, k)
    keep = jax.nn.one_hot(best, logits.shape[-1], dtype=bool).any(-2)
    return jnp.where(keep, logits, -jnp.inf)


@_checks.checked
def top_p(logits: Logits, p: Mass) -> jax.Array:
    """Return logits, with all outside of the nucleus set to minus infinity.

    The nucleus is the smallest set of most probable tokens that together have a
    probability of at least `p`. It always contains the most probable token.

    Args:
        logits: `(*batch, vocabulary)`.
        p: above 0 and at most 1, which keeps all. May be traced.

    Returns:
        Logits of the same shape.

    Raises:
        ValueError: if `p` is out of range.

    Example:
        >>> import jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> logits = jnp.log(jnp.array([0.2, 0.5, 0.3]))
        >>> print(rj.generation.top_p(logits, 0.7) > -jnp.inf)
        [False  True  True]

    References:
        Holtzman et al., 2020. The curious case of neural text degeneration.
        https://arxiv.org/abs/1904.09751
    """
    logits = jnp.asarray(logits)
    order = jnp.argsort(logits, axis=-1, descending=True)
    mass = jax.nn.softmax(jnp.take_along_axis(logits, order, axis=-1), axis=-1)
    before = jnp.cumsum(mass, axis=-1) - mass
    p = jnp.asarray(p, logits.dtype)
    keep = (before < p) | (p >= 1)
    keep = jnp.take_along_axis(keep, jnp.argsort(order, axis=-1), axis=-1)
    return jnp.where(keep, logits, -jnp.inf)
