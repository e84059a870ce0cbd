# SPDX-License-Identifier: Apache-2.0
"""`unroll`, the loop that runs a cell over a sequence."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from recurrent_jax import _checks
from recurrent_jax._core.arrays import select, zeros
from recurrent_jax._core.cell import C, Cell, P, Y
from recurrent_jax._core.mesh import shard_alike, vary_alike, whole
from recurrent_jax._core.network import Network, Options
from recurrent_jax._loop.loop import (
    Arrays,
    Backward,
    Flags,
    Loop,
    Method,
    Static,
    join,
    valid_steps,
)
from recurrent_jax.methods._default import chosen


@_checks.called
def unroll(
    cell: Cell[P, C, Y] | Network[P, C, Y],
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
    method: Method | None = None,
    backward: Backward | None = None,
) -> tuple[C, Y]:
    r"""Run a cell over a sequence and return the final carry and all outputs.

    $$ (s_t, y_t) = \mathrm{step}(\theta, s_{t-1}, x_t), \qquad t = 1 \ldots T $$

    A step is *skipped* if it lies beyond `lengths`, or if its `mask` is False. The
    carry passes through a skipped step unchanged, and the output of the step is zero.
    The input of the step (NaN and inf included) and its reset have no effect on
    outputs, carry or gradients.

    Args:
        cell: any cell, or a network of cells such as `Deep` or `Bidirectional`.
        params: what `cell.init` returned.
        xs: the inputs, `(time, *batch, features)`, or a pytree of arrays with equal
            time axes. For batch-major data, `(batch, time, features)`, pass
            `time_axis=1`.
        carry: the initial state. If None, it is `cell.initial_carry`.
        lengths: integers, `(*batch)`: the number of valid steps of each right-padded
            sequence. A length above T is an error where its value is known. Under
            `jit`, it counts as T.
        mask: bool, `(time, *batch)`: False skips the step. Any step may be skipped.
        resets: bool, `(time, *batch)`: True restarts from `reset_carry` before that
            step.
        reset_carry: the state that a reset restarts from. If None, it is
            `cell.initial_carry`.
        reverse: whether to run from the last step to the first. Outputs stay at the
            positions of their inputs. Padding is skipped, so each sequence starts at
            its own end.
        time_axis: the time axis of `xs`, `mask`, `resets` and the outputs.
        key: a PRNG key for cells that draw random numbers, such as dropout and zoneout.
            None runs them in evaluation mode. The same key gives the same draws under
            `jit`, `vmap` and any `backward`.
        method: how time is run: `Sequential`, `Fused` or `CuDNN` for a cell that has a
            kernel, `Associative` or `Chunked` for a cell that is linear in its carry,
            `Newton`, or `Sharded` over a mesh. If None, it is `Chunked` for a linear
            cell, unless a loop is faster for it on a CPU. Else it is `Fused` if the
            cell has a kernel that gains there and you choose no `backward`, and
            otherwise `Sequential`.
        backward: how the gradient is computed: `Autodiff`, `Deferred`, `Checkpointed`,
            `ParallelBackward`, `Truncated` or `ClippedBackward`. If None, it is that of
            the method, which is `Deferred` for `Sequential` and `Autodiff` for the
            others. With a strategy, the default method is never `Fused`. Values depend
            on it by rounding alone.

    Returns:
        The carry after the last valid step, with parts `(*batch, hidden)`, and the
        outputs, `(time, *batch, hidden)`, with the same time axis as `xs`.

    Raises:
        ValueError: if shapes or lengths do not fit together.
        TypeError: if types or dtypes do not fit, or if `method` cannot run the cell.
            Nothing is cast or broadcast silently.

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
    _checks.options(reverse, time_axis, key, resets, reset_carry)
    if not isinstance(cell, Network):
        _checks.instance("unroll", cell, order="(cell, params, xs)")
        _checks.fields(cell)
    params = _checks.arrays("unroll", "params", params)
    xs = _checks.arrays("unroll", "xs", xs)
    asked = Options(
        carry,
        lengths,
        mask,
        resets,
        reset_carry,
        reverse,
        time_axis,
        key,
        method,
        backward,
    )
    if isinstance(cell, Network):
        return cell.run(params, xs, asked)
    return _unroll_cell(cell, params, xs, asked)


