# SPDX-License-Identifier: Apache-2.0
"""The one loop: a cell over a sequence."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike

from recurrent_jax import _checks
from recurrent_jax._core.arrays import select, zeros
from recurrent_jax._core.cell import C, Cell, P
from recurrent_jax._core.mesh import shard_alike, vary_alike
from recurrent_jax._core.network import Network, Options
from recurrent_jax._loop.loop import Arrays, Flags, Static, join, valid_steps
from recurrent_jax.backward import Backward, Deferred

_DEFAULT = Deferred()


def unroll(
    cell: Cell[P, C] | Network[P, C],
    params: P,
    xs: Any,
    *,
    carry: Any = None,
    lengths: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    resets: ArrayLike | None = None,
    reset_carry: Any = None,
    reverse: bool = False,
    time_axis: int = 0,
    key: jax.Array | None = None,
    backward: Backward = _DEFAULT,
) -> tuple[C, Any]:
    r"""Run a cell over a sequence and return the final carry and all outputs.

    $$ (s_t, y_t) = \mathrm{step}(\theta, s_{t-1}, x_t), \qquad t = 1 \ldots T $$

    A step is *skipped* if it lies beyond `lengths` or its `mask` is False. It is as
    if the step were not there: the carry passes through, its output is zero, and
    nothing it holds (an input, NaN and inf included, or a reset) has any effect on
    outputs, carry or gradients.

    Args:
        cell: any cell, or a network of cells: `Deep`, `Bidirectional`.
        params: what `cell.init` returned.
        xs: the inputs, `(time, *batch, features)`, or a pytree of arrays with equal
            time axes. N x T x D data is `time_axis=1`.
        carry: the state to start from; `cell.initial_carry` if None.
        lengths: integers, `(*batch)`: the valid steps of right-padded sequences. More
            than T is an error where it can be seen, and counts as T under `jit`.
        mask: bool, `(time, *batch)`: False skips a step anywhere.
        resets: bool, `(time, *batch)`: True starts afresh before that step.
        reset_carry: the state that a reset starts from; `cell.initial_carry` if
            None.
        reverse: run from the last step to the first. Outputs stay at their inputs'
            places; padding is skipped, so a run starts at each sequence's own end.
        time_axis: the axis of time in `xs`, `mask`, `resets` and the outputs.
        key: for cells that draw: dropout, zoneout and the like. None switches them to
            evaluation. One key gives the same draws under `jit`, `vmap` and any
            `backward`.
        backward: how the gradient is made: `Autodiff`, `Deferred`, `Checkpointed`,
            `Truncated` or `ClippedBackward`. Values do not depend on it.

    Returns:
        The carry after the last valid step, each part `(*batch, hidden)`, and the
        outputs, `(time, *batch, hidden)`, with time where `xs` has it.

    Raises:
        ValueError: if shapes or lengths do not fit together.
        TypeError: if types or dtypes do not; nothing is cast or broadcast silently.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> cell = rj.LSTM(hidden_size=3)
        >>> params = cell.init(jax.random.key(0), in_features=2)
        >>> xs = jnp.ones((7, 5, 2))
        >>> carry, ys = rj.unroll(cell, params, xs, lengths=jnp.array([7, 2, 0, 1, 4]))
        >>> carry.h.shape, ys.shape
        ((5, 3), (7, 5, 3))
        >>> print(jnp.abs(ys[:, 1]).sum(-1) > 0)
        [ True  True False False False False False]
    """
    if isinstance(cell, Network):
        params = _checks.arrays("unroll", "params", params)
        xs = _checks.arrays("unroll", "xs", xs)
        asked = Options(
            carry, lengths, mask, resets, reset_carry, reverse, time_axis, key, backward
        )
        return cell.run(params, xs, asked)
    _checks.instance("unroll", cell, order="(cell, params, xs)")
    _checks.fields(cell)
    _checks.options(reverse, time_axis, resets, reset_carry)
    params = _checks.arrays("unroll", "params", params)
    xs = _checks.arrays("unroll", "xs", xs)
    reading = _checks.read("unroll", "xs", cell, xs, time_axis)
    _checks.features(reading, params, xs)

    dtype = _checks.float_dtype(params, xs)

    def start(argument: str, given: Any) -> Any:
        if given is None:
            return cell.initial_carry(reading.batch_shape, dtype, params)
        given = jax.tree.map(_strong, _checks.arrays("unroll", argument, given))
        _checks.carry(reading, params, argument, given)
        return given

    def flags(argument: str, given: ArrayLike | None) -> Any:
        if given is None:
            return None
        given = _checks.array("unroll", argument, given)
        _checks.flags(reading, argument, given)
        return jnp.moveaxis(given, reading.time_axis or 0, 0)

    if lengths is not None:
        # Not jnp.asarray: under jit it would hide values that can be checked.
        lengths = lengths if isinstance(lengths, jax.Array) else np.asarray(lengths)
        _checks.lengths(reading, lengths)
    valid = valid_steps(reading.time or 0, lengths, flags("mask", mask))
    reset = flags("resets", resets)
    if reset is not None and valid is not None:
        reset = reset & valid
    static = Static(cell, reverse, reading.batch_shape, reading.time_axis or 0)
    arrays = Arrays(params, xs, Flags(valid, reset), start("reset_carry", reset_carry))
    _checks.strategy("unroll", backward)
    try:
        return _run(backward, static, arrays, start("carry", carry), key)
    except Exception as error:
        error.add_note(f"unroll: {reading}")
        _checks.forward_mode("unroll", backward, error)
        raise


# Compiled here, keyed by the cell's value, so that calls outside of `jit` are compiled
# once and not at every call; inside of one it dissolves.
@functools.partial(jax.jit, static_argnames=("backward", "static"), inline=True)
def _run(
    backward: Backward,
    static: Static,
    arrays: Arrays,
    carry: Any,
    key: jax.Array | None,
) -> tuple[Any, Any]:
    """Return final carry and outputs, time where the inputs have it."""
    cell, axis = static.cell, static.time_axis
    xs = jax.tree.map(lambda a: jnp.moveaxis(a, axis, 0), arrays.xs)
    loop = join(static, arrays._replace(xs=xs))
    if loop.flags.valid is not None:
        # Before the cell sees them: a NaN that is masked only afterwards is already
        # in the gradient, as 0 * NaN.
        xs = select(loop.flags.valid, xs, zeros(xs))
    if key is not None:
        dtype = _checks.float_dtype(loop.params, xs)
        xs = cell.sample(key, xs, (loop.time, *loop.batch_shape), dtype)
    starts = vary_alike((carry, loop.fresh), (loop.params, xs, loop.flags))
    carry, fresh = shard_alike(starts, xs, len(loop.batch_shape))
    loop = loop._replace(params=cell.prepare(loop.params), xs=xs, fresh=fresh)
    carry, ys = backward.run(loop, carry)
    return carry, jax.tree.map(lambda y: jnp.moveaxis(y, 0, axis), ys)


def _strong(x: ArrayLike) -> jax.Array:
    """Return `x` as an array that does not promote weakly, so that scan accepts it."""
    x = jnp.asarray(x)
    return lax.convert_element_type(x, x.dtype)
