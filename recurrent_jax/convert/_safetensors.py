# SPDX-License-Identifier: Apache-2.0
"""safetensors: names and arrays in a file that nothing has to be unpickled from."""

import os
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from recurrent_jax._checks import describe
from recurrent_jax.convert import _arrays
from recurrent_jax.convert._arrays import Array

Params = TypeVar("Params")


def save_safetensors(path: str | os.PathLike[str], params: Any) -> None:
    """Write parameters, or any pytree of arrays, to a safetensors file.

    The names are the places in the tree: `kernel`, or `0.forward.kernel` of a network.
    A flat dictionary, such as `to_torch` makes, keeps its own. Cells are not written:
    keep `repr(cell)`, which is code that builds it.

    Args:
        path: of the file, which is replaced.
        params: a pytree of arrays; None in it is left out.

    Raises:
        TypeError: if a leaf is no array.
        ValueError: if two places have one name.

    Example:
        >>> import jax, os, tempfile
        >>> import recurrent_jax as rj
        >>> cell = rj.LSTM(4)
        >>> params = cell.init(jax.random.key(0), in_features=2)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = os.path.join(folder, "lstm.safetensors")
        ...     rj.convert.save_safetensors(path, params)
        ...     again = rj.convert.load_safetensors(path, params)
        >>> bool((again.kernel == params.kernel).all())
        True

    References:
        Hugging Face. safetensors. https://huggingface.co/docs/safetensors
    """
    from safetensors.numpy import save_file

    arrays: dict[str, Array] = {}
    for place, leaf in jax.tree.leaves_with_path(params):
        name = _name(place)
        if name in arrays:
            raise ValueError(f"save_safetensors: two leaves are called {name!r}")
        if not hasattr(leaf, "dtype"):
            raise TypeError(
                f"save_safetensors: {name!r} must be an array, got {leaf!r}"
            )
        arrays[name] = np.ascontiguousarray(leaf).reshape(leaf.shape)
    save_file(arrays, path)


def read_safetensors(path: str | os.PathLike[str]) -> dict[str, Array]:
    """Return all arrays of a safetensors file by name, as for `from_torch`.

    Args:
        path: of the file.

    Returns:
        Arrays of NumPy.

    Raises:
        ValueError: if the file is truncated, or not of this format.

    Example:
        >>> import numpy as np, os, tempfile
        >>> import recurrent_jax as rj
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = os.path.join(folder, "weights.safetensors")
        ...     rj.convert.save_safetensors(path, {"lstm.bias_ih_l0": np.ones(8)})
        ...     rj.convert.read_safetensors(path)["lstm.bias_ih_l0"].shape
        (8,)
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return dict(load_file(path))
    except (SafetensorError, KeyError, ValueError, MemoryError, OverflowError) as error:
        raise ValueError(
            f"read_safetensors: {os.fspath(path)!r} is truncated or not a safetensors "
            f"file: {error}"
        ) from error


def load_safetensors(path: str | os.PathLike[str], like: Params) -> Params:
    """Return parameters from a file that `save_safetensors` wrote.

    Args:
        path: of the file.
        like: parameters of the same structure, shapes and dtypes, or only these, as
            `jax.eval_shape` gives them.

    Returns:
        Arrays of JAX in the structure of `like`.

    Raises:
        ValueError: if the file is damaged, or names or shapes are not those of `like`.
        TypeError: if a dtype is not.

    Example:
        >>> import functools, jax, os, tempfile
        >>> import recurrent_jax as rj
        >>> make = functools.partial(rj.GRU(4).init, in_features=2)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = os.path.join(folder, "gru.safetensors")
        ...     rj.convert.save_safetensors(path, make(jax.random.key(0)))
        ...     like = jax.eval_shape(make, jax.random.key(0))
        ...     rj.convert.load_safetensors(path, like).kernel.shape
        (2, 12)
    """
    where = "load_safetensors"
    arrays = read_safetensors(path)
    wanted = {_name(place): leaf for place, leaf in jax.tree.leaves_with_path(like)}
    _arrays.keys(where, arrays, list(wanted), f", in {os.fspath(path)!r}")
    for name, want in wanted.items():
        if arrays[name].shape != want.shape:
            raise ValueError(
                f"{where}: {name} must be {describe(want)}, got "
                f"{describe(arrays[name])}; it was saved from another cell"
            )
        if arrays[name].dtype != want.dtype:
            raise TypeError(
                f"{where}: {name} is {arrays[name].dtype} in the file but {want.dtype} "
                "in `like`; nothing is cast silently"
            )
    leaves = [jnp.asarray(arrays[name]) for name in wanted]
    return jax.tree.unflatten(jax.tree.structure(like), leaves)


def _name(place: Any) -> str:
    return jax.tree_util.keystr(place, simple=True, separator=".")
