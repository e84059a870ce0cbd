# SPDX-License-Identifier: Apache-2.0
"""safetensors: files of named arrays, without pickle."""

import os
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from recurrent_jax import _checks
from recurrent_jax._checks import describe
from recurrent_jax._core.kinds import Arrays, ArrayTree, FilePath
from recurrent_jax.convert import _arrays
from recurrent_jax.convert._arrays import Array

Like = TypeVar("Like")
# The dtypes of NumPy and ml_dtypes, by their names in the format.
_DTYPES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U64": "uint64",
    "U32": "uint32",
    "U16": "uint16",
    "U8": "uint8",
    "BOOL": "bool",
}


@_checks.checked
def save_safetensors(path: FilePath, params: Arrays) -> None:
    """Write parameters, or any pytree of arrays, to a safetensors file.

    The name of an array is its path in the tree, such as `kernel`, or
    `0.forward.kernel` in a network. A flat dictionary, such as from `to_torch`, keeps
    its names. Cells are not saved. Store `repr(cell)`, which is code that builds the
    cell.

    Args:
        path: of the file. An existing file is replaced.
        params: a pytree of arrays. None is left out.

    Raises:
        TypeError: if a leaf is not an array, or its dtype is not supported.
        ValueError: if two paths have the same name, or if there is no array.
        OSError: if the file cannot be written. An existing file then does not change.
        ModuleNotFoundError: without the package `safetensors` (extra `convert`).

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
    where = "save_safetensors"
    _arrays.need(where, "safetensors")
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    path = os.path.realpath(path)  # a link stays one
    if os.path.exists(path) and not (os.path.isfile(path) or os.path.isdir(path)):
        raise OSError(f"{where}: {path!r} is no regular file, and is not replaced")
    _arrays.known(where, params)
    arrays: dict[str, Array] = {}
    for place, leaf in jax.tree.leaves_with_path(params):
        name = _name(place)
        if name in arrays:
            raise ValueError(f"{where}: two leaves are called {name!r}")
        if str(leaf.dtype) not in _DTYPES.values():
            raise TypeError(
                f"{where}: params: {name!r} is {leaf.dtype}; what can be read again is "
                f"{list(_DTYPES.values())}"
            )
        arrays[name] = np.ascontiguousarray(leaf).reshape(leaf.shape)
    if not arrays:
        raise ValueError(f"{where}: params must hold an array, got {params!r}")
    try:
        save_file(arrays, path)
    except SafetensorError as error:
        raise OSError(f"{where}: {os.fspath(path)!r}: {error}") from error


@_checks.checked
def read_safetensors(path: FilePath) -> dict[str, Array]:
    """Return all arrays of a safetensors file by name, as for `from_torch`.

    Args:
        path: of the file.

    Returns:
        NumPy arrays by name.

    Raises:
        ValueError: if the file is truncated, not of this format, or contains a dtype
            that NumPy does not have, such as an 8-bit float.
        ModuleNotFoundError: without the package `safetensors` (extra `convert`).

    Example:
        >>> import numpy as np, os, tempfile
        >>> import recurrent_jax as rj
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = os.path.join(folder, "weights.safetensors")
        ...     rj.convert.save_safetensors(path, {"lstm.bias_ih_l0": np.ones(8)})
        ...     rj.convert.read_safetensors(path)["lstm.bias_ih_l0"].shape
        (8,)
    """
    return _read("read_safetensors", path)


def _read(where: str, path: FilePath) -> dict[str, Array]:
    path = _arrays.file(where, "path", path)
    _arrays.need(where, "safetensors")
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "np") as file:
            kinds = {name: file.get_slice(name).get_dtype() for name in file.keys()}
            arrays = {n: file.get_tensor(n) for n in kinds if kinds[n] in _DTYPES}
    except (SafetensorError, ValueError, MemoryError, OverflowError) as error:
        raise ValueError(
            f"{where}: {os.fspath(path)!r} is truncated or not a safetensors file: "
            f"{_arrays.reason(error)}"
        ) from error
    if odd := [f"{n!r} of {kind}" for n, kind in kinds.items() if n not in arrays]:
        raise ValueError(
            f"{where}: {os.fspath(path)!r} holds {', '.join(odd[:3])}, which is "
            f"not read here; dtypes that are: {list(_DTYPES)}"
        )
    return arrays


@_checks.checked
def load_safetensors(path: FilePath, like: Like) -> Like:
    """Return parameters from a file that `save_safetensors` wrote.

    Args:
        path: of the file.
        like: parameters of the same structure, shapes and dtypes, or their shapes
            and dtypes alone, as from `jax.eval_shape`.

    Returns:
        JAX arrays in the structure of `like`.

    Raises:
        ValueError: if the file is damaged, or names or shapes differ from those of
        `like`. TypeError: if a dtype differs.

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
    ArrayTree().check(where, "like", like)
    arrays = _read(where, path)
    wanted = {_name(place): leaf for place, leaf in jax.tree.leaves_with_path(like)}
    _arrays.keys(where, arrays, list(wanted), f" of like, in {os.fspath(path)!r}")
    for name, want in wanted.items():
        if arrays[name].shape != want.shape:
            raise ValueError(
                f"{where}: {name} must be {describe(want)} as in like, got "
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
