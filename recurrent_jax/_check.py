# SPDX-License-Identifier: Apache-2.0
"""Checks of what the user passes, and their messages.

They run once, before the loop, on shapes and dtypes alone, so compiled code does not
pay for them; only concrete `lengths` are looked into. Cells are known by the protocol
alone. A message names the function, the argument, what each axis was read as, what was
expected, what came, and the likely fix.
"""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


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


def describe(x: Any) -> str:
    """Return dtype and shape, such as `float32[5,2]`."""
    return f"{x.dtype}[{','.join(map(str, x.shape))}]"


def fields(cell: Any) -> None:
    """Check the fields of a cell: hashable, sizes positive, functions callable."""
    name = type(cell).__name__
    for field in dataclasses.fields(cell):
        value = getattr(cell, field.name)
        try:
            hash(value)
        except TypeError:
            raise TypeError(
                f"{name}: field {field.name!r} holds a {type(value).__name__}, which "
                "does not hash, so jit could not tell one cell from another; fields "
                "are numbers, strings, functions and tuples of them. An array belongs "
                "into the parameters that init returns"
            ) from None
        if field.name.endswith("_size"):
            size(name, field.name, value)
        is_function = field.name.endswith(("activation", "_init"))
        if is_function and not callable(value) and not isinstance(value, tuple):
            raise TypeError(
                f"{name}: field {field.name!r} must be a function, got {value!r}; "
                "pass one such as jax.numpy.tanh"
            )


def size(where: str, argument: str, value: Any) -> None:
    """Check one size: an integer of at least 1."""
    if not isinstance(value, int | np.integer) or isinstance(value, bool):
        raise TypeError(f"{where}: {argument} must be an integer, got {value!r}")
    if value < 1:
        raise ValueError(f"{where}: {argument} must be at least 1, got {value}")


def instance(where: str, cell: Any) -> None:
    """Check that a cell is a cell, and not its class."""
    if isinstance(cell, type):
        raise TypeError(
            f"{where}: cell is the class {cell.__name__}; build one first: "
            f"{cell.__name__}(hidden_size=...)"
        )
    if not hasattr(cell, "recur"):
        raise TypeError(
            f"{where}: cell must be a recurrent_jax.Cell, got "
            f"{type(cell).__name__}; the order is (cell, params, xs)"
        )


def read(where: str, argument: str, cell: Any, x: Any, time_axis: Any) -> Reading:
    """Check ranks, and return what each axis of `x` is; no time if `time_axis=None`."""
    leaves = jax.tree.leaves(x)
    if not leaves:
        raise ValueError(f"{where}: {argument} holds no array")
    first = leaves[0]
    has_time = time_axis is not None
    least = has_time + cell.feature_axes
    if first.ndim < least:
        axes = "(time, *batch, features)" if has_time else "(*batch, features)"
        raise ValueError(
            f"{where}: {argument} must be {axes}, of rank {least} or more; got "
            f"{describe(first)}. A single number per step needs a feature axis: "
            f"{argument}[..., None]"
        )
    batch_shape = list(first.shape[: first.ndim - cell.feature_axes])
    if not has_time:
        return Reading(where, argument, cell, first, None, None, tuple(batch_shape))
    if not isinstance(time_axis, int | np.integer):
        raise TypeError(f"{where}: time_axis must be an integer, got {time_axis!r}")
    axis = int(time_axis) + (first.ndim if time_axis < 0 else 0)
    if not 0 <= axis < len(batch_shape):
        raise ValueError(
            f"{where}: time_axis={time_axis} is no time or batch axis of {argument} "
            f"{describe(first)}, whose last {cell.feature_axes} are features"
        )
    time = batch_shape.pop(axis)
    for path, leaf in jax.tree.leaves_with_path(x):
        if leaf.ndim <= axis or leaf.shape[axis] != time:
            raise ValueError(
                f"{where}: every part of {argument} must have {time} steps on axis "
                f"{axis}, as the first has; "
                f"{argument}{jax.tree_util.keystr(path)} is {describe(leaf)}"
            )
    return Reading(where, argument, cell, first, axis, time, tuple(batch_shape))


def step(cell: Any, params: Any, carry_: Any, x: Any) -> None:
    """Check the arguments of one step."""
    reading = read(f"{type(cell).__name__}.step", "x", cell, x, time_axis=None)
    features(reading, params, x)
    carry(reading, params, "carry", carry_)


