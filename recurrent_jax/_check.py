# SPDX-License-Identifier: Apache-2.0
"""Checks of what the user passes, and their messages.

They run once, before the loop, on shapes and dtypes alone, so compiled code does not
pay for them; only concrete `lengths` are looked into. Cells are known by the protocol
alone. A message names the function, the argument, what each axis was read as, what was
expected, what came, and the likely fix.
"""

import dataclasses
import functools
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
        if field.name == "hidden_size":
            size(name, field.name, value)
        by_gate = isinstance(value, tuple) and field.name.endswith("_init")
        if callable(field.default) and not all(
            map(callable, value if by_gate else (value,))
        ):
            raise TypeError(
                f"{name}: field {field.name!r} must be a function, got {value!r}; "
                "pass one such as jax.numpy.tanh"
            )


def integer(where: str, argument: str, value: Any) -> None:
    """Check that a number is an integer, known before tracing."""
    if not isinstance(value, int | np.integer) or isinstance(value, bool):
        got = outline(value) if hasattr(value, "dtype") else repr(value)
        raise TypeError(f"{where}: {argument} must be a Python integer, got {got}")


def size(where: str, argument: str, value: Any, least: int = 1) -> None:
    """Check one size: an integer of at least 1, or what is the least."""
    integer(where, argument, value)
    if value < least:
        raise ValueError(f"{where}: {argument} must be at least {least}, got {value}")


def choice(where: str, argument: str, value: Any, options: tuple[Any, ...]) -> None:
    """Check a field that takes one of a few values."""
    if value not in options:
        raise ValueError(
            f"{where}: {argument} must be one of {list(options)}, got {value!r}"
        )


def above(
    where: str, argument: str, value: Any, least: float, most: float | None = None
) -> None:
    """Check a number above `least`, and at most `most` if that is given."""
    if not isinstance(value, int | float | np.number) or isinstance(value, bool):
        raise TypeError(f"{where}: {argument} must be a number, got {value!r}")
    if not least < value <= (float("inf") if most is None else most):
        limit = "" if most is None else f" and at most {most}"
        raise ValueError(
            f"{where}: {argument} must be above {least}{limit}, got {value}"
        )


def bound(where: str, argument: str, value: Any) -> None:
    """Check the bound of a clip: None, or positive and finite."""
    if value is not None and not 0 < value < float("inf"):
        raise ValueError(
            f"{where}: {argument} must be positive and finite, got {value}; "
            "None switches it off"
        )


def rate(where: str, argument: str, value: Any) -> None:
    """Check the rate of a dropout: a number from 0 to below 1."""
    if not 0 <= value < 1:
        raise ValueError(
            f"{where}: {argument} must be at least 0 and below 1, got {value}; it is "
            "the share that is dropped, not the share that is kept"
        )


def square(where: str, shape: tuple[int, ...]) -> None:
    """Check that a matrix is square."""
    if len(shape) != 2 or shape[0] != shape[1]:
        raise ValueError(
            f"{where}: needs a square matrix, got the shape {shape}; it is for "
            "recurrent kernels, gate by gate"
        )


def blocks(where: str, count: int, units: int) -> None:
    """Check that blocks divide the units."""
    size(where, "blocks", count)
    if units % count:
        raise ValueError(f"{where}: {count} blocks do not divide {units} units")


def one_array(where: str, xs: Any, why: str) -> None:
    """Check that an input is a single array."""
    if not hasattr(xs, "dtype"):
        raise TypeError(
            f"{where}: the input must be one array, got {outline(xs)}; {why}"
        )


def layers(where: str, given: Any, kinds: tuple[type, ...]) -> None:
    """Check the parts of a network or a stack: a tuple of cells."""
    if not isinstance(given, tuple) or not given:
        raise TypeError(
            f"{where}: cells come as a tuple of at least one, got {given!r}; one alone "
            "is (cell,)"
        )
    names = " or ".join(f"recurrent_jax.{kind.__name__}" for kind in kinds)
    for n, cell in enumerate(given):
        if not isinstance(cell, kinds):
            got = f"the class {cell.__name__}" if isinstance(cell, type) else repr(cell)
            raise TypeError(f"{where}: part {n} must be a {names}, got {got}")


def parts(where: str, argument: str, given: Any, count: int) -> None:
    """Check that params or a carry are a tuple of as many parts as there are cells."""
    if not isinstance(given, (tuple, list)) or len(given) != count:
        raise TypeError(
            f"{where}: {argument} must be a tuple of {count}, one part for each cell, "
            f"got {outline(given)}"
        )


