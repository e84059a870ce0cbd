# SPDX-License-Identifier: Apache-2.0
"""Checks of what `unroll` and `step` are given, from how the input was read."""

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from recurrent_jax._checks.array_kinds import OneKey
from recurrent_jax._checks.declared import compared
from recurrent_jax._checks.kinds import PLAIN
from recurrent_jax._checks.params import features, of_structs, structs
from recurrent_jax._checks.values import array, built, float_dtype, integer
from recurrent_jax._checks.words import describe, outline


class Reading(NamedTuple):
    """How an input was read: what each of its axes is taken to be."""

    where: str
    argument: str
    cell: Any
    first: Any
    time_axis: int | None
    time: int | None
    batch_shape: tuple[int, ...]

    def __str__(self) -> str:
        axes = [f"batch={n}" for n in self.batch_shape]
        if self.time_axis is not None:
            axes.insert(self.time_axis, f"time={self.time}")
        features = self.first.shape[self.first.ndim - self.cell.feature_axes :]
        axes += [f"features={n}" for n in features]
        return (
            f"{self.argument} {describe(self.first)} read as ({', '.join(axes)}); "
            f"cell {self.cell!r}"
        )

    @property
    def swap_hint(self) -> str:
        """The likely fix where time and batch look exchanged."""
        if self.time_axis is None or not self.batch_shape:
            return ""
        now, then = ("first", 1) if self.time_axis == 0 else ("second", 0)
        return f". Time was read as the {now} axis: if it is not, pass time_axis={then}"


def options(
    reverse: Any, time_axis: Any, key: Any, resets: Any, reset_carry: Any
) -> None:
    """Check the options of `unroll` that are not arrays laid out like the input."""
    integer("unroll", "time_axis", time_axis)
    PLAIN[bool].check("unroll", "reverse", reverse)
    if key is not None:
        OneKey().check("unroll", "key", key)
    if resets is None and reset_carry is not None:
        raise ValueError(
            "unroll: reset_carry is given without resets, so it has no effect; pass "
            "resets as well, or carry=... for the state that the sequence starts from"
        )


def strategy(where: str, backward: Any) -> None:
    """Check that a backward strategy is one, and not its class."""
    built(where, "backward", backward, "rj.{}(...)")
    if not hasattr(backward, "run"):
        raise TypeError(
            f"{where}: backward must be a strategy such as rj.Autodiff() or "
            f"rj.Deferred(), got {backward!r}"
        )
    if hasattr(backward, "refuses"):
        raise TypeError(
            f"{where}: backward must be a strategy such as rj.Deferred(), got the "
            f"method {backward!r}; pass method={backward!r}"
        )
    if dataclasses.is_dataclass(backward):
        compared(type(backward).__name__, backward)


def method(where: str, value: Any) -> None:
    """Check that a method is one, and not its class."""
    built(where, "method", value, "rj.{}(...)")
    if not (hasattr(value, "run") and hasattr(value, "refuses")):
        raise TypeError(
            f"{where}: method must be one such as rj.Sequential(), got {value!r}"
        )
    if dataclasses.is_dataclass(value):
        compared(type(value).__name__, value)


def refusal(where: str, loop: Any) -> None:
    """Raise an error where a method cannot run a cell."""
    if (reason := loop.method.refuses(loop)) is not None:
        raise TypeError(
            f"{where}: method={loop.method!r} cannot run {loop.cell!r}: {reason}"
        )


def forward_mode(where: str, backward: Any, error: Exception) -> None:
    """Raise a clearer error where JAX refuses the forward mode of a strategy."""
    if isinstance(error, TypeError) and "forward-mode" in str(error):
        raise TypeError(
            f"{where}: {backward!r} changes the gradient in the backward loop, so it "
            "has no forward mode (jvp, jacfwd). rj.Deferred(), rj.Autodiff() and "
            "rj.Checkpointed() have it"
        ) from error


