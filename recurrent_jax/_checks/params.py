# SPDX-License-Identifier: Apache-2.0
"""Checks of parameters: made by this cell, for this input, and in one dtype.

What `init` would make for the input is the measure, so that any cell can be checked.
"""

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from recurrent_jax._checks.values import float_dtype
from recurrent_jax._checks.words import describe, outline

_TOKENS = ". Tokens need an embedding first: table[tokens], or jax.nn.one_hot"


@functools.lru_cache
def fresh(cell: Any, in_features: int) -> Any:
    """Return shapes and dtypes of what `cell.init` makes, without making it."""
    return jax.eval_shape(lambda: cell.init(jax.random.key(0), in_features))


def features(reading: Any, params: Any, x: Any) -> None:
    """Check that params were made by this cell for this input, and nothing is cast.

    The shapes for an input of several arrays are checked by the cell: it alone knows
    which of them has the features, unless one is called `x`.
    """
    tree, leaves = structs((params, x))
    # The first input is an array, which does not hash.
    _features(reading._replace(first=None), tree, leaves, jnp.result_type(float))


def structs(tree: Any) -> tuple[Any, tuple[Any, ...]]:
    """Return structure, shapes and dtypes of a tree: what a check may be cached by."""
    leaves, structure = jax.tree.flatten(tree)
    return structure, tuple((leaf.shape, leaf.dtype) for leaf in leaves)


def of_structs(structure: Any, leaves: Any) -> Any:
    """Return a tree of the shapes and dtypes that `structs` returned."""
    each = (jax.ShapeDtypeStruct(shape, dtype) for shape, dtype in leaves)
    return jax.tree.unflatten(structure, each)


@functools.lru_cache(maxsize=512)
def _features(reading: Any, tree: Any, leaves: Any, default: Any) -> None:
    """Check it once for the same shapes and dtypes, and the same default dtype."""
    params, x = of_structs(tree, leaves)
    cell, first = reading.cell, jax.tree.leaves(x)[0]
    reading = reading._replace(first=first)
    size = first.shape[-1] if cell.feature_axes and first.ndim else 1
    size = size or 1  # no params are made for none, whatever x has
    expected = _made(cell, size)
    if expected is None:
        _unmade(reading, params, x, size)
        return
    if wrong := _mismatch("params", expected, params):
        name, want, got = wrong
        maker = f"{cell!r}.init(key, in_features={size}) makes them"
        raise TypeError(
            f"{reading.where}: {name} must be {outline(want)}, got {outline(got)}. "
            + (_rebuilt(name, want, got) or maker)
        )
    _floats(reading, expected, params)
    if not hasattr(x, "dtype"):
        _readable(reading, params, x)
    # Of Timed and the like, x is the first part; of other trees only the cell knows.
    is_sized = hasattr(x, "dtype") or hasattr(x, "x")
    if is_sized and cell.feature_axes:
        _shapes(reading, expected, params, x, size)
    _wide_enough(reading, params, x)
    if _differ(expected, params, x):
        if _casts(reading, expected, params, x) or _several(expected, params):
            _refuse_dtypes(reading, params)


def _floats(reading: Any, expected: Any, params: Any) -> None:
    """Check that numbers which `init` makes as floats are floats."""
    wanted = _dtypes(expected)
    for path, leaf in jax.tree.leaves_with_path(params):
        is_float = jnp.issubdtype(leaf.dtype, jnp.floating)
        if jnp.issubdtype(wanted.get(path, leaf.dtype), jnp.floating) and not is_float:
            raise TypeError(
                f"{reading.where}: params{jax.tree_util.keystr(path)} must be floating "
                f"point, got {describe(leaf)}"
            )


def _readable(reading: Any, params: Any, x: Any) -> None:
    """Check that a cell can read an input that is not one array."""
    error = _failure(reading, params, x)
    own = str(error).startswith(type(reading.cell).__name__)
    if isinstance(error, TypeError | AttributeError) and not own:
        raise TypeError(
            f"{reading.where}: {reading.argument} must be an input that {reading.cell} "
            f"reads, for most cells one array, got {outline(x)}; {error}"
        ) from error


def _wide_enough(reading: Any, params: Any, x: Any) -> None:
    """Refuse floats of 8 bits, unless the cell casts them itself."""
    for name, tree in ((reading.argument, x), ("params", params)):
        for path, leaf in jax.tree.leaves_with_path(tree):
            is_float = jnp.issubdtype(leaf.dtype, jnp.floating)
            if not is_float or leaf.dtype.itemsize > 1:
                continue
            if _failure(reading, params, x) is not None:
                where = f"{name}{jax.tree_util.keystr(path)}"
                raise TypeError(
                    f"{reading.where}: {where} is {leaf.dtype}, which cells do not "
                    f"compute in; cast it, for example {where}.astype('bfloat16')"
                )


