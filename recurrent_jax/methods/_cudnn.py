# SPDX-License-Identifier: Apache-2.0
"""The method that runs an LSTM in NVIDIA's library of kernels."""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp

from recurrent_jax import kernels
from recurrent_jax._core.arrays import select, zeros
from recurrent_jax._core.cell import HiddenCellCarry
from recurrent_jax._core.mesh import is_shared_out, kind_of
from recurrent_jax._loop.loop import Loop, run_steps
from recurrent_jax.backward import Autodiff


@dataclasses.dataclass(frozen=True)
class CuDNN:
    r"""Run an LSTM in cuDNN, on a GPU of NVIDIA, through `jax.experimental.rnn`.

    cuDNN computes the equations of `LSTM` with its standard activations, in float32.
    Lengths, masks, both directions and initial carries work: skipped steps are moved
    behind the others. Resets, forward mode, `vmap` and second derivatives do not. The
    precision of products is that of `jax.default_matmul_precision`, which by default
    allows TF32. This call has never run on a GPU. Its arguments and results are tested
    with `lstm_ref`, which is JAX's description of cuDNN.

    Raises:
        TypeError: from `unroll`, if the arrays are not on a GPU of NVIDIA or not
            float32, if they may be sharded over several devices, if there are resets,
            or if the cell is not an `LSTM` that cuDNN has.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> cell = rj.LSTM(3)
        >>> params = cell.init(jax.random.key(0), in_features=2)
        >>> method = rj.CuDNN() if jax.default_backend() == "gpu" else None
        >>> _, ys = rj.unroll(cell, params, jnp.ones((7, 2)), method=method)
        >>> ys.shape
        (7, 3)

    References:
        Appleyard, Kočiský and Blunsom, 2016. Optimizing performance of recurrent neural
        networks on GPUs. https://arxiv.org/abs/1604.01946
    """

    # Class attributes. An annotation would turn them into dataclass fields.
    backward = Autodiff()
    steps = False

    def refuses(self, loop: Loop) -> str | None:
        """Return None, or why cuDNN cannot run this loop."""
        why = _refuses(loop)
        return None if why is None else f"{why}; rj.Sequential() runs every cell"

    def run(self, loop: Loop, carry: Any) -> tuple[Any, Any]:
        """Return the final carry and all outputs."""
        if loop.time == 0 or 0 in loop.batch_shape:
            return run_steps(loop, carry)[:2]
        rows, rank = math.prod(loop.batch_shape), len(loop.batch_shape)

        def flat(a: jax.Array, axis: int) -> jax.Array:
            return a.reshape(*a.shape[:axis], rows, *a.shape[axis + rank :])

        valid = loop.flags.valid
        valid = None if valid is None else flat(valid, 1)
        h, c = flat(carry.h, 0), flat(carry.c, 0)
        h, c, ys = _run(loop.params, flat(loop.xs, 1), valid, h, c, loop.reverse)
        final = HiddenCellCarry(h, c)
        final = jax.tree.map(lambda a: a.reshape(*loop.batch_shape, a.shape[-1]), final)
        return final, ys.reshape(loop.time, *loop.batch_shape, ys.shape[-1])

    def befores(self, loop: Loop, carry: Any) -> Any:
        """Return the carry before each step, with time as the first axis."""
        return run_steps(loop, carry)[2]


def _refuses(loop: Loop) -> str | None:
    arrays = loop.params, loop.xs
    kernel = kernels.find(loop.cell)
    if isinstance(kernel, str):
        return kernel
    if kernel.name != "lstm":
        return f"JAX calls cuDNN for an LSTM, and not for {type(loop.cell).__name__}"
    if loop.flags.reset is not None:
        return "cuDNN has no resets"
    names = sorted({str(a.dtype) for a in jax.tree.leaves(arrays)})
    if names != ["float32"]:
        return f"JAX calls cuDNN for float32, and the arrays are {', '.join(names)}"
    if not (kind := kind_of(arrays)).startswith("NVIDIA"):
        return f"cuDNN runs on a GPU of NVIDIA, and the arrays are on {kind!r}"
    if is_shared_out(arrays):
        return "its arrays may be sharded over several devices, and cuDNN runs on one"
    return None


def _run(
    params: Any, xs: jax.Array, valid: Any, h: jax.Array, c: jax.Array, reverse: bool
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Return h, c and the outputs of a loop with one batch axis.

    cuDNN runs forward over the first steps of each sequence. So the steps are put in
    the order in which they run, and the skipped ones are put behind them.
    """
    if reverse:
        xs = jnp.flip(xs, 0)
        valid = None if valid is None else jnp.flip(valid, 0)
    if valid is None:
        h, c, ys = _call(params, xs, jnp.full(xs.shape[1], xs.shape[0], "int32"), h, c)
    else:
        order = jnp.argsort(~valid, axis=0, stable=True)
        packed = jnp.take_along_axis(xs, order[..., None], axis=0)
        lengths = jnp.sum(valid, axis=0, dtype=jnp.int32)
        # A sequence without a step runs one, which nothing reads.
        new_h, new_c, ys = _call(params, packed, jnp.maximum(lengths, 1), h, c)
        h, c = select(lengths > 0, (new_h, new_c), (h, c))
        place = jnp.maximum(jnp.cumsum(valid, axis=0, dtype=jnp.int32) - 1, 0)
        ys = jnp.take_along_axis(ys, place[..., None], axis=0)
        ys = select(valid, ys, zeros(ys))
    return h, c, jnp.flip(ys, 0) if reverse else ys


def _call(
    params: Any, xs: jax.Array, lengths: jax.Array, h: jax.Array, c: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Return h, c and the outputs of the first `lengths` steps."""
    from jax.experimental import rnn

    D, H = xs.shape[-1], h.shape[-1]
    zero = jnp.zeros(4 * H, xs.dtype)  # the second of its biases
    bias = zero if params.bias is None else params.bias
    matrices = [a.T.ravel() for a in (params.kernel, params.recurrent_kernel)]
    weights = jnp.concatenate([*matrices, bias, zero])
    xs = jnp.swapaxes(xs, 0, 1)
    layers, dropout, bidirectional = 1, 0.0, False
    given = (xs, h[None], c[None], weights, lengths, D, H, layers, dropout)
    ys, h, c = rnn.lstm(*given, bidirectional)
    return h[0], c[0], jnp.swapaxes(ys, 0, 1)