def read(where: str, argument: str, cell: Any, x: Any, time_axis: Any) -> Reading:
    """Check ranks, and return what each axis of `x` is; no time if `time_axis=None`."""
    if isinstance(x, list):
        raise TypeError(
            f"{where}: {argument} must be an array, or a tuple or dict of arrays, got "
            f"a list of {len(x)}; jax.numpy.asarray or stack makes it one array"
        )
    leaves = jax.tree.leaves_with_path(x)
    if not leaves:
        raise ValueError(f"{where}: {argument} must hold an array, got {outline(x)}")
    path, first = leaves[0]
    name = f"{argument}{jax.tree_util.keystr(path)}"
    has_time = time_axis is not None
    least = has_time + cell.feature_axes
    if first.ndim < least:
        axes = "(time, *batch, features)" if has_time else "(*batch, features)"
        raise ValueError(
            f"{where}: {name} must be {axes}, of rank {least} or more; got "
            f"{describe(first)}. A single number per step needs a feature axis: "
            f"{name}[..., None]"
        )
    batch_shape = list(first.shape[: first.ndim - cell.feature_axes])
    if not has_time:
        _same_axes(where, argument, leaves, tuple(batch_shape))
        return Reading(where, name, cell, first, None, None, tuple(batch_shape))
    axis = int(time_axis) + (first.ndim if time_axis < 0 else 0)
    if not 0 <= axis < len(batch_shape):
        raise ValueError(
            f"{where}: time_axis must be one of the first {len(batch_shape)} axes of "
            f"{name} {describe(first)}, since features come last; got {time_axis}"
        )
    time = batch_shape.pop(axis)
    for path, leaf in leaves:
        if leaf.ndim <= axis or leaf.shape[axis] != time:
            raise ValueError(
                f"{where}: every part of {argument} must have {time} steps on axis "
                f"{axis}, as {name} has, got {argument}{jax.tree_util.keystr(path)} "
                f"{describe(leaf)}; the order is (cell, params, {argument})"
            )
    _same_axes(where, argument, leaves, first.shape[: len(batch_shape) + 1])
    return Reading(where, name, cell, first, axis, time, tuple(batch_shape))


def _same_axes(where: str, argument: str, leaves: Any, lead: tuple[int, ...]) -> None:
    """Check that the parts of an input have the same axes of time and batch."""
    for path, leaf in leaves:
        # With fewer axes it is shared, or it is what only the cell knows.
        if leaf.ndim >= len(lead) and leaf.shape[: len(lead)] != lead:
            raise ValueError(
                f"{where}: every part of {argument} must begin with the axes {lead}, "
                f"as the first does, got {argument}{jax.tree_util.keystr(path)} "
                f"{describe(leaf)}"
            )


def step(cell: Any, params: Any, carry_: Any, x: Any) -> None:
    """Check the arguments of one step."""
    where = f"{type(cell).__name__}.step"
    order(where, cell, carry_, x, "(params, carry, x)")
    reading = read(where, "x", cell, x, time_axis=None)
    features(reading, params, x)
    carry(reading, params, "carry", carry_)


def order(where: str, cell: Any, carry: Any, x: Any, order: str) -> None:
    """Check that carry and input did not change places."""
    kind = getattr(cell, "Carry", None)
    if isinstance(kind, type) and isinstance(x, kind) and not isinstance(carry, kind):
        raise TypeError(f"{where}: a carry came last; the order is {order}")


def carry(reading: Reading, params: Any, argument: str, carry: Any) -> None:
    """Check structure, shapes and dtypes of a carry; nothing is broadcast."""
    cell, batch_shape = reading.cell, reading.batch_shape
    dtype = float_dtype(params, reading.first)
    tree, leaves = structs(params)
    expected = _start(cell, batch_shape, dtype, tree, leaves, jnp.result_type(float))
    if jax.tree.structure(carry) != jax.tree.structure(expected):
        raise TypeError(
            f"{reading.where}: {argument} must be {outline(expected)}, got "
            f"{outline(carry)}. {cell!r}.initial_carry({batch_shape}, params=params) "
            "makes one"
        )
    wanted = jax.tree.leaves(expected)
    for (path, got), want in zip(jax.tree.leaves_with_path(carry), wanted, strict=True):
        name = f"{argument}{jax.tree_util.keystr(path)}"
        if got.shape != want.shape:
            raise ValueError(
                f"{reading.where}: {name} must be {describe(want)}, got "
                f"{describe(got)} ({reading}){_carry_hint(reading, got, want)}"
            )
        if got.dtype != want.dtype:
            raise TypeError(
                f"{reading.where}: {name} is {got.dtype} but the cell computes in "
                f"{want.dtype}; cast it: {name}.astype({str(want.dtype)!r}) ({reading})"
            )


@functools.lru_cache(maxsize=512)
def _start(
    cell: Any, batch_shape: Any, dtype: Any, tree: Any, leaves: Any, default: Any
) -> Any:
    """Return shapes and dtypes of a carry; integers follow the default dtype."""
    params = of_structs(tree, leaves)
    return jax.eval_shape(lambda p: cell.initial_carry(batch_shape, dtype, p), params)