def _made(cell: Any, size: int) -> Any:
    """Return what `init` makes, or None where it cannot be known."""
    try:
        return fresh(cell, size)
    except Exception:  # of a cell that means something else by in_features
        return None


def _unmade(reading: Any, params: Any, x: Any, size: int) -> None:
    """Raise what `init` says of so many features, where a step fails too."""
    if _failure(reading, params, x) is None:
        return
    try:
        fresh(reading.cell, size)
    except Exception as error:
        if not isinstance(error, ValueError) or "in_features" not in str(error):
            return
        raise ValueError(
            f"{reading.where}: {reading.argument} has {size} features ({reading}), "
            f"which this cell does not read. {error}"
        ) from error


def _mismatch(name: str, expected: Any, given: Any) -> tuple[str, Any, Any] | None:
    """Return the first part that is built otherwise than that of `init`, if any."""
    if not jax.tree.leaves(expected) and not jax.tree.leaves(given):
        return None
    wanted, got = _children(expected), _children(given)
    if wanted is None or got is None or not _alike(expected, given):
        return None if _is_like(name, expected, given) else (name, expected, given)
    if wanted.keys() != got.keys():
        return name, expected, given
    for part, inner in wanted.items():
        if _children(inner) is not None:
            if found := _mismatch(name + part, inner, got[part]):
                return found
        elif not _is_like(part, inner, got[part]):
            return name, expected, given
    return None


def _children(tree: Any) -> dict[str, Any] | None:
    """Return the parts of a tuple or a dictionary, by how they are reached."""
    if hasattr(tree, "_fields"):
        return {f".{name}": getattr(tree, name) for name in tree._fields}
    if isinstance(tree, (tuple, list)):
        return {f"[{n}]": part for n, part in enumerate(tree)}
    if isinstance(tree, Mapping):
        return {f"[{key!r}]": part for key, part in tree.items()}
    return None


def _alike(expected: Any, given: Any) -> bool:
    both = isinstance(expected, Mapping) and isinstance(given, Mapping)
    return both or type(expected) is type(given)


def _is_like(name: str, expected: Any, given: Any) -> bool:
    """Say whether an array is there where one is expected; a bias may be absent."""
    if expected is None:
        # A tree of arrays may be bound beside the parameters, as a memory is.
        return not hasattr(given, "dtype")
    if hasattr(expected, "dtype"):
        absent = given is None and name.endswith("bias")
        return absent or hasattr(given, "dtype")
    if _children(expected) is not None:
        return False
    return jax.tree.structure(expected) == jax.tree.structure(given)


def _rebuilt(name: str, expected: Any, given: Any) -> str:
    """Return the likely fix for the right arrays in another container."""
    fields = getattr(expected, "_fields", None)
    if fields and isinstance(given, Mapping) and set(given) == set(fields):
        return f"Make it one: {type(expected).__name__}(**{name})"
    parts = isinstance(given, (tuple, list)) and not hasattr(given, "_fields")
    if fields and parts and len(given) == len(fields):
        return f"Make it one: {type(expected).__name__}(*{name})"
    return ""


def _shapes(reading: Any, expected: Any, params: Any, x: Any, size: int) -> None:
    """Check the shapes of params; those expected are for `size` features."""
    wrong = _wrong_shape(expected, params)
    if wrong is None:
        return
    path, want, got = wrong
    cell = reading.cell
    pairs = zip(got.shape, want.shape, strict=False)
    for other in {size + a - b for a, b in pairs if a != b and size + a > b}:
        made = _made(cell, other)
        if made is None or _wrong_shape(made, params) is not None:
            continue
        if _failure(reading, params, x) is None:
            return  # a cell that means something else by in_features
        shape = reading.first.shape
        misplaced = other in shape[:-1]
        raise ValueError(
            f"{reading.where}: {reading.argument} has {shape[-1]} features, but "
            f"params were made for {other} ({reading})"
            + (". Features must be the last axis" if misplaced else "")
            + (_TOKENS if jnp.issubdtype(reading.first.dtype, jnp.integer) else "")
        )
    fix = f"{cell!r}.init(key, in_features={size}) fits"
    raise ValueError(
        f"{reading.where}: params{path} must be of shape {want.shape}, got "
        f"{describe(got)} ({reading}). "
        + (
            "Params of several cells side by side need jax.vmap"
            if got.shape[1:] == want.shape
            else f"They were made for another cell; {fix}"
        )
    )


