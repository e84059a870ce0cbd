# SPDX-License-Identifier: Apache-2.0
"""Dropout on the output, with one mask for all steps."""

import dataclasses
from typing import Any

import jax
from jax.typing import DTypeLike

from recurrent_jax._core.cell import C, P, Sampled, Y
from recurrent_jax._core.tracing import features_of, output
from recurrent_jax._core.types import Rate
from recurrent_jax.wrappers._wrapper import Wrapper, keep_mask, noise_of


@dataclasses.dataclass(frozen=True)
class OutputDropout(Wrapper[P, C, Y]):
    r"""Variational dropout on the output: one mask for the whole sequence.

    $$
    y_t \leftarrow \frac{m \odot y_t}{1 - \mathrm{rate}}, \qquad
    m_k \sim \mathrm{Bernoulli}(1 - \mathrm{rate})
    $$

    The state is not masked, so the next step sees all of it. Each sequence of a batch
    has its own mask. Dropout is active only with `unroll(..., key=key)`. Without a key,
    nothing is dropped.

    Args:
        cell: any cell.
        rate: the fraction of features to drop, below 1.

    Raises:
        TypeError, ValueError: if `cell` is not a cell, or if the rate is out of range.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> cell = rj.OutputDropout(rj.LSTM(3), rate=0.2)
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
        """Return the inputs, with a mask of the shape of the output."""
        key, inside = jax.random.split(key)
        y = output(self.cell, features_of(xs, lead))
        mask = keep_mask(key, self.rate, (*lead[1:], *y.shape), lead[0], dtype)
        return Sampled(self.cell.sample(inside, xs, lead, dtype), mask)

    def project(self, params: Any, x: Any) -> tuple[Any, Any]:
        """Return the inner cell's projection, and the mask."""
        x, mask = noise_of(x)
        return self.cell.project(params, x), mask

    def inner(self, z: Any) -> Any:
        """Return the inner cell's projection."""
        return z[0]

    def outer(self, y: Any, z: Any) -> Any:
        """Return the inner cell's masked output."""
        return y if z[1] is None else y * z[1]