def _carry_hint(reading: Reading, got: Any, want: Any) -> str:
    batch = len(reading.batch_shape)
    if reading.time_axis is None and got.ndim + 1 == want.ndim:
        return (
            ". A step takes no axis of time: unroll takes all steps, step takes x[t]. "
            f"If x is one step, its carry is initial_carry({reading.batch_shape})"
        )
    if got.shape == (1, *want.shape):
        return ". It has an axis of layers; here a carry is that of one layer"
    if got.shape[batch:] != want.shape[batch:] and got.ndim == want.ndim:
        return (
            f". Its hidden size is {got.shape[batch:]}, that of the cell is "
            f"{want.shape[batch:]}"
        )
    if batch == 1 and got.ndim == want.ndim and got.shape[0] == reading.time:
        return f". Its batch is the number of steps{reading.swap_hint}"
    return ". A carry is not broadcast over the batch: jnp.broadcast_to does it"


def lengths(reading: Reading, lengths: Any) -> Any:
    """Return `lengths` as an array: integers, one for each sequence, from 0 to T."""
    if not isinstance(lengths, jax.Array):
        # Not `jnp.asarray`, which under `jit` would hide values that can be checked.
        try:
            # A list of no sequences would be one of floats.
            empty = isinstance(lengths, (list, tuple)) and np.size(lengths) == 0
            lengths = np.asarray(lengths, int if empty else None)
        except ValueError as error:  # of lists of several sizes
            message = f"{reading.where}: lengths must be integers: {error}"
            raise TypeError(message) from error
    got = f"lengths is {describe(lengths)} ({reading})"
    if not jnp.issubdtype(lengths.dtype, jnp.integer):
        is_mask = lengths.dtype == bool
        raise TypeError(
            f"{reading.where}: lengths must be integers, one for each sequence; {got}. "
            + ("Pass bools as mask=..." if is_mask else "Cast them: .astype(int)")
        )
    if lengths.shape != reading.batch_shape:
        swapped = lengths.shape == (reading.time,)
        raise ValueError(
            f"{reading.where}: lengths must have the batch shape "
            f"{reading.batch_shape}, one for each sequence; {got}"
            + (reading.swap_hint if swapped else "")
        )
    seen = not isinstance(lengths, jax.core.Tracer)
    if not seen or lengths.size == 0 or not _is_here(lengths):
        return lengths  # under jit, more than T counts as T, and less than 0 as 0
    values = np.asarray(lengths)
    low, high = int(values.min()), int(values.max())
    if low < 0 or high > int(reading.time or 0):
        raise ValueError(
            f"{reading.where}: lengths must lie between 0 and time={reading.time}, "
            f"got {low if low < 0 else high} ({reading})"
            + ("" if low < 0 else reading.swap_hint)
        )
    return lengths


def _is_here(x: Any) -> bool:
    """Say whether this process holds all of an array."""
    return not isinstance(x, jax.Array) or x.is_fully_addressable


def flags(reading: Reading, argument: str, flags: Any) -> None:
    """Check `mask` or `resets`: one bool for each step, laid out like the input."""
    if flags.dtype != bool:
        raise TypeError(
            f"{reading.where}: {argument} must be bool, one for each step, got "
            f"{describe(flags)}; make it {argument} != 0 ({reading})"
        )
    shape = list(reading.batch_shape)
    shape.insert(reading.time_axis or 0, reading.time or 0)
    if flags.shape != tuple(shape):
        swapped = flags.shape == (*shape[1::-1], *shape[2:])
        raise ValueError(
            f"{reading.where}: {argument} must be {tuple(shape)}, laid out as "
            f"{reading.argument} is; got {describe(flags)} ({reading})"
            + (f". Transpose it: {argument}.swapaxes(0, 1)" if swapped else "")
            + (f". Pass {argument}[..., 0]" if flags.shape == (*shape, 1) else "")
        )


def like_input(where: str, drawn: Any, x: Any) -> jax.Array:
    """Return what was drawn as the next input, which it must be like."""
    drawn = array(where, "what step predicts or draw draws", drawn)
    tokens = jnp.issubdtype(x.dtype, jnp.integer)
    if tokens and jnp.issubdtype(drawn.dtype, jnp.integer):
        drawn = drawn.astype(x.dtype)
    if (drawn.shape, drawn.dtype) != (x.shape, x.dtype):
        raise ValueError(
            f"{where}: what step predicts must become an input like the one before, "
            f"{describe(x)}; got {describe(drawn)}. Integers are tokens, "
            "drawn from logits (*batch, vocabulary); for numbers, pass draw=..."
        )
    return drawn
