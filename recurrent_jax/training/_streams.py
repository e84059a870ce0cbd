# SPDX-License-Identifier: Apache-2.0
"""Truncated back-propagation over streams: chunks pass a carry on, but no gradient."""

from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike

from recurrent_jax import _checks
from recurrent_jax._checks.input_kinds import OneArray
from recurrent_jax._core.input_types import Arrays, Place
from recurrent_jax._core.types import Size
from recurrent_jax.training._step import (
    Loss,
    Metrics,
    OneState,
    Optimizer,
    State,
    check_state,
    kind,
    train_step,
)

Sequence = Annotated[ArrayLike, OneArray(least=1, axes="(time, ...)")]
Streams = Annotated[jax.Array, OneArray(least=2, axes="(time, streams, ...)")]


class Chunk(NamedTuple):
    """Consecutive steps of all streams, with the next step of each as target."""

    inputs: jax.Array  # (length, streams, ...)
    targets: jax.Array  # (length, streams, ...)
    fresh: jax.Array  # (), bool: whether this is the start of the streams


@_checks.checked
def cut_streams(sequence: Sequence, count: Size) -> jax.Array:
    """Return one long sequence as `count` parallel streams.

    Stream k is the k-th part of the sequence. Streams have equal length, so up to
    `count - 1` steps at the end are left out.

    Args:
        sequence: `(time, ...)`, tokens or features.
        count: number of streams, the batch size of truncated back-propagation.

    Returns:
        `(time // count, count, ...)`.

    Raises:
        ValueError: if the sequence is too short for streams of two steps.

    Example:
        >>> import jax.numpy as jnp
        >>> from recurrent_jax.training import cut_streams
        >>> print(cut_streams(jnp.arange(9), 2))
        [[0 4]
         [1 5]
         [2 6]
         [3 7]]
    """
    sequence = jnp.asarray(sequence)
    if len(sequence) < 2 * count:
        raise ValueError(
            f"cut_streams: sequence {_checks.describe(sequence)} is too short for "
            f"{count} streams of two steps or more; take fewer streams"
        )
    time = len(sequence) // count
    pieces = sequence[: time * count].reshape(count, time, *sequence.shape[1:])
    return pieces.swapaxes(0, 1)


@_checks.checked
def count_chunks(streams: Streams, length: Size) -> int:
    """Return the number of chunks of `length` in the streams: the steps of an epoch.

    A chunk needs the step after it as a target, so this is `(time - 1) // length`.

    Args:
        streams: `(time, streams, ...)`, as `cut_streams` returns.
        length: steps of a chunk.

    Returns:
        The number of whole chunks, at least one.

    Raises:
        ValueError: if the streams are too short for one chunk.

    Example:
        >>> import jax.numpy as jnp
        >>> from recurrent_jax.training import count_chunks
        >>> count_chunks(jnp.zeros((101, 4)), 25)
        4
    """
    return _count("count_chunks", streams, length)


@_checks.checked
def take_chunk(streams: Streams, step: Place, *, length: Size) -> Chunk:
    """Return the chunk for a step, counted over all epochs.

    This is a pure function of the step, so a resumed run needs nothing else. After the
    end of the streams it starts again. Steps that do not fill a chunk are left out.

    Args:
        streams: `(time, streams, ...)`, as `cut_streams` returns.
        step: an integer; it may be traced.
        length: steps of a chunk, the maximum that a gradient reaches back.

    Returns:
        A `Chunk`; targets are the inputs one step later.

    Raises:
        ValueError: if the streams are too short.

    Example:
        >>> import jax.numpy as jnp
        >>> from recurrent_jax.training import cut_streams, take_chunk
        >>> streams = cut_streams(jnp.arange(9), 1)
        >>> inputs, targets, fresh = take_chunk(streams, 5, length=4)
        >>> print(inputs[:, 0], targets[:, 0], fresh)
        [4 5 6 7] [5 6 7 8] False
    """
    place = jnp.asarray(step) % _count("take_chunk", streams, length)
    streams = jnp.asarray(streams)
    cut = lax.dynamic_slice_in_dim(streams, place * length, length + 1)
    return Chunk(cut[:-1], cut[1:], place == 0)


@_checks.checked
def train_chunk(
    state: OneState,
    streams: Streams,
    *,
    length: Size,
    fresh: Arrays,
    loss: Loss,
    optimizer: Optimizer,
) -> tuple[State, Metrics]:
    """Return the state after one step of truncated back-propagation through time.

    It reads the chunk at `state.step` and starts from the carry of the last chunk, so
    the outputs are those of one long run. The gradient stops at the start of the chunk.

    Args:
        state: from `init_state(..., carry=fresh)` or from the last step.
        streams: `(time, streams, ...)`, as `cut_streams` returns.
        length: steps of a chunk.
        fresh: the initial carry of the streams, used once per epoch.
        loss: `(params, carry, chunk, key) -> (value, carry)`.
        optimizer: the one given to `init_state`.

    Returns:
        The next state, and `Metrics`.

    Raises:
        TypeError, ValueError: as `train_step` and `take_chunk` do.

    Example:
        >>> import functools, jax, jax.numpy as jnp, optax
        >>> import recurrent_jax as rj
        >>> cell, tx, waves = rj.GRU(8), optax.adam(0.02), jnp.sin(jnp.arange(801.0))
        >>> def loss(params, carry, chunk, key):
        ...     carry, ys = rj.unroll(cell, params, chunk.inputs, carry=carry)
        ...     return jnp.mean((ys[..., :1] - chunk.targets) ** 2), carry
        >>> fresh = cell.initial_carry((4,))
        >>> train = jax.jit(functools.partial(
        ...     rj.training.train_chunk, length=20, fresh=fresh, loss=loss,
        ...     optimizer=tx))
        >>> params = cell.init(jax.random.key(0), in_features=1)
        >>> state = rj.training.init_state(
        ...     params, tx, key=jax.random.key(1), carry=fresh)
        >>> data = rj.training.cut_streams(waves[:, None], 4)
        >>> for _ in range(150):
        ...     state, metrics = train(state, data)
        >>> bool(metrics.loss < 0.1)
        True

    References:
        Williams and Peng, 1990. An efficient gradient-based algorithm for on-line
        training of recurrent network trajectories.
        https://doi.org/10.1162/neco.1990.2.4.490
    """
    check_state("train_chunk", state, optimizer)
    order = "(params, carry, chunk, key) -> (value, carry)"
    _checks.takes("train_chunk", "loss", loss, order)
    _same_carry(fresh, state.carry)
    batch = take_chunk(streams, state.step, length=length)
    carry = jax.tree.map(
        lambda new, old: jnp.where(batch.fresh, new, old), fresh, state.carry
    )
    now = state._replace(carry=carry)
    return train_step(now, batch, loss=loss, optimizer=optimizer)


def _count(where: str, streams: Any, length: int) -> int:
    """Return how many chunks streams hold, which must be one or more."""
    time = np.shape(streams)[0]
    if time <= length:
        raise ValueError(
            f"{where}: streams of {time} steps are too short for a chunk of {length} "
            "and the step after it; take fewer streams or shorter chunks"
        )
    return (time - 1) // length


def _same_carry(fresh: Any, carry: Any) -> None:
    """Check that streams start from a carry like the one that they go on from."""
    if kind(fresh) != kind(carry):
        raise TypeError(
            f"train_chunk: fresh must be like state.carry, {_checks.shapes(carry)}; "
            f"got {_checks.shapes(fresh)}. Pass the same carry to init_state"
        )
