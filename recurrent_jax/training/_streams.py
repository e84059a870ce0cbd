# SPDX-License-Identifier: Apache-2.0
"""Truncated back-propagation over streams: the state goes on, the gradient does not."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jax.typing import ArrayLike

from recurrent_jax import _checks
from recurrent_jax.training._step import Loss, Metrics, State, train_step


class Chunk(NamedTuple):
    """A piece of all streams, and what comes one step after each of its inputs."""

    inputs: jax.Array  # (length, streams, ...)
    targets: jax.Array  # (length, streams, ...)
    fresh: jax.Array  # (), bool: whether the streams start here


def cut_streams(sequence: ArrayLike, count: int) -> jax.Array:
    """Return one long sequence as `count` streams side by side.

    Stream k is the k-th piece of the sequence; fewer than `count` steps at its end
    are left out, since streams are of one length.

    Args:
        sequence: `(time, ...)`, tokens or features.
        count: how many streams; the batch size of truncated back-propagation.

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
    _checks.size("cut_streams", "count", count)
    sequence = _checks.array("cut_streams", "sequence", sequence)
    if sequence.ndim == 0 or len(sequence) < 2 * count:
        raise ValueError(
            f"cut_streams: {_checks.describe(sequence)} is too short for {count} "
            "streams of two steps or more; take fewer streams"
        )
    time = len(sequence) // count
    pieces = sequence[: time * count].reshape(count, time, *sequence.shape[1:])
    return pieces.swapaxes(0, 1)


def count_chunks(streams: jax.Array, length: int) -> int:
    """Return how many chunks of `length` the streams hold: the steps of an epoch.

    Example:
        >>> import jax.numpy as jnp
        >>> from recurrent_jax.training import count_chunks
        >>> count_chunks(jnp.zeros((101, 4)), 25)
        4
    """
    _checks.size("count_chunks", "length", length)
    count = (len(streams) - 1) // length
    if count < 1:
        raise ValueError(
            f"count_chunks: streams of {len(streams)} steps are too short for a chunk "
            f"of {length} and the step after it; take fewer streams or shorter chunks"
        )
    return count


def take_chunk(streams: jax.Array, step: ArrayLike, *, length: int) -> Chunk:
    """Return the chunk that training reads at a step, counted over all epochs.

    A pure function of the step, so that to resume needs nothing else. At the end of
    the streams it begins anew; what does not fill a chunk there is left out.

    Args:
        streams: `(time, streams, ...)`, as `cut_streams` returns.
        step: an integer; it may be traced.
        length: steps of a chunk, which the gradient reaches back at most.

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
    place = jnp.asarray(step) % count_chunks(streams, length)
    cut = lax.dynamic_slice_in_dim(streams, place * length, length + 1)
    return Chunk(cut[:-1], cut[1:], place == 0)


def train_chunk(
    state: State,
    streams: jax.Array,
    *,
    length: int,
    fresh: Any,
    loss: Loss,
    optimizer: optax.GradientTransformation,
) -> tuple[State, Metrics]:
    """Return the state after one step of truncated back-propagation through time.

    Reads the chunk at `state.step` from where the last one left off: the carry goes
    on, so that the outputs are those of one long run, and the gradient stops at the
    start of the chunk.

    Args:
        state: what `init_state(..., carry=fresh)` or the last step returned.
        streams: `(time, streams, ...)`, as `cut_streams` returns.
        length: steps of a chunk.
        fresh: the carry that streams start from, once in an epoch.
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
    batch = take_chunk(streams, state.step, length=length)
    carry = jax.tree.map(
        lambda new, old: jnp.where(batch.fresh, new, old), fresh, state.carry
    )
    now = state._replace(carry=carry)
    return train_step(now, batch, loss=loss, optimizer=optimizer)