def residual(layer: int, taken: int, given: int) -> None:
    """Check that a layer gives as many features as it takes."""
    if taken != given:
        raise ValueError(
            f"Deep: residual adds what layer {layer} takes, of {taken} features, to "
            f"what it gives, of {given}. Wrap only the layers that match: "
            "Deep((first, Deep(rest, residual=True)))"
        )


def merge(value: Any, names: tuple[Any, ...]) -> None:
    """Check the name of a merge."""
    if value not in names:
        raise ValueError(
            f"Bidirectional: merge must be one of {list(names)}, got {value!r}"
        )


def merged(value: Any, forward: int, backward: int) -> None:
    """Check that two outputs have sizes that a merge can make one."""
    if value != "concatenate" and forward != backward:
        raise ValueError(
            f"Bidirectional: merge={value!r} needs outputs of one size, got {forward} "
            f'and {backward} features; merge="concatenate" takes any'
        )


def single(value: Any) -> None:
    """Check that a merge leaves one output for the next layer to read."""
    if value is None:
        raise ValueError(
            "Bidirectional: merge=None gives a pair of outputs, which no next layer "
            "can read; choose a merge, or make it the last layer"
        )


def strategy(where: str, backward: Any) -> None:
    """Check that a backward strategy is one, and not its class."""
    if isinstance(backward, type):
        raise TypeError(
            f"{where}: backward is the class {backward.__name__}; build one first: "
            f"rj.{backward.__name__}(...)"
        )
    if not hasattr(backward, "run"):
        raise TypeError(
            f"{where}: backward must be a strategy such as rj.Autodiff() or "
            f"rj.Deferred(), got {backward!r}"
        )


def forward_mode(where: str, backward: Any, error: Exception) -> None:
    """Raise a clearer error where JAX refuses the forward mode of a strategy."""
    if isinstance(error, TypeError) and "forward-mode" in str(error):
        raise TypeError(
            f"{where}: {backward!r} changes the gradient in the backward loop, so it "
            "has no forward mode (jvp, jacfwd). rj.Deferred(), rj.Autodiff() and "
            "rj.Checkpointed() have it"
        ) from error


def instance(where: str, cell: Any, order: str = "") -> None:
    """Check that a cell is a cell, and not its class."""
    if isinstance(cell, type):
        raise TypeError(
            f"{where}: cell is the class {cell.__name__}; build one first: "
            f"{cell.__name__}(hidden_size=...)"
        )
    if not hasattr(cell, "recur"):
        raise TypeError(
            f"{where}: cell must be a recurrent_jax.Cell, got {type(cell).__name__}"
            + (f"; the order is {order}" if order else "")
        )


def array(where: str, argument: str, value: Any) -> jax.Array:
    """Return an array made of whatever JAX takes for one."""
    try:
        return jnp.asarray(value)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{where}: {argument} must be arrays. {error}") from error


def arrays(where: str, argument: str, tree: Any) -> Any:
    """Return a tree with arrays for leaves."""
    return jax.tree.map(lambda leaf: array(where, argument, leaf), tree)


def options(reverse: Any, time_axis: Any, resets: Any, reset_carry: Any) -> None:
    """Check the options of `unroll` that are not arrays laid out like the input."""
    integer("unroll", "time_axis", time_axis)
    if not isinstance(reverse, bool | np.bool_):
        got = outline(reverse) if hasattr(reverse, "dtype") else repr(reverse)
        raise TypeError(
            f"unroll: reverse must be a Python bool, got {got}; "
            "under jit make it static: static_argnames"
        )
    if resets is None and reset_carry is not None:
        raise ValueError(
            "unroll: reset_carry is given without resets, so it has no effect; pass "
            "resets as well, or carry=... for the state that the sequence starts from"
        )


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
    return Reading(where, name, cell, first, axis, time, tuple(batch_shape))


def step(cell: Any, params: Any, carry_: Any, x: Any) -> None:
    """Check the arguments of one step."""
    reading = read(f"{type(cell).__name__}.step", "x", cell, x, time_axis=None)
    features(reading, params, x)
    carry(reading, params, "carry", carry_)


