# SPDX-License-Identifier: Apache-2.0
"""Conversion of a pytree to named host arrays with digests, and back."""

import hashlib
from typing import Any

import jax
import numpy as np

from recurrent_jax import _checks
from recurrent_jax.training import _processes


class Mismatch(Exception):
    """The reason why a checkpoint cannot be used, as the end of a sentence."""


def flatten(where: str, argument: str, state: Any) -> dict[str, np.ndarray]:
    """Return all leaves on the host by their paths; PRNG keys as their data."""
    if state is None:
        raise TypeError(f"{where}: {argument} must be a tree of arrays, got None")
    return {
        (name := jax.tree_util.keystr(path)): _host(where, argument + name, leaf)
        for path, leaf in jax.tree.leaves_with_path(state)
    }


def describe(arrays: dict[str, np.ndarray]) -> dict[str, list[str]]:
    """Return dtype, shape and digest of the bytes of each array."""
    return {name: [_kind(a), _digest(a)] for name, a in arrays.items()}


def as_bytes(array: np.ndarray) -> np.ndarray:
    """Return the bytes of an array."""
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)


def cut(data: np.ndarray, expected: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the arrays whose bytes lie end to end, in the order of their names."""
    wanted = sum(array.nbytes for array in expected.values())
    if data.size != wanted:
        raise ValueError(f"{data.size} bytes, expected {wanted}")
    arrays: dict[str, np.ndarray] = {}
    start = 0
    for name in sorted(expected):
        like = expected[name]
        part = data[start : start + like.nbytes]
        arrays[name] = part.copy().view(like.dtype).reshape(like.shape)
        start += like.nbytes
    return arrays


def compare(content: Any, expected: dict[str, np.ndarray], about: str) -> None:
    """Check that a checkpoint has the expected structure, shapes and dtypes."""
    try:
        written = content["about"]
        found = {name: kind for name, (kind, _) in content["leaves"].items()}
    except (AttributeError, KeyError, TypeError, ValueError):
        raise Mismatch("is of something else: it was not written by save") from None
    wanted = {name: _kind(a) for name, a in expected.items()}
    odd = [
        f"{name} is {found.get(name, 'absent')}, expected {wanted.get(name, 'none')}"
        for name in {**wanted, **found}
        if found.get(name) != wanted.get(name)
    ]
    if odd:
        more = f"; and {len(odd) - 3} more" if len(odd) > 3 else ""
        differing = "; ".join(odd[:3]) + more
        raise Mismatch(f"is of something else: {differing} as in like")
    if written != about:
        raise Mismatch(f"is of something else: about {written!r}, expected {about!r}")


def verify(arrays: dict[str, Any], leaves: dict[str, list[str]]) -> None:
    """Check the restored bytes against their digests."""
    for name, (_, digest) in leaves.items():
        if _digest(np.asarray(arrays[name])) != digest:
            raise Mismatch(f"is damaged: {name} has other bytes than were saved")


def rebuild(arrays: dict[str, Any], like: Any) -> Any:
    """Return the arrays in the structure of `like`, on the devices of its arrays."""

    def one(path: Any, old: Any) -> Any:
        new = np.asarray(arrays[jax.tree_util.keystr(path)])
        if not isinstance(old, jax.Array):
            return new if isinstance(old, np.ndarray) else type(old)(new.item())
        if _is_key(old):
            data = _place(new, jax.random.key_data(old).sharding)
            return jax.random.wrap_key_data(data, impl=jax.random.key_impl(old))
        return _place(new, old.sharding)

    return jax.tree_util.tree_map_with_path(one, like)


def _place(array: np.ndarray, sharding: jax.sharding.Sharding) -> jax.Array:
    """Return an array on devices, of which this process may have only some."""
    if sharding.is_fully_addressable:
        return jax.device_put(array, sharding)
    return jax.make_array_from_callback(array.shape, sharding, lambda i: array[i])


def _host(where: str, argument: str, leaf: Any) -> np.ndarray:
    _checks.alive(where, argument, leaf)
    if isinstance(leaf, jax.Array) and _is_key(leaf):
        leaf = jax.random.key_data(leaf)
    if isinstance(leaf, jax.Array):
        leaf = _processes.gathered(leaf)
    array = np.asarray(leaf)
    if array.dtype == object or array.dtype.kind in "US":
        raise TypeError(
            f"{where}: {argument} must be an array, a key or a "
            f"number, got {type(leaf).__name__}"
        )
    return array


def _is_key(leaf: jax.Array) -> bool:
    return jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _kind(array: np.ndarray) -> str:
    return f"{array.dtype}[{','.join(map(str, array.shape))}]"


def _digest(array: np.ndarray) -> str:
    return hashlib.sha256(as_bytes(array).data).hexdigest()