def features(reading: Reading, params: Any, x: Any) -> None:
    """Check that params with a `kernel (in, out)` were made for this input.

    Other cells, and inputs of several arrays, are left to JAX.
    """
    kernel: Any = getattr(params, "kernel", None)
    if not hasattr(kernel, "ndim") or kernel.ndim != 2 or not hasattr(x, "dtype"):
        return
    if jnp.issubdtype(x.dtype, jnp.integer) or x.dtype == bool:
        raise TypeError(
            f"{reading.where}: {reading.argument} must be floating point, got "
            f"{x.dtype}. Tokens need an embedding first: table[tokens], or "
            f"jax.nn.one_hot ({reading})"
        )
    if x.shape[-1] != kernel.shape[0]:
        misplaced = x.ndim > 1 and kernel.shape[0] in x.shape[:-1]
        raise ValueError(
            f"{reading.where}: {reading.argument} has {x.shape[-1]} features, but "
            f"params were made for {kernel.shape[0]} ({reading})"
            + (". Features must be the last axis" if misplaced else "")
        )
    for path, leaf in jax.tree.leaves_with_path(params):
        if leaf.dtype != x.dtype:
            raise TypeError(
                f"{reading.where}: {reading.argument} is {x.dtype} but "
                f"params{jax.tree_util.keystr(path)} is {leaf.dtype}; nothing is cast "
                f"silently. Cast one: {reading.argument}.astype({str(leaf.dtype)!r}), "
                f"or jax.tree.map(lambda p: p.astype({str(x.dtype)!r}), params) "
                f"({reading})"
            )


def float_dtype(params: Any, x: Any) -> Any:
    """Return the dtype that a cell computes in: that of its first float array."""
    for leaf in jax.tree.leaves((params, x)):
        if jnp.issubdtype(leaf.dtype, jnp.floating):
            return leaf.dtype
    return jnp.zeros(()).dtype


def carry(reading: Reading, params: Any, argument: str, carry: Any) -> None:
    """Check structure, shapes and dtypes of a carry; nothing is broadcast."""
    cell, batch_shape = reading.cell, reading.batch_shape
    expected = jax.eval_shape(
        lambda: cell.initial_carry(batch_shape, float_dtype(params, reading.first))
    )
    if jax.tree.structure(carry) != jax.tree.structure(expected):
        raise TypeError(
            f"{reading.where}: {argument} must be a {_outline(expected)}, got "
            f"{_outline(carry)}. {cell!r}.initial_carry({batch_shape}) makes one"
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
                f"{want.dtype}; cast it: carry.astype({str(want.dtype)!r}) on each "
                f"part ({reading})"
            )


def _carry_hint(reading: Reading, got: Any, want: Any) -> str:
    batch = len(reading.batch_shape)
    if got.shape[batch:] != want.shape[batch:] and got.ndim == want.ndim:
        return (
            f". Its hidden size is {got.shape[batch:]}, that of the cell is "
            f"{want.shape[batch:]}"
        )
    if batch == 1 and got.ndim == want.ndim and got.shape[0] == reading.time:
        return f". Its batch is the number of steps{reading.swap_hint}"
    return ". A carry is not broadcast over the batch: jnp.broadcast_to does it"


def _outline(tree: Any) -> str:
    name = type(tree).__name__
    if hasattr(tree, "_fields"):
        return f"{name}({', '.join(tree._fields)})"
    return f"{name} of {len(tree)}" if hasattr(tree, "__len__") else name


def lengths(reading: Reading, lengths: Any) -> None:
    """Check `lengths`: integers, one for each sequence, from 0 to T."""
    got = f"lengths is {describe(lengths)} ({reading})"
    if not jnp.issubdtype(lengths.dtype, jnp.integer):
        raise TypeError(
            f"{reading.where}: lengths must be integers, one for each sequence; {got}. "
            "A True or False for each step is `mask`"
        )
    if lengths.shape != reading.batch_shape:
        swapped = lengths.shape == (reading.time,)
        raise ValueError(
            f"{reading.where}: lengths must have the batch shape "
            f"{reading.batch_shape}, one for each sequence; {got}"
            + (reading.swap_hint if swapped else "")
        )
    if isinstance(lengths, jax.core.Tracer) or lengths.size == 0:
        return  # under jit, more than T counts as T, and less than 0 as 0
    values = np.asarray(lengths)
    low, high = int(values.min()), int(values.max())
    if low < 0 or high > int(reading.time or 0):
        raise ValueError(
            f"{reading.where}: lengths must lie between 0 and time={reading.time}, "
            f"got {low if low < 0 else high} ({reading})"
            + ("" if low < 0 else reading.swap_hint)
        )


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
        swapped = flags.ndim == 2 and flags.shape == tuple(shape[::-1])
        raise ValueError(
            f"{reading.where}: {argument} must be {tuple(shape)}, laid out as "
            f"{reading.argument} is; got {describe(flags)} ({reading})"
            + (f". Transpose it: {argument}.T" if swapped else "")
        )
