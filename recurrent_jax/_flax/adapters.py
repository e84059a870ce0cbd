# SPDX-License-Identifier: Apache-2.0
"""What the modules of `linen` and of `nnx` share: the core, seen from Flax."""

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
    """Return parameters as nested dicts by field name; absent parts are left out.

    Args:
        params: any pytree; of tuples, the parts are called by their numbers.
        make: what becomes of each, given its path, such as `0/kernel`.
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
        ValueError: if a parameter is missing, or one is there that has no place.
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
    """Return what was said of parameters by name, under the whole path of each.

    A name is a last part, `kernel`, or a whole path, `0/kernel`, which goes first.

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
    """Return the number of input features: as given, or that of one input array."""
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
    """Return trees with their floats in `dtype`, or in what they promote to if None.

    As the layers of Flax do; the core never casts. Integers stay, and are refused.
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
    """Return params, inputs and options of `unroll` for a call of a module."""
    where, given = type(module).__name__, of_the_call(module, options)
    states = {name: given.pop(name, None) for name in ("carry", "reset_carry")}
    trees = {
        name: _checks.arrays(where, name, tree)
        for name, tree in {"xs": xs, **states}.items()
    }
    params, trees = promote(module.dtype, params, trees)
    return params, trees.pop("xs"), {**given, **trees}


def at_least_float32(dtype: DTypeLike) -> Any:
    """Return a dtype that Flax's initialisers draw in, of which some want 32 bits."""
    dtype = jnp.zeros((), dtype).dtype
    return jnp.float32 if jnp.finfo(dtype).bits < 32 else dtype


def draws(part: Cell | Network, features: int) -> bool:
    """Return whether a cell or network takes random numbers while it trains."""
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
    except Exception:  # its input is none that can be guessed
        return True
    return len(jax.tree.leaves(sampled)) > 1


def _inner(network: Network) -> list[Cell | Network]:
    fields = (getattr(network, f.name) for f in dataclasses.fields(network))
    return [p for p in jax.tree.leaves(list(fields)) if isinstance(p, Cell | Network)]


def _is_float(a: jax.Array) -> bool:
    return bool(jnp.issubdtype(a.dtype, jnp.floating))


def _names(path: Any) -> list[str]:
    """Return the parts of a path as names; a bare array is called `value`."""
    return [keystr((entry,), simple=True) for entry in path] or ["value"]


def step(
    cell: Cell, params: Any, carry: Any, x: Any, key: jax.Array | None
) -> tuple[Any, Any]:
    """Return `(carry, y)` after one step, with what is drawn for it, if there is a key.

    Sampling is of sequences, so the step becomes one of a single step.
    """
    if key is not None:
        where = f"{type(cell).__name__}.step"
        batch_shape = _checks.read(where, "x", cell, x, None).batch_shape
        once = jax.tree.map(lambda a: a[None], x)
        dtype = _checks.float_dtype(params, x)
        sampled = cell.sample(key, once, (1, *batch_shape), dtype)
        x = jax.tree.map(lambda a: a[0], sampled)
    return cell.step(params, carry, x)
