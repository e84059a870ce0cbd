# SPDX-License-Identifier: Apache-2.0
"""Zoneout: random units keep their previous state."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from recurrent_jax import _checks
from recurrent_jax._core.cell import C, P, Sampled, Y
from recurrent_jax._core.tracing import carry_of, features_of
from recurrent_jax.wrappers._wrapper import Wrapper, noise_of


@dataclasses.dataclass(frozen=True)
class Zoneout(Wrapper[P, C, Y]):
    r"""Keep random units of the state at their previous value, drawn at each step.

    $$
    \begin{aligned}
    s_t &\leftarrow d_t \odot s_{t-1} + (1 - d_t) \odot s_t, \quad
        d_{t,k} \sim \mathrm{Bernoulli}(\mathrm{rate}) && \text{with a key} \\
    s_t &\leftarrow \mathrm{rate} \cdot s_{t-1} + (1 - \mathrm{rate}) \cdot s_t
        && \text{in evaluation}
    \end{aligned}
    $$

    In evaluation the state is the expectation over all draws.

    Zoneout applies to every part of the carry. For an LSTM, h and c each have their own
    mask, and h is computed from c before zoneout, as in the paper. The output is that
    of the carry after zoneout. A cell declares by `output` or `read` how its output
    follows from its carry. Wrappers that change the output go outside:
    `OutputDropout(Zoneout(cell))`. Use a rate of 0 for parts that have a meaning only
    together, such as a normaliser and what it normalises. Counters and other integers
    always take their new value.

    Args:
        cell: a cell that declares its output. All cells of this library do. The
            wrappers `OutputDropout` and `Residual` do not.
        rate: the fraction of units that keep their value, below 1, or one fraction for
            each part of the carry, in its order:
            `Zoneout(LSTM(64), LSTM.Carry(h=0.05, c=0.5))`.

    Raises:
        TypeError, ValueError: if `cell` is not a cell or does not declare its output,
            if a rate is out of range, or if there are more or fewer rates than parts.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> cell = rj.Zoneout(rj.LSTM(3), rj.LSTM.Carry(h=0.05, c=0.5))
        >>> params = cell.init(jax.random.key(0), in_features=2)
        >>> xs = jnp.ones((7, 5, 2))
        >>> carry, ys = rj.unroll(cell, params, xs, key=jax.random.key(1))  # training
        >>> carry, ys = rj.unroll(cell, params, xs)  # evaluation

    References:
        Krueger et al., 2017. Zoneout: regularizing RNNs by randomly preserving hidden
        activations. https://arxiv.org/abs/1606.01305
    """

    rate: Any  # a number, or one for each part of the carry

    def __post_init__(self) -> None:
        rates = jax.tree.leaves(self.rate, is_leaf=lambda r: r is None)
        for rate in rates or [self.rate]:
            _checks.rate("Zoneout", "rate", rate)
        super().__post_init__()
        if not self.cell.declares_output:
            raise TypeError(
                f"Zoneout: {self.cell!r} does not say how its output follows from its "
                'carry. Set output = "h" (the field that is the output) or output = '
                "None in its class. A wrapper that changes the output goes outside: "
                "OutputDropout(Zoneout(cell, rate))"
            )

    def sample(
        self, key: jax.Array, xs: Any, lead: tuple[int, ...], dtype: DTypeLike = float
    ) -> Sampled:
        """Return the inputs, with arrays that are 1 where the state is kept, else 0."""
        key, inside = jax.random.split(key)
        carry = carry_of(self.cell, features_of(xs, lead), lead[1:], dtype)
        leaves, tree = jax.tree.flatten(carry)
        keys = jax.random.split(key, len(leaves))
        each = zip(keys, leaves, self._rates(leaves), strict=True)
        stays = [
            jax.random.bernoulli(k, rate, (lead[0], *leaf.shape)).astype(dtype)
            if rate
            else None
            for k, leaf, rate in each
        ]
        noise = jax.tree.unflatten(tree, stays)
        return Sampled(self.cell.sample(inside, xs, lead, dtype), noise)

    def project(self, params: Any, x: Any) -> tuple[Any, Any]:
        """Return the inner cell's projection, and which units are kept."""
        x, stays = noise_of(x)
        return self.cell.project(params, x), stays

    def update(self, params: Any, carry: Any, z: Any, u: Any) -> tuple[Any, Any]:
        """Return the inner cell's carry and output, after zoneout."""
        z, stays = z
        after, y = super().update(params, carry, z, u)
        old, tree = jax.tree.flatten(carry)
        new = jax.tree.leaves(after)
        rates = self._rates(old)
        if stays is None:
            each = zip(old, new, rates, strict=True)
            mixed = [rate * a + (1 - rate) * b if rate else b for a, b, rate in each]
        else:
            drawn = jax.tree.leaves(stays, is_leaf=lambda s: s is None)
            each = zip(old, new, drawn, strict=True)
            mixed = [b if s is None else jnp.where(s > 0, a, b) for a, b, s in each]
        after = jax.tree.unflatten(tree, mixed)
        return after, self.cell.read(after, y)

    def read(self, carry: Any, y: Any) -> Any:
        """Return the output of the inner cell for a carry that was changed."""
        return self.cell.read(carry, y)

    def _rates(self, parts: list[Any]) -> list[float]:
        """Return a rate for every part of the carry."""
        rates = jax.tree.leaves(self.rate)
        if rates == [self.rate]:
            rates = rates * len(parts)
        if len(rates) != len(parts):
            raise ValueError(
                f"Zoneout: got {len(rates)} rates for the {len(parts)} parts of the "
                f"carry of {self.cell!r}; give one for each, or a single one for all"
            )
        is_float = [jnp.issubdtype(part.dtype, jnp.floating) for part in parts]
        return [rate if f else 0.0 for rate, f in zip(rates, is_float, strict=True)]
