# SPDX-License-Identifier: Apache-2.0
"""Batch normalisation: moments over a batch, for one step and for all steps."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import DTypeLike

from recurrent_jax._core.arrays import expand_like
from recurrent_jax._core.cell import Cell


class BatchNormInput(NamedTuple):
    """A training input: what the cell reads, and which rows count.

    `unroll` replaces skipped steps by zeros, so a skipped row does not count.
    """

    x: jax.Array  # (*lead, features)
    counted: jax.Array  # (*lead, 1), 1 in a row that counts, 0 in others


class Moments(NamedTuple):
    """Means and variances of features."""

    mean: jax.Array
    variance: jax.Array


def over_batch(a: jax.Array, counted: jax.Array) -> Moments:
    """Return the moments over the last batch axis of the rows that count.

    The variance is divided by the number of rows, so a single row has variance 0.
    """
    if a.ndim < 2:
        raise ValueError(
            "BatchNormLSTM: training takes moments over the batch, but the input has "
            "no batch axis; evaluation, on a plain array, needs none"
        )
    count = jnp.maximum(counted.sum(-2, keepdims=True), 1)

    def mean(a: jax.Array) -> jax.Array:
        return _only(a, counted).sum(-2, keepdims=True) / count

    centre = mean(a)
    return Moments(centre, mean(jnp.square(a - centre)))


def over_steps(
    a: jax.Array, counted: jax.Array, slot: jax.Array, slots: int
) -> Moments:
    """Return the moments of all rows of all steps, for each slot, `(slots, features)`.

    A slot without rows takes the moments of the last slot before it that has rows.
    """
    a, counted, slot = a.reshape(-1, a.shape[-1]), counted.reshape(-1, 1), slot.ravel()

    def total(a: jax.Array) -> jax.Array:
        return jax.ops.segment_sum(_only(a, counted), slot, slots)

    count = total(counted)
    mean = total(a) / jnp.maximum(count, 1)
    variance = total(jnp.square(a - mean[slot])) / jnp.maximum(count, 1)
    nearest = lax.cummax(jnp.where(count[:, 0] > 0, jnp.arange(slots), 0))
    return Moments(mean[nearest], variance[nearest])


def normalise(
    a: jax.Array,
    moments: Moments,
    scale: jax.Array,
    bias: jax.Array | None,
    epsilon: float,
) -> jax.Array:
    """Return `a` normalised by these moments, then scaled and shifted."""
    y = (
        (a - moments.mean)
        * lax.rsqrt(moments.variance + epsilon)
        * expand_like(scale, a)
    )
    return y if bias is None else y + expand_like(bias, y)


def _only(a: jax.Array, counted: jax.Array) -> jax.Array:
    """Return `a` with rows that do not count set to zero, so that NaN cannot leak."""
    return jnp.where(counted > 0, a, jnp.zeros_like(a))


@dataclasses.dataclass(frozen=True)
class Recorder(Cell[Any, Any, Any]):
    """A `BatchNormLSTM` that outputs what it normalises, and which rows count."""

    cell: Cell[Any, Any, Any]

    def init(self, key: jax.Array, in_features: int, dtype: DTypeLike = float) -> Any:
        """Return the cell's parameters."""
        return self.cell.init(key, in_features, dtype)

    def initial_carry(
        self,
        batch_shape: tuple[int, ...] = (),
        dtype: DTypeLike = float,
        params: Any = None,
    ) -> Any:
        """Return the cell's carry."""
        return self.cell.initial_carry(batch_shape, dtype, params)

    def project(self, params: Any, x: Any) -> Any:
        """Return the cell's projection."""
        return self.cell.project(params, x)

    def recur(self, params: Any, carry: Any, z: Any) -> tuple[Any, Any]:
        """Return the cell's new state, and the record."""
        u = self.cell.feedback(params, carry)
        after, _ = self.cell.update(params, carry, z, u)
        x, counted = z
        return after, ((x, u, after.c), counted, carry.step)
