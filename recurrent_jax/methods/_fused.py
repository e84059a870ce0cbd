# SPDX-License-Identifier: Apache-2.0
"""The method that runs a whole sequence in one compiled kernel."""

import dataclasses
import math
from typing import Any

import jax

from recurrent_jax import kernels
from recurrent_jax._core.mesh import is_shared_out
from recurrent_jax._loop.blocks import even
from recurrent_jax._loop.loop import Loop, run_steps
from recurrent_jax._loop.tuning import tuning
from recurrent_jax.backward import Autodiff, Checkpointed
from recurrent_jax.kernels import Kernel
from recurrent_jax.methods._sequential import Sequential


@dataclasses.dataclass(frozen=True)
class Fused:
    """Run the whole sequence in one call of a compiled kernel.

    There are kernels for `LSTM`, `GRU` and `Elman` with their standard activations: on
    a CPU in float32 and float64, on a TPU and on a Hopper GPU in float32 and bfloat16.
    Those for a TPU and a GPU were compiled and interpreted, and never run on one. A
    second kernel computes the gradient, from gates that the first one keeps. If they
    would take more than 256 MiB on a CPU, time is cut into blocks, and the gates of a
    block are computed once more, as with `Checkpointed`. Derivatives of higher order,
    forward mode and platforms without a kernel use the loop of `Sequential`.
    `rj.show_backends()` says what is in use.

    Raises:
        TypeError: from `unroll`, if there is no kernel for the cell, its activations or
            its dtype, if the weights do not fit into the fast memory of a TPU or a GPU,
            or if the arrays may be sharded over several devices.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> cell = rj.LSTM(3)
        >>> params = cell.init(jax.random.key(0), in_features=2)
        >>> xs = jnp.ones((7, 2))
        >>> _, ys = rj.unroll(cell, params, xs, method=rj.Fused())
        >>> ys.shape
        (7, 3)
    """

    # Class attributes. An annotation would turn them into dataclass fields.
    backward = Autodiff()
    steps = False

    def refuses(self, loop: Loop) -> str | None:
        """Return None, or why no kernel runs this loop."""
        found = kernel_for(loop.cell, (loop.params, loop.xs))
        if not isinstance(found, str):
            return None
        return f"{found}; rj.Sequential() runs every cell"

    def run(self, loop: Loop, carry: Any) -> tuple[Any, Any]:
        """Return the final carry and all outputs."""
        if loop.time == 0 or 0 in loop.batch_shape:
            return run_steps(loop, carry)[:2]
        kernel = kernels.find(loop.cell)
        assert isinstance(kernel, Kernel)
        rank, rows = len(loop.batch_shape), math.prod(loop.batch_shape)

        def flat(tree: Any, axis: int) -> Any:
            """Merge the batch axes, of which `axis` is the first."""
            return jax.tree.map(
                lambda a: a.reshape(*a.shape[:axis], rows, *a.shape[axis + rank :]),
                tree,
            )

        xs, flags = flat((loop.xs, loop.flags), 1)
        fresh, carry = flat((loop.fresh, carry), 0)
        flat_loop = loop._replace(
            xs=xs,
            flags=flags,
            fresh=fresh,
            batch_shape=(rows,),
            time_axis=loop.time_axis if rank == 1 else 0,
        )
        if (every := _block(kernel, flat_loop)) < loop.time:
            # Of each block a carry is saved, and its gates are computed once more.
            return Checkpointed(every).blocks(loop, carry)
        final, ys = kernels.run(kernel, flat_loop, Sequential(), carry)
        final = jax.tree.map(lambda a: a.reshape(*loop.batch_shape, a.shape[-1]), final)
        return final, ys.reshape(loop.time, *loop.batch_shape, ys.shape[-1])

    def befores(self, loop: Loop, carry: Any) -> Any:
        """Return the carry before each step, with time as the first axis."""
        return run_steps(loop, carry)[2]


def _block(kernel: Kernel, loop: Loop) -> int:
    """Return how many steps have a gradient at once: all, unless they keep too much."""
    cell: Any = loop.cell
    shapes = kernel.shapes(loop.xs, cell.hidden_size)
    kept = sum(map(math.prod, shapes)) * loop.xs.dtype.itemsize
    # Sizes that are symbols, in an exported program, have no kernel.
    if not isinstance(kept, int) or kept <= (most := tuning(loop.xs).fused_bytes):
        return loop.time
    return even(loop.time, max(1, int(loop.time * most / 8 // kept)))


def kernel_for(cell: Any, arrays: Any) -> Kernel | str:
    """Return the kernel that runs a cell on these parameters and inputs, or why not."""
    kernel = kernels.find(cell)
    if isinstance(kernel, str):
        return kernel
    if (reason := kernels.refuses(kernel, cell, arrays)) is not None:
        return reason
    if is_shared_out(arrays):
        return (
            "its arrays may be sharded over several devices, and a kernel runs on one"
        )
    return kernel
