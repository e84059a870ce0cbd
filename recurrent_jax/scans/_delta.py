# SPDX-License-Identifier: Apache-2.0
"""Steps that write back what a matrix holds for a key, such as the delta rule."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from recurrent_jax.scans._outer import Asked, MatrixCarry, Outer
from recurrent_jax.scans._sums import (
    Spans,
    Sums,
    by_channel,
    lasting,
    left,
    since_start,
    sums,
    weights,
    written,
)


class Delta(NamedTuple):
    r"""The step $S \leftarrow \mathrm{diag}(e^{g}) S + w (r^\top S) + k v^\top$.

    What the state holds for r is written back along w. With $r = -e^g k$ and
    $w = \beta k$, and $\beta v$ for v, it is the gated delta rule, which replaces the
    value that the state has for a key.

    Attributes:
        log_decay: g, `(*lead, heads)`, or one for each channel, `(*lead, heads, K)`.
        look_up: r, `(*lead, heads, K)`. It reads the state before its decay.
        write: w, `(*lead, heads, K)`.
        key: k, `(*lead, heads, K)`.
        value: v, `(*lead, heads, V)`.
    """

    log_decay: jax.Array
    look_up: jax.Array
    write: jax.Array
    key: jax.Array
    value: jax.Array

    def apply(self, carry: MatrixCarry) -> MatrixCarry:
        """Return the carry after the step."""
        S = carry.S
        found = jnp.einsum("...k,...kv->...v", self.look_up, S)
        S = jnp.exp(by_channel(self.log_decay, self.key))[..., None] * S
        S = S + self.write[..., :, None] * found[..., None, :]
        return type(carry)(S + self.key[..., :, None] * self.value[..., None, :])

    # As those of `Outer`: they read the state, the decay and the key alone.
    look = Outer.look
    chunk_size = Outer.chunk_size
    kept = Outer.kept

    def chunk(self, query: jax.Array, spans: Spans) -> tuple["Dense", Asked]:
        r"""Return each chunk as one step, and its queries.

        What the steps find obeys $R = L R + F + E S$, with S the state before the
        chunk. L is strictly lower triangular, since a step finds only what earlier
        steps wrote. One triangular system gives $R = F' + E' S$ for all states S.
        """
        g, r, w, k, v = self
        at, before = sums(spans, g)
        axis = r.ndim - 2
        size = r.shape[axis]

        # What the steps look up and what they are asked, in one product each.
        def both(a: jax.Array, b: jax.Array) -> jax.Array:
            return jnp.concatenate([a, b], axis)

        decay = Sums(*(both(a, b) for a, b in zip(before, at, strict=True)))
        asked = both(r, query)
        of_keys, of_writes = weights(asked, decay, k), weights(asked, decay, w)
        start = since_start(asked, decay)
        right = jnp.concatenate([of_keys @ v, start], -1)
        right, of_queries = jnp.split(right, [size], axis)
        lower, of_writes = jnp.split(of_writes, [size], axis)

        found = inverse(lower) @ right
        # The part without the state before the chunk, then the factor of that state.
        own, query = jnp.split(of_queries + of_writes @ found, [v.shape[-1]], axis=-1)
        last_k, last_w = lasting(at, k), lasting(at, w)
        added = written(last_k, v)
        change = written(last_w, found)
        more, matrix = jnp.split(change, [v.shape[-1]], axis=-1)
        step = Dense(left(at, k)[..., None], matrix, MatrixCarry(added + more))
        return step, Asked(query, own)


class Dense(NamedTuple):
    r"""The step $S \leftarrow (\mathrm{diag}(a) + M) S + B$ of a whole chunk."""

    decay: jax.Array  # (..., heads, K or 1, 1)
    matrix: jax.Array  # (..., heads, K, K)
    added: MatrixCarry

    def apply(self, carry: MatrixCarry) -> MatrixCarry:
        """Return the carry after the step."""
        S = self.decay * carry.S + self.matrix @ carry.S
        return MatrixCarry(S + self.added.S)

    def after(self, first: "Dense") -> "Dense":
        """Return one step that is `first` and then this one."""
        a, M, _ = self
        earlier, first_M, added = first
        matrix = a * first_M + M * jnp.swapaxes(earlier, -1, -2) + M @ first_M
        return Dense(a * earlier, matrix, self.apply(added))


SMALL = 8  # the size below which halves are not worth their own products


@jax.custom_jvp
def inverse(lower: jax.Array) -> jax.Array:
    r"""Return $(1 - L)^{-1}$ of strictly lower triangular L, `(..., heads, C, C)`.

    $$
    \begin{pmatrix} A & 0 \\ -B & D \end{pmatrix}^{-1} =
    \begin{pmatrix} A^{-1} & 0 \\ D^{-1} B A^{-1} & D^{-1} \end{pmatrix}
    $$

    Halves of halves, and so on: products alone. On a CPU, the triangular solve of JAX
    0.10 runs in a thread that waits for others of its own pool. When several ran at a
    time, in the training of a delta rule on two cores, all waited for ever.
    """
    size = lower.shape[-1]
    if size <= SMALL or size % 2:
        return _small_inverse(lower)
    half = size // 2
    halves = lower[..., :half, :half], lower[..., half:, half:]
    A, D = jnp.split(inverse(jnp.concatenate(halves, -3)), 2, -3)
    below = _exactly(_exactly(D, lower[..., half:, :half]), A)
    upper = jnp.concatenate([A, jnp.zeros_like(A)], -1)
    return jnp.concatenate([upper, jnp.concatenate([below, D], -1)], -2)


@inverse.defjvp
def _inverse_tangent(lower: tuple, change: tuple) -> tuple[jax.Array, jax.Array]:
    X = inverse(*lower)
    return X, _exactly(_exactly(X, *change), X)


def _small_inverse(lower: jax.Array) -> jax.Array:
    """Return the same: of blocks of one row, then of two, of four and so on."""
    rows = np.arange(lower.shape[-1])
    axes = (1,) * (lower.ndim - 2)
    one = jnp.eye(len(rows), dtype=lower.dtype).reshape(*axes, len(rows), len(rows))
    X, width = jnp.zeros_like(lower) + one, 1  # sharded alike
    while width < len(rows):
        block = rows // width
        same = block[:, None] // 2 == block // 2
        below = same & (block[:, None] % 2 == 1) & (block % 2 == 0)
        B = jnp.where(below.reshape(*axes, *below.shape), lower, 0)
        X, width = X + _exactly(_exactly(X, B), X), 2 * width
    return X


def _exactly(left: jax.Array, right: jax.Array) -> jax.Array:
    """Return the product in the precision of its numbers: errors would add up."""
    return jnp.matmul(left, right, precision=jax.lax.Precision.HIGHEST)