def _wrong_shape(expected: Any, params: Any) -> tuple[str, Any, Any] | None:
    given = dict(jax.tree.leaves_with_path(params))
    for path, want in jax.tree.leaves_with_path(expected):
        if path in given and given[path].shape != want.shape:
            return jax.tree_util.keystr(path), want, given[path]
    return None


def _dtypes(tree: Any) -> dict[Any, Any]:
    return {path: leaf.dtype for path, leaf in jax.tree.leaves_with_path(tree)}


def _differ(expected: Any, params: Any, x: Any) -> bool:
    """Say whether not all floats are of one dtype, or the one input is no float."""
    wanted = _dtypes(expected)
    floats = {
        leaf.dtype
        for path, leaf in jax.tree.leaves_with_path(params)
        if jnp.issubdtype(wanted.get(path, leaf.dtype), jnp.floating)
    }
    if hasattr(x, "dtype"):
        floats.add(x.dtype)
    else:
        leaves = jax.tree.leaves(x)
        floats |= {a.dtype for a in leaves if jnp.issubdtype(a.dtype, jnp.floating)}
    return len(floats) > 1 or not all(jnp.issubdtype(d, jnp.floating) for d in floats)


def _several(expected: Any, params: Any) -> bool:
    """Say whether floats are of several dtypes which `init` makes in one."""
    of_init = {d for d in _dtypes(expected).values() if jnp.issubdtype(d, jnp.floating)}
    given = {d for d in _dtypes(params).values() if jnp.issubdtype(d, jnp.floating)}
    return len(of_init) < 2 <= len(given)


def _casts(reading: Any, expected: Any, params: Any, x: Any) -> bool:
    """Say whether a step would cast: whether it fails where nothing is cast silently.

    A cell that casts by itself, for mixed precision, does not fail.
    """
    error = _failure(reading, params, x)
    if not hasattr(x, "dtype"):
        return type(error).__name__ == "TypePromotionError"
    if error is None:
        return False
    is_float = jnp.issubdtype(x.dtype, jnp.floating)
    one = x.dtype if is_float else jnp.result_type(float)
    wanted = _dtypes(expected)

    def in_one(path: Any, a: Any) -> Any:
        is_float = jnp.issubdtype(wanted.get(path, a.dtype), jnp.floating)
        return jax.ShapeDtypeStruct(a.shape, one if is_float else a.dtype)

    as_one = jax.tree.map_with_path(in_one, params)
    return _failure(reading, as_one, jax.ShapeDtypeStruct(x.shape, one)) is None


def _failure(reading: Any, params: Any, x: Any) -> Exception | None:
    """Return what one step raises that may not cast."""
    cell, axis = reading.cell, reading.time_axis

    def step(params: Any, x: Any) -> Any:
        dtype = float_dtype(params, x)
        carry = cell.initial_carry(reading.batch_shape, dtype, params)
        prepared = cell.prepare(params)
        return cell.recur(prepared, carry, cell.project(prepared, x))

    def one_step(a: Any) -> Any:
        shape = a.shape if axis is None else (*a.shape[:axis], *a.shape[axis + 1 :])
        return jax.ShapeDtypeStruct(shape, a.dtype)

    try:
        with jax.numpy_dtype_promotion("strict"):
            jax.eval_shape(step, params, jax.tree.map(one_step, x))
    except Exception as error:
        return error
    return None


def _refuse_dtypes(reading: Any, params: Any) -> None:
    where, name, dtype = reading.where, reading.argument, reading.first.dtype
    if jnp.issubdtype(dtype, jnp.integer) or jnp.issubdtype(dtype, jnp.bool_):
        raise TypeError(
            f"{where}: {name} must be floating point, got {dtype}. Tokens need an "
            f"embedding first: table[tokens], or jax.nn.one_hot; other numbers "
            f"{name}.astype(float) ({reading})"
        )
    for path, leaf in jax.tree.leaves_with_path(params):
        if leaf.dtype != dtype:
            raise TypeError(
                f"{where}: {name} is {dtype} but params{jax.tree_util.keystr(path)} is "
                f"{leaf.dtype}; nothing is cast silently. Cast one: "
                f"{name}.astype({str(leaf.dtype)!r}), or "
                f"jax.tree.map(lambda p: p.astype({str(dtype)!r}), params) ({reading})"
            )
    raise TypeError(f"{where}: {name} must be floating point, got {dtype} ({reading})")


def own(cell: Any, params: Any) -> None:
    """Check that params, if there are any, are those of the cell."""
    if params is None or cell.Params is tuple or isinstance(params, cell.Params):
        return
    raise TypeError(
        f"{type(cell).__name__}.initial_carry: params must be "
        f"{cell.Params.__name__}, got {outline(params)}; {cell!r}.init returns them, "
        "and None will do"
    )
