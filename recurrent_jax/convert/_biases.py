# SPDX-License-Identifier: Apache-2.0
"""One bias here, two there: on the side of the input and on that of the state.

Where both act as their sum, the sum is ours. The candidate of a GRU that resets after
the product keeps two: the reset gate scales the second.
"""

from recurrent_jax.convert._arrays import Array, join, nothing
from recurrent_jax.convert._gates import Convention

Pair = tuple[Array | None, Array | None]


def added(row: Convention, b: Array | None, b_r: Array | None) -> Array | None:
    """Return two biases of theirs as one of ours."""
    return None if b is None or b_r is None else row.ours(b + b_r)


def apart(row: Convention, bias: Array | None) -> Pair:
    """Return one bias of ours as two of theirs, the second of which adds nothing."""
    return (None, None) if bias is None else (row.theirs(bias), nothing(bias))


def gru_added(row: Convention, b: Array | None, b_r: Array | None) -> Pair:
    """Return two biases of theirs as ours: of all gates, and once more of n."""
    if b is None or b_r is None:
        return None, None
    b, b_r = row.ours(b), row.ours(b_r)
    H = b.shape[-1] // 3
    return join([b[: 2 * H] + b_r[: 2 * H], b[2 * H :]]), b_r[2 * H :]


def gru_apart(row: Convention, bias: Array | None, of_n: Array | None) -> Pair:
    """Return our biases as two of theirs."""
    if bias is None:
        return None, None
    H = bias.shape[-1] // 3
    of_n = nothing(bias[:H]) if of_n is None else of_n
    return row.theirs(bias), row.theirs(join([nothing(bias[: 2 * H]), of_n]))
