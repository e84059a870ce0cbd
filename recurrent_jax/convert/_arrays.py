# SPDX-License-Identifier: Apache-2.0
"""Arrays of strangers: read, checked, cut and joined.

Arrays stay NumPy's until the end, so that nothing is compiled; those of JAX stay what
they are, so that a conversion can be differentiated.
"""

import os
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from recurrent_jax._checks import describe
from recurrent_jax._core import extras

Array: TypeAlias = Any  # NumPy's or JAX's


class LossyConversionWarning(UserWarning):
    """What `nearest=True` lost."""


def lose(where: str, what: str, nearest: bool) -> None:
    """Refuse what cannot be exact, or say what is lost."""
    if not nearest:
        raise ValueError(
            f"{where}: {what}. nearest=True gives the nearest and says what is lost"
        )
    warnings.warn(f"{where}: {what}", LossyConversionWarning, stacklevel=2)


def read(where: str, name: str, value: Any) -> Array:
    """Return a floating-point array made of an array, or of a tensor of PyTorch."""
    if hasattr(value, "detach"):
        value = value.detach().cpu()
    if not isinstance(value, jax.Array):
        value = _to_numpy(where, name, value)
    if not jnp.issubdtype(value.dtype, jnp.floating):
        raise TypeError(
            f"{where}: the weight {name} must be floating point, got {describe(value)}"
        )
    if jax.dtypes.canonicalize_dtype(value.dtype) != value.dtype:
        raise TypeError(
            f"{where}: {name} is {value.dtype}, which JAX cannot hold while 64-bit "
            "types are off: jax.config.update('jax_enable_x64', True), or cast it"
        )
    return value


def _to_numpy(where: str, name: str, value: Any) -> Array:
    try:
        if isinstance(value, np.ndarray | np.generic) or not hasattr(
            value, "__dlpack__"
        ):
            array = np.asarray(value)
        else:  # bfloat16 of PyTorch, which NumPy's own protocol lacks
            wide = str(getattr(value, "dtype", "")).endswith("float64")
            # Under JAX, 64 bits would become 32 where 64-bit types are off.
            array = (
                np.from_dlpack(value) if wide else np.asarray(jnp.from_dlpack(value))
            )
    except (TypeError, ValueError, BufferError, RuntimeError) as error:
        raise TypeError(
            f"{where}: the weight {name} must be an array. {error}"
        ) from error
    if array.dtype == object:
        got = "an array of objects" if value is array else type(value).__name__
        raise TypeError(f"{where}: the weight {name} must be an array, got {got}")
    return array


def need(where: str, package: str) -> None:
    """Check that an optional package is installed."""
    extras.package(package, f"{where} needs {package}", "recurrent-jax[convert]")


def reason(error: Exception) -> str:
    """Return what another library says of a file, in one line."""
    lines = str(error).split("\n")
    return lines[0].strip()[:200] or type(error).__name__


def path(where: str, argument: str, value: Any) -> str:
    """Return a path as a string."""
    if not isinstance(value, str) and not hasattr(value, "__fspath__"):
        raise TypeError(
            f"{where}: {argument} must be a path, str or os.PathLike, got "
            f"{type(value).__name__}"
        )
    return os.fspath(value)


def file(where: str, argument: str, value: Any) -> str:
    """Return the path of a file that can be read to its end."""
    found = path(where, argument, value)
    if os.path.exists(found) and not os.path.isfile(found):
        is_what = "a directory" if os.path.isdir(found) else "no regular file"
        raise ValueError(
            f"{where}: {argument} must be that of a file, but {found!r} is {is_what}"
        )
    return found


def _named(value: Any) -> str:
    """Return the likely fix for a module, its parameters, or a path."""
    if hasattr(value, "state_dict"):
        return "; pass module.state_dict()"
    if hasattr(value, "send"):
        return "; without their names, it is unknown what they are"
    if isinstance(value, str):
        return "; read the file first, as torch.load or read_safetensors does"
    return ""


