# SPDX-License-Identifier: Apache-2.0
"""Batches of sequences of similar length."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jax.typing import ArrayLike

from recurrent_jax import _checks
from recurrent_jax._core.types import Count, Size
from recurrent_jax.ragged import _check


class Bucket(NamedTuple):
    """One batch of sequences of similar length."""

    indices: np.ndarray  # (batch,), of the sequences
    time: int  # the length to pad them to


@_checks.checked
def bounds(lengths: ArrayLike, count: Size) -> tuple[int, ...]:
    r"""Return up to `count` lengths to pad to, with the least padding possible.

    $$ \min_{b_1 < \dots < b_k} \sum_n \min \{ b_i : b_i \ge \ell_n \} $$

    The result is exact, by dynamic programming over the lengths that occur.

    Args:
        lengths: of all sequences, integers `(n,)`.
        count: number of buckets, and so of compiled shapes.

    Returns:
        The bounds in rising order. The last is the greatest length.

    Raises:
        TypeError, ValueError: if there are no lengths, or `count` is not positive.

    Example:
        >>> import recurrent_jax as rj
        >>> rj.ragged.bounds([2, 3, 3, 3, 9, 10], 2)
        (3, 10)
    """
    values = _checks.host_lengths("bounds", lengths)
    _check.some("bounds", values)
    sizes, times = np.unique(values, return_counts=True)
    upto = np.concatenate([[0], np.cumsum(times)])
    # cost[j]: of the first j sizes in k buckets; last[k][j]: start of the last bucket.
    cost = np.full(len(sizes) + 1, np.inf)
    cost[0] = 0
    last = []
    for _ in range(min(count, len(sizes))):
        each = cost[:, None] + (upto[None, 1:] - upto[:, None]) * sizes[None]
        each[np.arange(len(sizes) + 1)[:, None] > np.arange(len(sizes))[None]] = np.inf
        last.append(each.argmin(0))
        cost = np.concatenate([[np.inf], each.min(0)])
    chosen: list[int] = []
    j = len(sizes)
    for starts in reversed(last):
        chosen.append(int(sizes[j - 1]))
        j = starts[j - 1]
    return tuple(reversed(chosen))


@_checks.checked
def buckets(
    lengths: ArrayLike,
    *,
    batch_size: Size,
    bounds: Sequence[int],
    seed: Count | tuple[Count, ...] | None = None,
) -> list[Bucket]:
    """Return batches of sequences that are padded to the same length.

    One call is one epoch: every sequence occurs once. The last batch of each bucket may
    be smaller.

    Args:
        lengths: of all sequences, integers `(n,)`.
        batch_size: sequences in a batch.
        bounds: lengths to pad to, in rising order, for example from `bounds`.
        seed: of the order of sequences and batches, such as `(seed, epoch)`. Equal
            seeds lead to equal batches. None keeps the given order.

    Returns:
        A list of `Bucket(indices, time)`.

    Raises:
        TypeError, ValueError: if bounds do not rise, or a sequence is longer than the
            last bound.

    Example:
        >>> import recurrent_jax as rj
        >>> rj.ragged.buckets([2, 9, 3, 1], batch_size=2, bounds=(3, 9))[0]
        Bucket(indices=array([0, 2]), time=3)
    """
    values = _checks.host_lengths("buckets", lengths)
    edges = _check.rising("buckets", bounds, values)
    order = np.arange(len(values))
    random = None if seed is None else np.random.default_rng(seed)
    if random is not None:
        order = random.permutation(order)
    place = np.searchsorted(edges, values)
    batches = []
    for n, time in enumerate(edges):
        members = order[place[order] == n]
        for at in range(0, len(members), batch_size):
            batches.append(Bucket(members[at : at + batch_size], int(time)))
    if random is not None:
        batches = [batches[n] for n in random.permutation(len(batches))]
    return batches
