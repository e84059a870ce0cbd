# SPDX-License-Identifier: Apache-2.0
"""Laws about a cell: its step, its derivatives and its equality."""

import dataclasses
import functools
import pickle
from typing import Any

import jax
import numpy as np

from recurrent_jax._core.cell import Cell
from recurrent_jax._loop.unroll import unroll
from recurrent_jax.methods import Sequential
from recurrent_jax.testing import _programs
from recurrent_jax.testing._compare import LawViolation, alike, finite, same
from recurrent_jax.testing._trees import (
    at,
    cast,
    floats,
    is_float,
    merged,
    row,
    sequence,
    waves,
    with_floats,
)
from recurrent_jax.testing._trial import Trial

DTYPES = ("float32", "bfloat16", "float16", "float64")


def scan(trial: Trial) -> None:
    """Law 1: unroll equals a Python loop over step."""
    same("unroll is not a Python loop over step", trial.run(), trial.loop())


def project(trial: Trial) -> None:
    """Law 2: step equals recur after project, step by step or at once, jit or not.

    This law does not call `jit` on `project` and `recur`. A cell that behaves
    differently under `jit` therefore breaks it.
    """
    cell, params = trial.cell, trial.cell.prepare(trial.params)
    at_once = cell.project(params, trial.xs)
    for t in range(trial.time):
        z = cell.project(params, at(trial.xs, t))
        same(f"project over all steps at once differs at step {t}", at(at_once, t), z)
    if trial.time:
        arguments = trial.params, trial.carry, at(trial.xs, 0)
        after, y = want = _programs.step(cell)(*arguments)
        same("step differs outside of jit", cell.step(*arguments), want)
        got = cell.recur(params, trial.carry, cell.project(params, at(trial.xs, 0)))
        same("step is not recur after project", got, want)
        if cell.declares_output:
            same("the output is not what the cell declares", cell.read(after, y), y)


def batch(trial: Trial) -> None:
    """Law 7: a batch equals vmap and each sequence alone, in any order and shape."""
    four = dataclasses.replace(trial, batch_shape=(4,))
    xs, carry, want = four.xs, four.carry, four.run()
    sides = (jax.tree.map(lambda _: 1, xs), jax.tree.map(lambda _: 0, carry))
    run = functools.partial(unroll, **four.how._asdict())
    got = jax.vmap(lambda x, c: run(four.cell, four.params, x, carry=c), sides, (0, 1))
    same("a batch differs from vmap over single sequences", got(xs, carry), want)
    for b in range(4):
        alone = four.loop(sequence(xs, b), at(carry, b))
        same("a batch differs from a loop over sequences", alone, row(want, b))
    order = np.array([2, 0, 3, 1])
    got = four.run(sequence(xs, order), at(carry, order))
    same("permuting the batch does not permute the answer", got, row(want, order))
    pairs = (
        jax.tree.map(lambda x: x.reshape(x.shape[0], 2, 2, *x.shape[2:]), xs),
        jax.tree.map(lambda c: c.reshape(2, 2, *c.shape[1:]), carry),
    )
    same("two batch axes differ from one", merged(four.loop(*pairs)), want)


def types(trial: Trial) -> None:
    """Law 10: a step keeps the carry's structure, shapes, dtypes, in all precisions."""
    cell, key = trial.cell, jax.random.key(trial.seed)
    exact = None
    for dtype in reversed(DTYPES):
        made = jax.eval_shape(
            lambda dtype=dtype: cell.init(key, trial.in_features, dtype)
        )
        _in_dtype(f"init, asked for {dtype}, made a parameter", made, dtype)
        before = dataclasses.replace(trial, dtype=dtype).start()
        _in_dtype(f"the carry that {dtype} starts from has a part", before, dtype)
        params, x = cast((trial.params, trial.draw(1, trial.batch_shape)), dtype)
        with jax.numpy_dtype_promotion("strict"):
            after, y = jax.device_get(_programs.step(cell)(params, before, x))
        alike("the carry goes in as", before, "and comes out as", after)
        _in_dtype(f"in {dtype}, a step gave an output", y, dtype)
        finite(f"in {dtype}, a step gave a value", (after, y))
        longer = jax.tree.map(lambda a: np.stack([a, a]), x)
        run = functools.partial(unroll, cell, carry=before)
        carry, ys = jax.eval_shape(run, params, longer)
        alike("a step returns a carry", after, "and unroll", carry)
        _in_dtype(f"in {dtype}, unroll gave an output", ys, dtype)
        exact = exact or (after, y)
        same(f"in {dtype}, a step gave other numbers", *_rounded((after, y), exact))


def _in_dtype(how: str, tree: Any, dtype: str) -> None:
    """Check that all floats of a pytree have the dtype."""
    for path, leaf in jax.tree.leaves_with_path(tree):
        if is_float(leaf) and leaf.dtype != dtype:
            where = jax.tree_util.keystr(path)
            raise LawViolation(f"{how} of {leaf.dtype}: {where or 'the whole'}")


