# SPDX-License-Identifier: Apache-2.0
"""Dropout on the input, with one mask for all steps."""

import dataclasses
from typing import Any

import jax
from jax.typing import DTypeLike

from recurrent_jax import _checks
from recurrent_jax._core.cell import C, P, Sampled, Y
from recurrent_jax._core.types import Rate
from recurrent_jax.wrappers._wrapper import Wrapper, keep_mask, noise_of, plain, replace


@dataclasses.dataclass(frozen=True)
class InputDropout(Wrapper[P, C, Y]):
    r"""Variational dropout on the input: one mask for the whole sequence.

    $$
    x_t \leftarrow \frac{m \odot x_t}{1 - \mathrm{rate}}, \qquad
    m_k \sim \mathrm{Bernoulli}(1 - \mathrm{rate})
    $$

    Each sequence of a batch has its own mask. Dropout is active only with
    `unroll(..., key=key)`. Without a key, nothing is dropped.

    Args:
        cell: a cell whose input is one array.
        rate: the fraction of features to drop, below 1.

    Raises:
        TypeError, ValueError: if `cell` is not a cell, if its input is not one array,
            or if the rate is out of range.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> cell = rj.InputDropout(rj.LSTM(3), rate=0.2)
        >>> params = cell.init(jax.random.key(0), in_features=2)
        >>> key = jax.random.key(1)
        >>> carry, ys = rj.unroll(cell, params, jnp.ones((7, 5, 2)), key=key)
        >>> ys.shape
        (7, 5, 3)

    References:
        Gal and Ghahramani, 2016. A theoretically grounded application of dropout in
        recurrent neural networks. https://arxiv.org/abs/1512.05287
    """

    rate: Rate

    def sample(
        self, key: jax.Array, xs: Any, lead: tuple[int, ...], dtype: DTypeLike = float
    ) -> Sampled:
        """Return the inputs, with a mask of the same shape."""
        _checks.one_array("InputDropout", xs, "drop what is meant before unroll")
        key, inside = jax.random.split(key)
        mask = keep_mask(key, self.rate, xs.shape[1:], lead[0], dtype)
        return Sampled(self.cell.sample(inside, xs, lead, dtype), mask)

    def project(self, params: Any, x: Any) -> Any:
        """Return the inner cell's projection of the masked input."""
        x, mask = noise_of(x)
        if mask is not None:
            x = replace(x, plain(x) * mask)
        return self.cell.project(params, x)
