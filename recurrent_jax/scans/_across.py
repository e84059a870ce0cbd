# SPDX-License-Identifier: Apache-2.0
"""Steps that are shared out over the devices of a mesh axis.

All steps of a device are one step of the state. The devices exchange these steps, once,
and each of them then knows the carry that its own steps start from.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from recurrent_jax._core.mesh import vary_alike
from recurrent_jax._loop.loop import Flags
from recurrent_jax.scans._diagonal import (
    Diagonal,
    Order,
    diagonal_states,
    join,
    started,
)
from recurrent_jax.scans._walk import befores, walk


@dataclasses.dataclass(frozen=True)
class Across:
    r"""A mesh axis over which `shard_map` shares time: each device has some steps.

    $$ s^{(d)} = A^{(d)} s^{(d-1)} + b^{(d)}, \qquad d = 1 \ldots n $$

    Attributes:
        axis: the mesh axis.
        reverse: whether the last device has the first steps.
    """

    axis: str
    reverse: bool = False

    def states(
        self, order: Order, element: Any, carry: Any, flags: Flags, fresh: Any
    ) -> tuple[Any, Any, Any]:
        """Return the carry before the steps of this device, after each, and at the end.

        Args:
            order: the order in which the states are computed on each device.
            element: diagonal steps, those of this device.
            carry: the initial carry of the whole sequence.
            flags: which steps are skipped, and which are reset.
            fresh: the carry that a reset restarts from.
        """
        element, carry, flags, fresh = _alike((element, carry, flags, fresh))
        steps = _up_to_each(order, element, flags)
        reset = flags.reset
        if reset is not None:
            reset = jnp.cumsum(reset, axis=0) > 0
        total = jax.tree.map(lambda a: a[-1], (steps, reset))
        start, final = self._bounds(order, total, carry, fresh)
        return start, started((steps, reset), start, fresh), final

    def walk(
        self, order: Order, step: Any, carry: Any, reset: jax.Array | None, fresh: Any
    ) -> tuple[Any, Any]:
        """Return the carry before each step of this device, and that after all steps.

        `carry` is the initial carry of the whole sequence.
        """
        step, carry, reset, fresh = _alike((step, carry, reset, fresh))
        if isinstance(step, Diagonal):
            flags = Flags(None, reset)
            start, states, final = self.states(order, step, carry, flags, fresh)
            return befores(start, states), final
        first = jax.tree.map(lambda a: a[0], (step, reset))
        rest = jax.tree.map(lambda a: a[1:], (step, reset))
        total, _ = lax.scan(lambda one, two: (join(one, two), None), first, rest)
        start, final = self._bounds(order, total, carry, fresh)
        return walk(order, step, start, reset, fresh)[0], final

    def _bounds(
        self, order: Order, total: Any, carry: Any, fresh: Any
    ) -> tuple[Any, Any]:
        """Return the carry before the steps of this device, and that after all steps.

        `total` is the steps of this device as one, after a reset if there is one, and
        whether there is.
        """
        totals, resets = self._gathered(total)
        here, last = lax.axis_index(self.axis), lax.axis_size(self.axis) - 1
        if self.reverse:
            totals, resets = jax.tree.map(lambda a: jnp.flip(a, 0), (totals, resets))
            here = last - here
        starts, final = walk(order, totals, carry, resets, fresh)

        # It is the same on all devices. An exchange says so to the types of JAX.
        def same(a: jax.Array) -> jax.Array:
            return lax.psum(jnp.where(here == last, a, jnp.zeros_like(a)), self.axis)

        def mine(a: jax.Array) -> jax.Array:
            return lax.dynamic_index_in_dim(a, here, keepdims=False)

        return jax.tree.map(mine, starts), jax.tree.map(same, final)

    def _gathered(self, tree: Any) -> Any:
        """Return the trees of all devices along a new first axis, by one exchange."""
        leaves, structure = jax.tree.flatten(tree)
        dtype = jnp.result_type(*(a for a in leaves if a.dtype != bool))
        flat = [a.astype(dtype).ravel() for a in leaves]
        # One exchange, since compilers do not join those of several arrays everywhere.
        whole, ends = lax.all_gather(jnp.concatenate(flat), self.axis), 0
        for n, leaf in enumerate(leaves):
            part = lax.slice_in_dim(whole, ends, ends + leaf.size, axis=1)
            part, ends = part.reshape(-1, *leaf.shape), ends + leaf.size
            leaves[n] = part != 0 if leaf.dtype == bool else part.astype(leaf.dtype)
        return structure.unflatten(leaves)


def _alike(trees: Any) -> Any:
    return vary_alike(trees, trees)


def _up_to_each(order: Order, element: Diagonal, flags: Flags) -> Diagonal:
    """Return the steps up to each one as one step, since the last reset.

    The carry of this recurrence is a step itself, to which others are added.
    """
    flag = flags.reset if flags.valid is None else flags.valid
    lead = jax.tree.leaves(element.added)[0].shape[:1] if flag is None else flag.shape
    none = Diagonal(
        jax.tree.map(
            lambda a: jnp.zeros((*lead, *a.shape[len(lead) :]), a.dtype), element.decay
        ),
        element.added,
    )
    start = jax.tree.map(lambda a: a[0], none).kept()
    none, start = (vary_alike(tree, element) for tree in (none, start))
    both = element._replace(added=none)
    return diagonal_states(order, both, start, flags, start)
