# SPDX-License-Identifier: Apache-2.0
"""Packing of many sequences into few rows, separated by resets."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from recurrent_jax import _checks
from recurrent_jax._checks.input_kinds import Tree
from recurrent_jax._core.arrays import trail
from recurrent_jax.ragged import _check


class Packing(NamedTuple):
    """The position of each step of padded sequences in packed rows, from `packing`."""

    source: np.ndarray  # (row_time, rows), flat index into (time, batch)
    valid: np.ndarray  # (row_time, rows), bool: for `mask`
    resets: np.ndarray  # (row_time, rows), bool: for `resets`
    target: np.ndarray  # (time, batch), flat index into (row_time, rows)
    inside: np.ndarray  # (time, batch), bool

    def pack(self, xs: Any) -> Any:
        """Return padded arrays `(time, batch, ...)` in rows, with zeros in the gaps."""
        return _moved("pack", xs, self.target.shape, self.source, self.valid)

    def unpack(self, ys: Any) -> Any:
        """Return packed arrays `(row_time, rows, ...)` in padded form, with zeros.

        The order of the sequences is that of `lengths`.
        """
        return _moved("unpack", ys, self.source.shape, self.target, self.inside)


def packing(
    lengths: ArrayLike, *, time: int | None = None, row_time: int | None = None
) -> Packing:
    """Return a plan that packs many sequences one after another into few rows.

    A reset at each start separates the sequences. Results and gradients are those of
    separate runs, with less padding:

        plan = packing(lengths, row_time=512)
        _, ys = rj.unroll(
            cell, params, plan.pack(xs), mask=plan.valid, resets=plan.resets)
        ys = plan.unpack(ys)

    The final carry is that of the last sequence in each row. For the last output of
    every sequence call `rj.tasks.last_output(ys, lengths=lengths)`.

    Args:
        lengths: of the sequences, integers `(batch,)`, known before tracing.
        time: steps of the padded array; those of the longest sequence if None.
        row_time: steps of a row; those of the longest sequence if None.

    Returns:
        A `Packing`. Each sequence, longest first, goes into the first row with room.

    Raises:
        ValueError: if a sequence is longer than a row.

    Example:
        >>> import numpy as np
        >>> import recurrent_jax as rj
        >>> plan = rj.ragged.packing([2, 3, 1, 0])
        >>> xs, lengths = rj.ragged.pad([[1, 2], [3, 4, 5], [6], []])
        >>> print(plan.pack(xs).T)
        [[3 4 5]
         [1 2 6]]
        >>> print(plan.resets.T.astype(int))
        [[1 0 0]
         [1 0 1]]

    References:
        Johnson, 1973. Near-optimal bin packing algorithms (first-fit decreasing: at
        most about 11/9 of the fewest rows). https://dspace.mit.edu/handle/1721.1/57819
    """
    counts = _checks.host_lengths("packing", lengths)
    time = _check.fits("packing", counts, time)
    row_time = _check.fits("packing", counts, row_time, "row_time")
    row, offset, rows = _first_fit(counts, row_time)
    step, batch = np.indices((time, len(counts)))
    inside = step < counts
    target = np.where(inside, (offset + step) * rows + row, 0)
    source = np.zeros(row_time * rows, int)
    valid = np.zeros(row_time * rows, bool)
    resets = np.zeros(row_time * rows, bool)
    places = target[inside]
    source[places] = (step * len(counts) + batch)[inside]
    valid[places] = True
    resets[target[(step == 0) & inside]] = True
    shape = (row_time, rows)
    return Packing(
        source=source.reshape(shape),
        valid=valid.reshape(shape),
        resets=resets.reshape(shape),
        target=target,
        inside=inside,
    )


def _first_fit(counts: np.ndarray, row_time: int) -> tuple[np.ndarray, np.ndarray, int]:
    """Return the row and the first step of each sequence, and the number of rows."""
    row, offset = np.zeros_like(counts), np.zeros_like(counts)
    used = np.zeros(len(counts), int)
    for n in np.argsort(-counts, kind="stable"):
        if counts[n]:
            row[n] = np.argmax(used + counts[n] <= row_time)
            offset[n] = used[row[n]]
            used[row[n]] += counts[n]
    return row, offset, int((used > 0).sum())


def _moved(where: str, tree: Any, lead: Any, index: Any, valid: Any) -> Any:
    """Return arrays with their first two axes rearranged, and zeros where not valid."""
    Tree().check(where, "xs" if where == "pack" else "ys", tree)

    def one(a: jax.Array) -> jax.Array:
        a = jnp.asarray(a)
        _check.leads(where, a, lead)
        flat = a.reshape(lead[0] * lead[1], *a.shape[2:])
        if flat.shape[0] == 0:
            return jnp.zeros((*index.shape, *a.shape[2:]), a.dtype)
        moved = flat[index]
        return jnp.where(trail(jnp.asarray(valid), moved), moved, jnp.zeros_like(moved))

    return jax.tree.map(one, tree)