def mapping(where: str, name: str, value: Any, holds: str) -> Mapping[Any, Any]:
    """Check that a value is a dictionary."""
    if not isinstance(value, Mapping):
        raise TypeError(
            f"{where}: {name} must be a dictionary of {holds}, "
            f"got {type(value).__name__}{_named(value)}"
        )
    return value


def check(
    where: str, arrays: Mapping[str, Array], shapes: Mapping[str, tuple[int, ...]]
) -> None:
    """Check shapes, and that all arrays are of one dtype."""
    first = next(iter(arrays))
    for name, shape in shapes.items():
        if arrays[name].shape != shape:
            raise ValueError(
                f"{where}: {name} must be of shape {shape}, "
                f"got {describe(arrays[name])}; "
                f"{first} is {describe(arrays[first])}"
            )
    for name, array in arrays.items():
        if array.dtype != arrays[first].dtype:
            raise TypeError(
                f"{where}: the weight {name} is {array.dtype} but {first} is "
                f"{arrays[first].dtype}; nothing is cast silently"
            )


def rank(where: str, arrays: Mapping[str, Array], ranks: Mapping[str, int]) -> None:
    """Check numbers of axes, before sizes are read off them."""
    for name, ndim in ranks.items():
        if arrays[name].ndim != ndim:
            raise ValueError(
                f"{where}: the weight {name} must have {ndim} axes, got "
                f"{describe(arrays[name])}"
            )
        if 0 in arrays[name].shape:
            raise ValueError(
                f"{where}: the weight {name} is empty, {describe(arrays[name])}"
            )


def keys(where: str, given: Any, wanted: Sequence[str], fix: str = "") -> None:
    """Check that a dictionary has exactly the names that are wanted."""
    missing, unknown = (
        sorted(set(wanted) - set(given)),
        sorted(map(str, set(given) - set(wanted))),
    )
    if missing or unknown:
        found = [f"has no {missing}"] * bool(missing)
        found += [f"has the unknown {unknown}"] * bool(unknown)
        raise ValueError(f"{where}: the dictionary {' and '.join(found)}{fix}")


def split(array: Array, parts: int) -> list[Array]:
    """Return equal parts of the last axis."""
    size = array.shape[-1] // parts
    return [array[..., k * size : (k + 1) * size] for k in range(parts)]


def join(parts: Sequence[Array]) -> Array:
    """Return arrays side by side along the last axis."""
    ours = any(isinstance(part, jax.Array) for part in parts)
    return (jnp if ours else np).concatenate(parts, axis=-1)


def stack(parts: Sequence[Array]) -> Array:
    """Return arrays along a new first axis."""
    ours = any(isinstance(part, jax.Array) for part in parts)
    return (jnp if ours else np).stack(parts)


def nothing(like: Array) -> Array:
    """Return what adds nothing: -0.0, since -0.0 + 0.0 is 0.0 and so not the same."""
    return np.full(like.shape, -0.0, like.dtype)


def finish(params: Any) -> Any:
    """Return parameters as arrays of JAX."""
    return jax.tree.map(jnp.asarray, params)


def export(where: str, params: Any) -> Any:
    """Return parameters as arrays of NumPy that may be written to."""
    known(where, params)
    return jax.tree.map(np.array, params)


def known(where: str, params: Any) -> None:
    """Check that parameters have values, which tracers and shapes have not."""
    for path, leaf in jax.tree.leaves_with_path(params):
        if isinstance(leaf, jax.core.Tracer | jax.ShapeDtypeStruct):
            raise TypeError(
                f"{where}: params{jax.tree_util.keystr(path)} must be an array that is "
                f"known, got {describe(leaf)} without values; call it outside of jit"
            )


def is_list(value: Any) -> bool:
    """Whether a value is a list of layers or arrays, and not one array."""
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)