def _unroll_cell(
    cell: Cell[Any, Any, Any], params: Any, xs: Any, asked: Options
) -> tuple[Any, Any]:
    """Check what was asked for, choose method and strategy, and run the cell."""
    reading = _checks.read("unroll", "xs", cell, xs, asked.time_axis)
    _checks.features(reading, params, xs)
    _checks.activations(cell, params, reading.first.shape[-1:])
    time, axis = reading.time or 0, reading.time_axis or 0

    lengths = asked.lengths
    if lengths is not None:
        lengths = _checks.lengths(reading, lengths)
    mask = _flags(reading, "mask", asked.mask)
    resets = _flags(reading, "resets", asked.resets)
    method, backward = chosen(cell, params, xs, time, asked.method, asked.backward)

    carry = _given(reading, params, "carry", asked.carry)
    fresh = _given(reading, params, "reset_carry", asked.reset_carry)
    static = Static(cell, asked.reverse, reading.batch_shape, axis, method)
    arrays = Arrays(params, xs, Flags(mask, resets), fresh)
    try:
        return _run(backward, static, arrays, carry, lengths, asked.key)
    except Exception as error:
        error.add_note(f"unroll: {reading}")
        if "scan body function carry" in str(error):
            error.add_note(
                f"unroll: a step of {type(cell).__name__} returns another carry than "
                "it takes; recur and update return (carry, y), the carry first"
            )
        _checks.forward_mode("unroll", backward, error)
        raise


def _given(reading: _checks.Reading, params: Any, argument: str, given: Any) -> Any:
    """Return a carry that the user passed, checked, or None."""
    if given is None:
        return None
    given = jax.tree.map(_strong, _checks.arrays("unroll", argument, given))
    _checks.carry(reading, params, argument, given)
    return given


def _flags(reading: _checks.Reading, argument: str, given: ArrayLike | None) -> Any:
    """Return bools that the user passed, checked, or None."""
    if given is None:
        return None
    given = _checks.array("unroll", argument, given)
    _checks.flags(reading, argument, given)
    return given


# Compiled here with the cell as a static argument, so that calls outside `jit` are
# compiled once and not at every call. Inside `jit` it is inlined.
@functools.partial(jax.jit, static_argnames=("backward", "static"), inline=True)
def _run(
    backward: Backward,
    static: Static,
    arrays: Arrays,
    carry: Any,
    lengths: Any,
    key: jax.Array | None,
) -> tuple[Any, Any]:
    """Return the final carry and the outputs, with the time axis of the inputs."""
    cell, axis = static.cell, static.time_axis
    dtype = _checks.float_dtype(arrays.params, arrays.xs)
    # JAX refuses most equations of a cell on parameters that explicit axes cut.
    arrays = arrays._replace(params=whole(arrays.params))
    carry, fresh = _starts(static, arrays, carry, dtype)
    xs, flags = jax.tree.map(
        lambda a: jnp.moveaxis(a, axis, 0), (arrays.xs, arrays.flags)
    )
    loop = join(static, Arrays(arrays.params, xs, flags, fresh))
    loop = loop._replace(flags=_valid(loop, lengths))
    if loop.flags.valid is not None:
        # Mask before the cell reads the inputs. A NaN that is masked only afterwards is
        # already in the gradient, as 0 * NaN.
        xs = select(loop.flags.valid, xs, zeros(xs))
    if key is not None:
        lead = (loop.time, *loop.batch_shape)
        drawn = cell.sample(key, xs, lead, dtype)
        xs = shard_alike(drawn, xs, slice(len(lead)))
    starts = vary_alike((carry, loop.fresh), (loop.params, xs, loop.flags))
    carry, fresh = shard_alike(starts, xs, slice(1, 1 + len(loop.batch_shape)))
    loop = loop._replace(params=cell.prepare(loop.params), xs=xs, fresh=fresh)
    _checks.refusal("unroll", loop)
    carry, ys = backward.run(loop, carry)
    return carry, jax.tree.map(lambda y: jnp.moveaxis(y, 0, axis), ys)


def _starts(static: Static, arrays: Arrays, carry: Any, dtype: Any) -> tuple[Any, Any]:
    """Return the carries of the start and of a reset: those given, or the cell's own.

    Without resets, nothing reads the second.
    """
    fresh, has_resets = arrays.fresh, arrays.flags.reset is not None
    own = None
    if carry is None or (has_resets and fresh is None):
        own = static.cell.initial_carry(static.batch_shape, dtype, arrays.params)
    carry = own if carry is None else carry
    if not has_resets:
        return carry, carry
    return carry, own if fresh is None else fresh


def _valid(loop: Loop, lengths: Any) -> Flags:
    """Return the flags of a loop, of which `lengths` skip steps too."""
    valid, reset = valid_steps(loop.time, lengths, loop.flags.valid), loop.flags.reset
    return Flags(valid, reset if reset is None or valid is None else reset & valid)


def _strong(x: ArrayLike) -> jax.Array:
    """Return `x` as an array without a weak type, so that `scan` accepts it."""
    x = jnp.asarray(x)
    return lax.convert_element_type(x, x.dtype)
