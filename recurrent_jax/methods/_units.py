# SPDX-License-Identifier: Apache-2.0
"""Which cells can be computed a share of their units at a time, and how.

All of it is read from shapes and jaxprs, so no cell says anything about meshes.
"""

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import lax

from recurrent_jax import _checks
from recurrent_jax._core.cell import Cell, Sampled, feedback, update
from recurrent_jax._core.groups import NONE, groups
from recurrent_jax._loop.loop import Loop

_TINY = 4  # units of the cell that is looked into
_INSIDE = "inside"
_ONLY = (
    "the units of a cell can be shared out if only its feedback reads other units; "
    "rj.Sharded(batch=...) runs every cell"
)


class Kinds(NamedTuple):
    """Whether the last axis of each array is one of units, gate beside gate."""

    params: Any
    carry: Any
    y: Any
    exchanged: tuple[bool, ...]  # for each array of the carry: read by other units


def kinds_of(loop: Loop) -> Kinds | str:
    """Return the kinds of a loop's arrays, or why its units cannot be shared out."""
    if isinstance(loop.xs, Sampled):
        return f"its inputs come with random numbers for all units; {_ONLY}"
    features = int(jax.tree.leaves(loop.xs)[0].shape[-1])
    found = _kinds(loop.cell, features)
    if isinstance(found, str):
        return found
    if jax.tree.structure(found.params) != jax.tree.structure(loop.params):
        return "its parameters are not built as init builds them"
    return found


def no_units(loop: Loop, carry: Any) -> Kinds:
    """Return the kinds of a loop whose units are not shared out."""

    def step(params: Any, xs: Any, carry: Any) -> Any:
        z = loop.cell.project(params, jax.tree.map(lambda a: a[0], xs))
        return loop.cell.recur(params, carry, z)[1]

    # Without where they are, which the type of an array on explicit axes says.
    params, xs, carry = jax.tree.map(
        lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype), (loop.params, loop.xs, carry)
    )
    trees = params, carry, jax.eval_shape(step, params, xs, carry)
    return Kinds(*jax.tree.map(lambda _: False, trees), exchanged=())


@functools.lru_cache(maxsize=128)
def _kinds(cell: Any, features: int) -> Kinds | str:
    if not cell._splits:
        return f"it defines recur, which reads all units at once; {_ONLY}"
    try:
        small, large = (resized(cell, units) for units in (_TINY, 2 * _TINY))
        shapes, doubled = _shapes(small, features), _shapes(large, features)
    except Exception as error:
        return f"it has no form with other units ({error}); {_ONLY}"
    kinds = jax.tree.map(_is_units, shapes, doubled)
    if _INSIDE in jax.tree.leaves(kinds):
        return f"units are not the last axis of one of its arrays; {_ONLY}"
    params, carry, *_, y = kinds
    gates = zip(
        *map(jax.tree.leaves, ((shapes[1], shapes[-1]), (carry, y))), strict=True
    )
    if any(is_units and a.shape[-1] != _TINY for a, is_units in gates):
        return f"its state or output has several numbers for each unit; {_ONLY}"
    read = _read_by_feedback(small, shapes)
    for exchanged in ((False,) * len(read), read):
        if not _runs_apart(small, shapes, doubled, kinds, exchanged):
            continue
        if _is_unitwise(small, shapes, kinds, exchanged):
            return Kinds(params, carry, y, exchanged)
    return f"its step reads other units outside of feedback; {_ONLY}"


def resized(cell: Any, units: int) -> Any:
    """Return the cell with another number of units, also inside of wrappers."""
    if hasattr(cell, "cell"):
        return dataclasses.replace(cell, cell=resized(cell.cell, units))
    return dataclasses.replace(cell, hidden_size=units)


def units_of(cell: Any) -> int:
    """Return the number of units of a cell, also inside of wrappers."""
    return units_of(cell.cell) if hasattr(cell, "cell") else int(cell.hidden_size)


def _shapes(cell: Any, features: int) -> Any:
    """Return shapes of params, carry, x, z, u, and the carry and output after."""

    def make() -> Any:
        stored = cell.init(jax.random.key(0), features)
        params = cell.prepare(stored)
        dtype = _checks.float_dtype(stored, ())
        carry = cell.initial_carry((), dtype, stored)
        x = jax.numpy.zeros((features,), dtype)
        z, u = cell.project(params, x), feedback(cell, params, carry)
        return params, carry, x, z, u, *update(cell, params, carry, z, u)

    return jax.eval_shape(make)


def _is_units(one: Any, twice: Any) -> bool | str:
    """Return whether the last axis has the units, or `_INSIDE` if only another has."""
    grown = [a != b for a, b in zip(one.shape, twice.shape, strict=True)]
    if not any(grown):
        return False
    return True if grown[-1] and one.shape[-1] % _TINY == 0 else _INSIDE