def _rounded(got: Any, exact: Any) -> tuple[Any, Any]:
    """Return the floats, and the exact floats cast to the same dtypes."""
    pairs = zip(floats(got), floats(exact), strict=True)
    return floats(got), [b.astype(a.dtype) for a, b in pairs]


def gradients(trial: Trial) -> None:
    """Law 11: first and second gradients equal those of the loop and of differences."""
    if not trial.time:
        return
    arguments = trial.params, trial.carry, trial.xs
    point = [np.asarray(a) for a in floats(arguments)]
    # Inputs are not moved: some contain draws that a cell compares with a rate.
    direction = waves(floats(arguments[:2]))
    direction += [np.zeros_like(x) for x in floats(trial.xs)]
    size = np.sqrt(sum(np.sum(d**2) for d in direction))
    direction = [d / size for d in direction]
    run = _programs.derivatives(trial.cell, trial.how)

    def moved(by: float) -> Any:
        given = [a + by * d for a, d in zip(point, direction, strict=True)]
        return jax.device_get(run(with_floats(arguments, given), direction)[:2])

    _, gradient, out, bend = jax.device_get(run(arguments, direction))
    same("where a gradient is made, unroll is not the loop", out, trial.loop())
    named = with_floats(arguments, gradient)
    same("gradients are not those of the loop", named, trial.loop_gradients())
    eps = 1e-5
    more, less = moved(eps), moved(-eps)
    slope, want = jax.tree.map(lambda a, b: (a - b) / (2 * eps), more, less)
    along = np.asarray(sum(map(np.vdot, gradient, direction)))
    same("gradients are not those of differences", along, slope, 1e-6)
    got, want = (with_floats(arguments, a) for a in (bend, want))
    same("second derivatives are not those of differences", got, want, 1e-6)


def compilation(trial: Trial) -> None:
    """Law 12: a jaxpr that does not grow, no leaks, no state, equality by value."""
    cell = trial.cell
    with jax.checking_leaks():
        longer = (dataclasses.replace(trial, time=time).xs for time in (7, 70))
        # Other methods have a program more for what is left after the last chunk.
        run = functools.partial(unroll, cell, trial.params, method=Sequential())
        sizes = [str(jax.make_jaxpr(run)(xs)).split().count("=") for xs in longer]
    if sizes[0] != sizes[1]:
        raise LawViolation(f"the jaxpr grows with time: {sizes} equations, T = 7, 70")
    _keeps_nothing(trial)
    _is_a_value(cell)


def _keeps_nothing(trial: Trial) -> None:
    """Check that init and step depend only on their arguments."""
    cell, x = trial.cell, trial.draw(1, trial.batch_shape)

    def trace() -> tuple[str, list[Any]]:
        closed = jax.make_jaxpr(lambda *a: cell.step(*a))(trial.params, trial.carry, x)
        return str(closed), jax.device_get(closed.consts)

    def init(seed: int) -> Any:
        return jax.device_get(cell.init(jax.random.key(seed), trial.in_features))

    (code, consts), first = trace(), init(trial.seed)
    init(trial.seed + 1)
    again, others = trace()
    if code != again or not all(map(np.array_equal, consts, others)):
        raise LawViolation(
            "step is another after one more call of init; all that it reads must be "
            "in params, carry, x and the fields of the cell"
        )
    if not all(map(np.array_equal, *map(jax.tree.leaves, (first, init(trial.seed))))):
        raise LawViolation("init draws other parameters from the same key")


def _is_a_value(cell: Cell) -> None:
    """Check that a cell compares, hashes, prints and pickles by its fields."""
    fields = {f.name: getattr(cell, f.name) for f in dataclasses.fields(cell)}
    cached = {
        name
        for base in type(cell).__mro__
        for name, member in vars(base).items()
        if isinstance(member, functools.cached_property)
    }
    if hidden := vars(cell).keys() - fields.keys() - cached:
        raise LawViolation(
            f"{sorted(hidden)} are no fields, so cells that differ in them count as "
            f"equal; make {type(cell).__name__} a frozen dataclass with these fields"
        )
    twin = type(cell)(**fields)
    if twin != cell or hash(twin) != hash(cell):
        raise LawViolation(f"{cell!r} built twice is not equal or hashes differently")
    if " at 0x" in repr(cell) or "<lambda>" in repr(cell):
        raise LawViolation(f"{cell!r} does not print as code that builds it")
    if _importable(type(cell)) and pickle.loads(pickle.dumps(cell)) != cell:
        raise LawViolation(f"{cell!r} does not survive pickling")


def _importable(cls: type) -> bool:
    """Return whether pickle finds the class. It does not if a function defined it."""
    try:
        pickle.dumps(cls)
    except (pickle.PicklingError, AttributeError):
        return False
    return True
