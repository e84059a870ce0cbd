# SPDX-License-Identifier: Apache-2.0
"""Inputs with elapsed times, for the cells that read irregular series."""

from typing import Any, NamedTuple

import jax

from recurrent_jax import _checks


class Timed(NamedTuple):
    """An input, and the time since the input before it.

    The first step of a sequence has no step before it. Its elapsed time acts on the
    initial carry. For a series with regular steps, pass `jnp.ones(x.shape[:-1])`. With
    `reverse=True`, pass the time to the *later* neighbour.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> times = jnp.array([0.0, 0.5, 3.0, 3.1])
        >>> xs = rj.cells.Timed(jnp.ones((4, 2)), jnp.diff(times, prepend=times[0]))
        >>> cell = rj.TimeAwareLSTM(hidden_size=3)
        >>> params = cell.init(jax.random.key(0), in_features=2)
        >>> carry, ys = rj.unroll(cell, params, xs)
        >>> ys.shape
        (4, 3)
    """

    x: jax.Array  # (*lead, in)
    elapsed: jax.Array  # (*lead,)


def check(cell: Any, inputs: Any, kernel: jax.Array) -> None:
    """Check that an input is `Timed` and fits the kernel, `(in, out)`."""
    name = type(cell).__name__
    if not isinstance(inputs, Timed):
        raise TypeError(
            f"{name}: the input must be Timed(x, elapsed), got "
            f"{_checks.outline(inputs)}; steps of equal length are "
            "rj.cells.Timed(x, jnp.ones(x.shape[:-1], x.dtype))"
        )
    lead = inputs.x.shape[:-1]
    part(name, "x", inputs.x, (*lead, kernel.shape[0]), kernel.dtype)
    part(name, "elapsed", inputs.elapsed, lead, kernel.dtype)


def part(name: str, argument: str, got: jax.Array, shape: Any, dtype: Any) -> None:
    """Check the shape and dtype of one part of an input."""
    want = jax.ShapeDtypeStruct(shape, dtype)
    if got.shape != shape:
        extra = got.shape == (*shape, 1)
        raise ValueError(
            f"{name}: {argument} must be {_checks.describe(want)}, got "
            f"{_checks.describe(got)}"
            + (f". It has one axis too many: {argument}[..., 0]" if extra else "")
        )
    if got.dtype != dtype:
        raise TypeError(
            f"{name}: {argument} must be {_checks.describe(want)}, got "
            f"{_checks.describe(got)}; nothing is cast silently: "
            f"{argument}.astype({str(want.dtype)!r})"
        )