def _read_by_feedback(cell: Any, shapes: Any) -> tuple[bool, ...]:
    """Return which arrays of the carry `feedback` reads."""
    params, carry = shapes[:2]
    leaves, tree = jax.tree.flatten(carry)
    fixed = jax.tree.map(lambda _: NONE, params)

    def is_read(n: int) -> bool:
        one = tree.unflatten(
            [np.int32(0) if m == n else NONE for m in range(len(leaves))]
        )
        found = groups(functools.partial(feedback, cell), (params, carry), (fixed, one))
        return any((a != NONE).any() for a in jax.tree.leaves(found))

    return tuple(map(is_read, range(len(leaves))))


def _runs_apart(
    cell: Any, shapes: Any, doubled: Any, kinds: Any, exchanged: Any
) -> bool:
    """Return whether half of the units can be fed back from all that is exchanged."""

    def half(a: Any, is_units: bool) -> Any:
        last = a.shape[-1] // 2 if is_units else a.shape[-1]
        return jax.ShapeDtypeStruct((*a.shape[:-1], last), a.dtype)

    params = jax.tree.map(
        lambda a, kind: half(a, kind) if a.shape else a, doubled[0], kinds[0]
    )
    few, tree = jax.tree.flatten(shapes[1])
    all_units = zip(few, jax.tree.leaves(doubled[1]), exchanged, strict=True)
    carry = tree.unflatten([b if whole else a for a, b, whole in all_units])
    try:
        found = jax.eval_shape(functools.partial(feedback, cell), params, carry)
    except Exception:  # it counts the units that it reads
        return False
    same = jax.tree.map(lambda a, b: a.shape == b.shape, found, shapes[4])
    return all(jax.tree.leaves(same))


def _is_unitwise(cell: Any, shapes: Any, kinds: Any, exchanged: Any) -> bool:
    """Return whether each unit follows from its own numbers and what is exchanged."""
    ids = jax.tree.map(_ids, shapes, kinds)
    params, carry, x, z, u, *_ = shapes
    leaves, tree = jax.tree.flatten(ids[1])
    both = zip(leaves, exchanged, strict=True)
    own = tree.unflatten([np.full(a.shape, NONE) if whole else a for a, whole in both])
    steps = (
        (cell.project, (params, x), (ids[0], ids[2]), ids[3]),
        (functools.partial(feedback, cell), (params, carry), (ids[0], own), ids[4]),
        (
            functools.partial(update, cell),
            shapes[:2] + (z, u),
            ids[:2] + ids[3:5],
            ids[5:],
        ),
    )
    return all(
        _keeps(groups(function, arguments, followed), want)
        for function, arguments, followed, want in steps
    )


def _ids(shape: Any, is_units: bool) -> Any:
    if not is_units:
        return np.full(shape.shape, NONE)
    return np.broadcast_to(np.arange(shape.shape[-1]) % _TINY, shape.shape)


def _keeps(got: Any, want: Any) -> bool:
    pairs = zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True)
    return all(((a == NONE) | (a == b)).all() for a, b in pairs)


@dataclasses.dataclass(frozen=True)
class Share(Cell[Any, Any, Any]):
    """A share of the units of a cell, on one part of a mesh axis.

    Attributes:
        cell: the cell with as many units as the share has.
        axis: the mesh axis, over which `shard_map` runs.
        exchanged: for each array of the carry, whether `feedback` reads all units.
    """

    cell: Any
    axis: str
    exchanged: tuple[bool, ...]

    @property
    def rowwise(self) -> bool:  # type: ignore[override]
        """Whether the cell computes each row of a batch by itself."""
        return bool(self.cell.rowwise)

    def init(self, key: Any, in_features: int, dtype: Any = float) -> Any:
        """Return parameters of the share."""
        return self.cell.init(key, in_features, dtype)

    def project(self, params: Any, x: Any) -> Any:
        """Return the projection for the units of the share."""
        return self.cell.project(params, x)

    def feedback(self, params: Any, carry: Any) -> Any:
        """Return the recurrent product for the units of the share, from all units."""
        leaves, tree = jax.tree.flatten(carry)
        whole = [
            lax.all_gather(a, self.axis, axis=a.ndim - 1, tiled=True) if all_of else a
            for a, all_of in zip(leaves, self.exchanged, strict=True)
        ]
        return self.cell.feedback(params, tree.unflatten(whole))

    def update(self, params: Any, carry: Any, z: Any, u: Any) -> Any:
        """Return the carry and the output of the share."""
        return self.cell.update(params, carry, z, u)
