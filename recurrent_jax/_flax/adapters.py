# SPDX-License-Identifier: Apache-2.0
"""Adapters from Flax modules to the core, which `linen` and `nnx` share."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax.tree_util import keystr
from jax.typing import DTypeLike

from recurrent_jax import _checks
from recurrent_jax._core.cell import Cell
from recurrent_jax._core.network import Network
from recurrent_jax._flax.names import of_the_call


def nest(
    params: Any, make: Callable[[str, Any], Any] = lambda path, leaf: leaf
) -> dict[str, Any]:
    """Return parameters as nested dicts by field name, without absent parts.

    Args:
        params: any pytree. The name of an entry of a tuple is its index.
        make: a function that is applied to the path of each leaf, such as `0/kernel`,
            and to the leaf.
    """
    tree: dict[str, Any] = {}
    for path, leaf in jax.tree.leaves_with_path(params):
        *within, last = _names(path)
        node = tree
        for name in within:
            node = node.setdefault(name, {})
        node[last] = make("/".join([*within, last]), leaf)
    return tree


def unnest(where: str, tree: Mapping[str, Any], like: Any) -> Any:
    """Return nested dicts as parameters of the structure of `like`.

    Raises:
        ValueError: if a parameter is missing, or if there is an unknown one.
    """
    given = {tuple(_names(path)): a for path, a in jax.tree.leaves_with_path(tree)}
    names = [tuple(_names(path)) for path, _ in jax.tree.leaves_with_path(like)]
    missing = ["/".join(name) for name in names if name not in given]
    unknown = ["/".join(name) for name in given if name not in names]
    if missing or unknown:
        theirs = unknown and not set(given) & set(names)
        fix = "from_flax converts those of Flax's own modules" if theirs else ""
        raise ValueError(
            f"{where}: params {missing} are missing and {unknown} have no place; "
            f"expected {['/'.join(name) for name in names]} of this cell. "
            + (fix or "init makes them")
        )
    return jax.tree.unflatten(jax.tree.structure(like), [given[n] for n in names])


def named(where: str, options: Mapping[str, Any], params: Any) -> dict[str, Any]:
    """Return the options that were given by parameter name, by full path.

    A name is the last part of a path, such as `kernel`, or a full path, such as
    `0/kernel`. A full path takes precedence.

    Raises:
        ValueError: if no parameter has such a name.
    """
    paths = [_names(path) for path, _ in jax.tree.leaves_with_path(params)]
    known = {"/".join(path) for path in paths} | {path[-1] for path in paths}
    if unknown := set(options) - known:
        raise ValueError(
            f"{where}: no parameter is called {sorted(unknown)}; there are "
            f"{sorted(known)}"
        )
    found = {"/".join(path): path[-1] for path in paths}
    return {
        path: options.get(path, options.get(last))
        for path, last in found.items()
        if path in options or last in options
    }


def in_features(where: str, xs: Any, given: int | None) -> int:
    """Return the number of input features: `given`, or that of the one input array."""
    if given is not None:
        return given
    leaves = jax.tree.leaves(_checks.arrays(where, "xs", xs))
    if len(leaves) != 1 or not leaves[0].ndim:
        raise ValueError(
            f"{where}: xs holds {len(leaves)} arrays, so the number of features is not "
            "known; pass in_features=..."
        )
    return int(leaves[0].shape[-1])


def promote(dtype: DTypeLike | None, *trees: Any) -> tuple[Any, ...]:
    """Return trees with their floats cast to `dtype`, or to a common dtype if None.

    The layers of Flax do the same. The core never casts. Integers stay integers, and
    the core refuses them.
    """
    arrays = _checks.arrays("unroll", "inputs", trees)
    floats = [a for a in jax.tree.leaves(arrays) if _is_float(a)]
    if dtype is None and floats:
        dtype = jnp.result_type(*floats)

    def cast(a: jax.Array) -> jax.Array:
        return a.astype(dtype) if _is_float(a) else a

    promoted: tuple[Any, ...] = jax.tree.map(cast, arrays)
    return promoted


def arguments(
    module: Any, params: Any, xs: Any, options: Mapping[str, Any]
) -> tuple[Any, Any, dict[str, Any]]:
    """Return the params, inputs and options with which a module calls `unroll`."""
    where, given = type(module).__name__, of_the_call(module, options)
    states = {name: given.pop(name, None) for name in ("carry", "reset_carry")}
    trees = {
        name: _checks.arrays(where, name, tree)
        for name, tree in {"xs": xs, **states}.items()
    }
    params, trees = promote(module.dtype, params, trees)
    return params, trees.pop("xs"), {**given, **trees}


def at_least_float32(dtype: DTypeLike) -> Any:
    """Return `dtype`, but at least float32, which some initialisers of Flax require."""
    dtype = jnp.zeros((), dtype).dtype
    return jnp.float32 if jnp.finfo(dtype).bits < 32 else dtype


def draws(part: Cell | Network, features: int) -> bool:
    """Return whether a cell or network draws random numbers in training mode."""
    if isinstance(part, Network):
        return getattr(part, "dropout", 0) > 0 or any(
            draws(inner, features) for inner in _inner(part)
        )
    if type(part).sample is Cell.sample:
        return False
    lead, x = (1,), jnp.zeros((1, *(1,) * (part.feature_axes - 1), features))
    try:
        sampled = jax.eval_shape(
            lambda key: part.sample(key, x, lead), jax.random.key(0)
        )
    except Exception:  # the guess of its input was wrong
        return True
    return len(jax.tree.leaves(sampled)) > 1


def _inner(network: Network) -> list[Cell | Network]:
    fields = (getattr(network, f.name) for f in dataclasses.fields(network))
    return [p for p in jax.tree.leaves(list(fields)) if isinstance(p, Cell | Network)]


def _is_float(a: jax.Array) -> bool:
    return bool(jnp.issubdtype(a.dtype, jnp.floating))


def _names(path: Any) -> list[str]:
    """Return the parts of a path as names. The name of a bare array is `value`."""
    return [keystr((entry,), simple=True) for entry in path] or ["value"]


def step(
    cell: Cell, params: Any, carry: Any, x: Any, key: jax.Array | None
) -> tuple[Any, Any]:
    """Return `(carry, y)` after one step, with random numbers if there is a key.

    `sample` draws for a sequence, so `x` becomes a sequence of one step for it.
    """
    if key is not None:
        where = f"{type(cell).__name__}.step"
        batch_shape = _checks.read(where, "x", cell, x, None).batch_shape
        once = jax.tree.map(lambda a: a[None], x)
        dtype = _checks.float_dtype(params, x)
        sampled = cell.sample(key, once, (1, *batch_shape), dtype)
        x = jax.tree.map(lambda a: a[0], sampled)
    return cell.step(params, carry, x)