def features(reading: Reading, params: Any, x: Any) -> None:
    """Check that params with a `kernel (in, out)` were made for this input and cell.

    Other cells, and inputs of several arrays, are left to JAX.
    """
    kernel: Any = getattr(params, "kernel", None)
    if getattr(kernel, "ndim", 0) < 2 or not hasattr(x, "dtype"):
        return
    expected = fresh(reading.cell, kernel.shape[-2])
    if getattr(getattr(expected, "kernel", None), "ndim", 0) != 2:
        return
    if jnp.issubdtype(x.dtype, jnp.integer) or x.dtype == bool:
        raise TypeError(
            f"{reading.where}: {reading.argument} must be floating point, got "
            f"{x.dtype}. Tokens need an embedding first: table[tokens], or "
            f"jax.nn.one_hot; other numbers {reading.argument}.astype(float) "
            f"({reading})"
        )
    if x.shape[-1] != kernel.shape[-2]:
        misplaced = x.ndim > 1 and kernel.shape[-2] in x.shape[:-1]
        raise ValueError(
            f"{reading.where}: {reading.argument} has {x.shape[-1]} features, but "
            f"params were made for {kernel.shape[-2]} ({reading})"
            + (". Features must be the last axis" if misplaced else "")
        )
    _params(reading, params, expected)
    for path, leaf in jax.tree.leaves_with_path(params):
        if leaf.dtype != x.dtype:
            raise TypeError(
                f"{reading.where}: {reading.argument} is {x.dtype} but "
                f"params{jax.tree_util.keystr(path)} is {leaf.dtype}; nothing is cast "
                f"silently. Cast one: {reading.argument}.astype({str(leaf.dtype)!r}), "
                f"or jax.tree.map(lambda p: p.astype({str(x.dtype)!r}), params) "
                f"({reading})"
            )


@functools.lru_cache
def fresh(cell: Any, in_features: int) -> Any:
    """Return shapes and dtypes of what `cell.init` makes, without making it."""
    return jax.eval_shape(lambda: cell.init(jax.random.key(0), in_features))


def _params(reading: Reading, params: Any, expected: Any) -> None:
    maker = f"{reading.cell!r}.init(key, in_features={expected.kernel.shape[0]})"
    wanted = dict(jax.tree.leaves_with_path(expected))
    given = dict(jax.tree.leaves_with_path(params))
    # A bias may always be absent: None adds nothing.
    missing = [path for path in wanted.keys() - given.keys() if not _is_bias(path)]
    if type(params) is not type(expected) or missing or given.keys() - wanted.keys():
        raise TypeError(
            f"{reading.where}: params must be {outline(expected)}, got "
            f"{outline(params)}. {maker} makes them"
        )
    for path, got in given.items():
        want = wanted[path]
        if got.shape != want.shape:
            stacked = got.shape[1:] == want.shape
            raise ValueError(
                f"{reading.where}: params{jax.tree_util.keystr(path)} must be of shape "
                f"{want.shape}, got {describe(got)} ({reading}). "
                + (
                    "Params of several cells side by side need jax.vmap"
                    if stacked
                    else f"They were made for another cell; {maker} fits"
                )
            )


def _is_bias(path: Any) -> bool:
    return jax.tree_util.keystr(path).endswith("bias")


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
            f"{reading.where}: {argument} must be {outline(expected)}, got "
            f"{outline(carry)}. {cell!r}.initial_carry({batch_shape}) makes one"
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


def _carry_hint(reading: Reading, got: Any, want: Any) -> str:
    batch = len(reading.batch_shape)
    if reading.time_axis is None and got.shape == want.shape[1:]:
        return ". A step takes no axis of time: unroll takes all steps, step takes x[t]"
    if got.shape[batch:] != want.shape[batch:] and got.ndim == want.ndim:
        return (
            f". Its hidden size is {got.shape[batch:]}, that of the cell is "
            f"{want.shape[batch:]}"
        )
    if batch == 1 and got.ndim == want.ndim and got.shape[0] == reading.time:
        return f". Its batch is the number of steps{reading.swap_hint}"
    return ". A carry is not broadcast over the batch: jnp.broadcast_to does it"


def outline(tree: Any) -> str:
    """Return what a value is, in one line: an array, a tuple of named parts, a type."""
    if tree is None or hasattr(tree, "dtype"):
        return "None" if tree is None else describe(tree)
    name = type(tree).__name__
    if hasattr(tree, "_fields"):
        parts = zip(tree._fields, tree, strict=True)
        each = (k if hasattr(v, "dtype") else f"{k}={outline(v)}" for k, v in parts)
        return f"{name}({', '.join(each)})"
    return f"{name} of {len(tree)}" if hasattr(tree, "__len__") else name


def shapes(tree: Any) -> str:
    """Return a tree in one line, with dtype and shape in the place of each array."""
    return str(jax.tree.map(outline, tree)).replace("'", "")


def lengths(reading: Reading, lengths: Any) -> None:
    """Check `lengths`: integers, one for each sequence, from 0 to T."""
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
        return  # under jit, more than T counts as T, and less than 0 as 0
    values = np.asarray(lengths)
    low, high = int(values.min()), int(values.max())
    if low < 0 or high > int(reading.time or 0):
        raise ValueError(
            f"{reading.where}: lengths must lie between 0 and time={reading.time}, "
            f"got {low if low < 0 else high} ({reading})"
            + ("" if low < 0 else reading.swap_hint)
        )


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
        )
