# SPDX-License-Identifier: Apache-2.0
"""Stored outputs of a rollout, and the replay that should give them."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from recurrent_jax._loop.loop import Method, valid_steps
from recurrent_jax._loop.unroll import unroll


@dataclasses.dataclass(frozen=True)
class Replay:
    """The replay of stored inputs, from a carry and with resets.

    Attributes:
        options: `lengths`, `mask` and `reset_carry`, as for `unroll`.
    """

    cell: Any
    params: Any
    xs: Any
    time_axis: int
    method: Method | None
    options: dict[str, Any]

    def __call__(self, carry: Any, resets: Any) -> tuple[Any, Any]:
        """Return the final carry, and the outputs."""
        return unroll(
            self.cell,
            self.params,
            self.xs,
            carry=carry,
            resets=resets,
            time_axis=self.time_axis,
            method=self.method,
            **self.options,
        )

    @property
    def axis(self) -> int:
        """The axis of time, counted from the first one."""
        return int(self.time_axis) % jnp.ndim(jax.tree.leaves(self.xs)[0])


@dataclasses.dataclass(frozen=True)
class Rollout:
    """The stored outputs.

    Attributes:
        outputs: with time at `axis`.
        counts: `(time, *batch)`: which steps are compared.
        tolerance: the largest error, or None for that of the dtype.
    """

    outputs: Any
    axis: int
    counts: np.ndarray
    tolerance: float | None

    @classmethod
    def of(
        cls, replay: Replay, outputs: Any, batch: int, tolerance: float | None
    ) -> "Rollout":
        """Return outputs with so many axes of batch."""
        axis, mask = replay.axis, replay.options["mask"]
        shape = jnp.moveaxis(jax.tree.leaves(outputs)[0], axis, 0).shape[: 1 + batch]
        if mask is not None:
            mask = jnp.moveaxis(jnp.asarray(mask), axis, 0)
        valid = valid_steps(shape[0], replay.options["lengths"], mask)
        counts = np.broadcast_to(True if valid is None else valid, shape)
        return cls(outputs, axis, counts, tolerance)

    def errors(self, ys: Any, steps: slice = slice(None)) -> Any:
        """Return by how much each step of each sequence is off, zero within limits."""
        off = np.zeros(self.counts.shape)[steps]
        pairs = zip(jax.tree.leaves(ys), jax.tree.leaves(self.outputs), strict=True)
        for pair in pairs:
            a, b = (np.asarray(jnp.moveaxis(ys, self.axis, 0))[steps] for ys in pair)
            off = np.maximum(off, _off(a, b, self.counts[steps], self.tolerance))
        return off


def _off(a: Any, b: Any, counts: Any, tolerance: float | None) -> Any:
    """Return the error of each step of each sequence, zero where it is allowed."""
    eps = jnp.finfo(a.dtype).eps if jnp.issubdtype(a.dtype, jnp.floating) else 0
    a, b = (v.astype("float64").reshape(*counts.shape, -1) for v in (a, b))
    a, b = (np.where(counts[..., None], v, 0) for v in (a, b))
    allowed = float(eps) ** 0.5 if tolerance is None else tolerance
    allowed *= max(1.0, np.max(np.abs(a), initial=0.0, where=np.isfinite(a)))
    with np.errstate(invalid="ignore"):  # inf - inf
        distance = np.abs(a - b)
    worst = np.where(np.isnan(distance), np.inf, distance).max(-1, initial=0.0)
    return np.where(worst <= allowed, 0, worst)
