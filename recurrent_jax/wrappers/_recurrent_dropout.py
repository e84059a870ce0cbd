# SPDX-License-Identifier: Apache-2.0
"""Dropout on the recurrent connections, with one mask for all steps."""

import dataclasses
from typing import Any

import jax
from jax.typing import DTypeLike

from recurrent_jax._core.cell import C, P, Sampled, Y, feedback, update
from recurrent_jax._core.tracing import carry_of, features_of, multiplies, reads
from recurrent_jax._core.types import Rate
from recurrent_jax.wrappers._wrapper import Wrapper, keep_mask, noise_of


@dataclasses.dataclass(frozen=True)
class RecurrentDropout(Wrapper[P, C, Y]):
    r"""Variational dropout on recurrent connections: one mask for the whole sequence.

    $$
    u_t = \mathrm{feedback}\!\left(\frac{m \odot s_{t-1}}{1 - \mathrm{rate}}\right),
    \qquad m_k \sim \mathrm{Bernoulli}(1 - \mathrm{rate})
    $$

    Only the recurrent product sees the mask, as $(m \odot h) U$. All gates share one
    mask, which the paper calls tied weights. Keras draws one mask for each gate. The
    state that a gate keeps ($f \odot c$ of an LSTM, $z \odot h$ of a GRU) is not
    masked. Dropout is active only with `unroll(..., key=key)`. Without a key, nothing
    is dropped. The backward pass costs one extra product with U per step.

    Args:
        cell: a cell that computes all its recurrent products in `feedback`.
        rate: the fraction of the state to drop, below 1.

    Raises:
        TypeError, ValueError: if `cell` is not a cell, if the rate is out of range, or
            if the cell has products outside `feedback` that read the state.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> cell = rj.RecurrentDropout(rj.LSTM(3), rate=0.2)
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
        """Return the inputs, with masks for the parts of the carry that are read."""
        x = features_of(xs, lead)
        read = reads(self.cell, x)
        if not any(read) or multiplies(self.cell, x):
            raise ValueError(
                f"RecurrentDropout: {self.cell!r} has products outside of feedback, "
                "which the mask cannot reach; wrap the cells inside of it, or choose "
                "a form that splits"
            )
        key, inside = jax.random.split(key)
        carry = carry_of(self.cell, x, lead[1:], dtype)
        leaves, tree = jax.tree.flatten(carry)
        keys = jax.random.split(key, len(leaves))
        masks = [
            keep_mask(k, self.rate, leaf.shape, lead[0], dtype) if is_read else None
            for k, leaf, is_read in zip(keys, leaves, read, strict=True)
        ]
        noise = jax.tree.unflatten(tree, masks)
        return Sampled(self.cell.sample(inside, xs, lead, dtype), noise)

    def project(self, params: Any, x: Any) -> tuple[Any, Any]:
        """Return the inner cell's projection, and the masks."""
        x, masks = noise_of(x)
        return self.cell.project(params, x), masks

    def recur(self, params: Any, carry: Any, z: Any) -> tuple[Any, Any]:
        """Return the inner cell's step with a masked recurrent product."""
        z, masks = z
        if masks is None:
            return self.cell.recur(params, carry, z)
        seen = jax.tree.map(
            lambda m, s: s if m is None else m * s,
            masks,
            carry,
            is_leaf=lambda m: m is None,
        )
        return update(self.cell, params, carry, z, feedback(self.cell, params, seen))

    def read(self, carry: Any, y: Any) -> Any:
        """Return the output of the inner cell for a carry that was changed."""
        return self.cell.read(carry, y)
