# SPDX-License-Identifier: Apache-2.0
"""How a block of time is run. It is chosen from shapes and jaxprs while tracing."""

import functools
import math
from typing import Any, NamedTuple

import jax

from recurrent_jax._core.arrays import is_float
from recurrent_jax._core.cell import feedback, update
from recurrent_jax._core.mesh import is_shared_out
from recurrent_jax._loop.loop import Loop, Static, part
from recurrent_jax._loop.tuning import tuning
from recurrent_jax.backward._engine import facts


class Plan(NamedTuple):
    """How a block is run. It never changes the result, and it is hashable."""

    static: Static
    project: facts.Product | None  # None if it is no matrix product
    feedback: facts.Product | None
    summed: tuple[bool, ...]  # for each gate: whether update reads only z + u
    reads: bool  # whether update reads a parameter, such as peepholes
    joint: bool  # whether the forward pass multiplies input and state in one product
    keep: bool  # whether gates are saved; if not, a whole block is recomputed at once
    late: frozenset[int]  # leaves of the carry that equal the output one step earlier
    stacked: frozenset[int]  # leaves of the carry that are saved
    gates: int
    rows: int  # the number of sequences in the batch
    flat: bool  # whether time and batch may be merged into one axis
    structure_of_u: Any


def make_plan(loop: Loop, carry: Any) -> Plan:
    """Return how to run the blocks of a loop."""
    cell = loop.cell
    feed = functools.partial(feedback, cell)
    params, x, carry = jax.eval_shape(
        lambda: (loop.params, jax.tree.map(lambda a: a[0], loop.xs), carry)
    )
    z = jax.eval_shape(cell.project, params, x)
    u = jax.eval_shape(feed, params, carry)
    # Not the size of a batch, which is a symbol under `jax.export`.
    widths = (a.shape[-1] for a in jax.tree.leaves(carry) if a.ndim)
    width = max((n for n in widths if isinstance(n, int)), default=0)
    tuned = tuning((loop.params, loop.xs))
    gates = _count_gates(z, width, tuned.most_gates)
    rest = functools.partial(update, cell)
    seen = facts.of_update(rest, params, carry, z, u, gates)
    rank = len(loop.batch_shape) + 1
    product = facts.product(feed, params, carry, rank)
    project = facts.product(cell.project, params, x, rank)
    depths = [
        jax.tree.leaves(params)[one.kernel].shape[0] if one else width
        for one in (project, product)
    ]
    joint = (
        project is not None
        and product is not None
        and project.precision == product.precision
        and len(jax.tree.leaves(x)) == 1
        and all(seen.summed)
    )
    rows = math.prod(loop.batch_shape)
    # The joint kernel is a copy. With few rows, it takes longer than what it saves.
    worth = not isinstance(rows * loop.time, int) or rows * loop.time >= sum(depths)
    total = sum(a.size * a.dtype.itemsize for a in jax.tree.leaves(z)) * loop.time
    # A batch whose size is a symbol, for `jax.export`, may be large.
    small = isinstance(total, int) and total <= tuned.remake_bytes
    keep = small or sum(depths) > tuned.keep_terms
    leaves = frozenset(range(len(jax.tree.leaves(carry))))
    counters = {n for n, a in enumerate(jax.tree.leaves(carry)) if not is_float(a)}
    late = seen.emitted if loop.flags == (None, None) else frozenset()
    fed = leaves if product is None else frozenset({product.source, *counters})
    return Plan(
        static=part(loop)[0],
        project=project,
        feedback=product,
        summed=seen.summed,
        reads=seen.reads,
        joint=joint and worth and tuned.narrow * depths[0] <= depths[1],
        keep=keep,
        late=late,
        stacked=(fed if keep and not seen.reads else leaves) - late,
        gates=gates,
        rows=rows,
        flat=_may_flatten(loop, carry),
        structure_of_u=jax.tree.structure(u),
    )


def _may_flatten(loop: Loop, carry: Any) -> bool:
    """Return whether time and batch may be merged into one axis of independent rows.

    They may not if the batch is sharded over devices, because it would be gathered.
    They may not either if there are integers and the cell does not declare `rowwise`.
    With a counter or a mask, the result of a row may depend on other rows, as in batch
    normalisation, or on a memory that belongs to the row.
    """
    arrays = loop.params, loop.xs, carry
    rowwise = loop.cell.rowwise or all(map(is_float, jax.tree.leaves(arrays)))
    return rowwise and not is_shared_out(arrays)


def _count_gates(z: Any, width: int, most: int) -> int:
    """Guess how many gates z contains. Only speed depends on the guess."""
    sizes = {a.shape[-1] if a.ndim else 0 for a in jax.tree.leaves(z)}
    if len(sizes) != 1 or not width:
        return 1
    count, rest = divmod(sizes.pop(), width)
    return count if not rest and 1 <= count <= most else 1
