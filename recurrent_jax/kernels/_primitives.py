# SPDX-License-Identifier: Apache-2.0
"""The loop over a whole sequence, its tangent and its cotangent, as primitives.

All three take the leaves of the loop's arrays and of its carry. The tangent and the
cotangent also take the outputs and the residuals of the loop, and are linear in their
last arguments. Each of the two is the transpose of the other.

A platform with a kernel lowers a primitive to it (`_native.py`). This is the one place
where kernels enter: every other platform lowers to the forms in `_forms.py`.
"""

from typing import Any, NamedTuple

import jax
from jax.extend.core import Primitive

from recurrent_jax._loop.loop import Arrays, Flags, Loop, Static, join
from recurrent_jax.kernels._kernel import Kernel


class Call(NamedTuple):
    """The static part of a call. It is hashable.

    Attributes:
        kernel: the kernel of the cell.
        static: the static part of the loop. Its method runs the cell without a kernel.
            The batch has one axis. A time axis of 1 says that the inputs and the
            outputs are transposes of batch-major arrays.
        structure: the structure of the loop's arrays and its carry.
    """

    kernel: Kernel
    static: Static
    structure: Any

    @property
    def arity(self) -> int:
        """The number of leaves of the loop's arrays and its carry."""
        return int(self.structure.num_leaves)

    @property
    def kept(self) -> int:
        """The number of arrays that the tangent and the cotangent read besides."""
        return 1 + len(self.kernel.residuals)

    def loop(self, leaves: Any) -> tuple[Loop, Any]:
        """Return the loop and its initial carry."""
        arrays, carry = self.structure.unflatten(leaves)
        return join(self.static, arrays), carry

    def axes(self) -> list[int | None]:
        """Return the batch axis of each leaf, or None for a parameter."""
        arrays, carry = self.structure.unflatten(range(self.arity))

        def at(axis: int | None, tree: Any) -> list[int | None]:
            return [axis] * len(jax.tree.leaves(tree))

        time_first = Arrays(None, arrays.xs, arrays.flags, None)
        rows = (arrays.fresh, carry)
        return at(None, arrays.params) + at(1, time_first) + at(0, rows)


def new_call(
    kernel: Kernel, loop: Loop, otherwise: Any, carry: Any
) -> tuple[Call, list[jax.Array]]:
    """Return the call that runs a loop with one batch axis, and its leaves."""
    fresh = None if loop.flags.reset is None else loop.fresh
    arrays = Arrays(loop.params, loop.xs, Flags(*loop.flags), fresh)
    leaves, structure = jax.tree.flatten((arrays, carry))
    axis = loop.time_axis
    static = Static(loop.cell, loop.reverse, loop.batch_shape, axis, otherwise)
    return Call(kernel, static, structure), leaves


def _primitive(name: str) -> Primitive:
    primitive = Primitive(f"recurrent_jax_{name}")
    primitive.multiple_results = True
    return primitive


# (*leaves) -> ys, *final carry, *residuals if `saving`
forward_p = _primitive("forward")
# (*leaves, ys, *residuals, *tangents of the leaves `along`) -> of ys, *of final carry
tangent_p = _primitive("tangent")
# (*leaves, ys, *residuals, of ys, *of final carry) -> *cotangents of the leaves `along`
cotangent_p = _primitive("cotangent")
