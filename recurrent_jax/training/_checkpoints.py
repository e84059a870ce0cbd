# SPDX-License-Identifier: Apache-2.0
"""Checkpoints that survive being killed, on Orbax."""

import errno
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from recurrent_jax import _checks
from recurrent_jax.training import _leaves, _store


class CheckpointError(ValueError):
    """No checkpoint can be used; the message says why, one by one.

    Example:
        >>> import tempfile
        >>> import jax.numpy as jnp
        >>> from recurrent_jax.training import CheckpointError, restore, save
        >>> directory = tempfile.mkdtemp()
        >>> _ = save(directory, {"w": jnp.zeros(3)})
        >>> try:
        ...     restore(directory, {"w": jnp.zeros(4)})
        ... except CheckpointError as error:
        ...     print(str(error).partition("checkpoint 0 ")[2])
        is of something else: ['w'] is float32[3], expected float32[4] as in like
    """


@_checks.checked
def save(directory: Path | str, state: Any, *, about: str = "", keep: int = 3) -> int:
    """Save a state as the newest checkpoint, and drop the oldest.

    Orbax writes beside and renames at the end, so that a process killed at any moment
    leaves the checkpoints before whole. Each array goes with a digest, which `restore`
    compares. Returns when all is on the disk. Threads and processes of one machine
    that save to one directory wait for one another; still give a run one of its own.

    Args:
        directory: made if it is not there.
        state: a pytree of arrays, PRNG keys and numbers, such as a
            `recurrent_jax.training.State`.
        about: what the state belongs to, for example `repr` of the cell: two cells
            may have parameters of equal shapes.
        keep: how many checkpoints stay, the newest; 2 at least, so that there is one
            to fall back on.

    Returns:
        The number of the checkpoint, one more than that of the last.

    Raises:
        ValueError: if `keep` is less than 2.
        TypeError: if a part of the state is no array, key or number.
        OSError: if it cannot be written, as on a full disk, in a read-only directory
            or where there is a file; the checkpoints before it stay as they are.
        ImportError: if Orbax is not installed.

    Example:
        >>> import tempfile
        >>> import jax, optax
        >>> import recurrent_jax as rj
        >>> params = rj.Elman(hidden_size=3).init(jax.random.key(0), in_features=2)
        >>> key = jax.random.key(1)
        >>> state = rj.training.init_state(params, optax.adam(0.1), key=key)
        >>> directory = tempfile.mkdtemp()
        >>> rj.training.save(directory, state)
        0
        >>> again = rj.training.restore(directory, state)
        >>> bool((again.params.kernel == params.kernel).all())
        True
    """
    _checks.integer("save", "keep", keep)
    if keep < 2:
        raise ValueError(
            f"save: keep must be at least 2, so that a damaged checkpoint leaves one "
            f"to fall back on; got {keep}"
        )
    path = _store.place("save", directory)
    arrays = _leaves.flatten("save", "state", state)
    content = {"about": about, "leaves": _leaves.describe(arrays)}
    items = {
        "content": [json.dumps(content).encode()],
        "state": [_leaves.as_bytes(arrays[name]) for name in sorted(arrays)],
    }
    ocp = _store.orbax()
    try:
        # Left by a save that was killed: Orbax removes it before it writes.
        options = {"max_to_keep": keep, "cleanup_tmp_directories": True}
        with _store.manager(path, **options) as manager:
            number: int = max(manager.all_steps(), default=-1) + 1
            args = {n: _store.item_type()(parts) for n, parts in items.items()}
            manager.save(number, args=ocp.args.Composite(**args), force=True)
    except Exception as error:  # whatever Orbax makes of a disk that fails
        raise OSError(
            getattr(error, "errno", None) or errno.EIO,
            f"save: nothing was saved, and the checkpoints before are as they were "
            f"({_reason(error)})",
            str(path),
        ) from error
    return number


@_checks.checked
def restore(directory: Path | str, like: Any, *, about: str = "") -> Any:
    """Return the newest state in a directory that is whole and fits.

    A checkpoint that is damaged, or of something else, is passed over with a warning
    that says which one, why, and which one is used in its place.

    Args:
        directory: the one given to `save`; it need not exist.
        like: a state of the same structure, shapes and dtypes, as training starts
            from. Arrays come back on the devices that its arrays are on.
        about: the text given to `save`.

    Returns:
        The state, equal in every bit, or None if there are no checkpoints.

    Raises:
        CheckpointError: if there are checkpoints, and none can be used.
        NotADirectoryError: if `directory` is a file, or a single checkpoint.
        ImportError: if Orbax is not installed.

    Warns:
        RuntimeWarning: if a checkpoint is passed over.

    Example:
        >>> import tempfile
        >>> import jax.numpy as jnp
        >>> from recurrent_jax.training import restore
        >>> restore(tempfile.mkdtemp(), {"w": jnp.zeros(3)}) is None
        True
    """
    path = _store.place("restore", directory)
    if not path.is_dir():
        return None
    failures: list[str] = []
    with _store.manager(path) as manager:
        numbers = sorted(manager.all_steps(), reverse=True)
        for number in numbers:
            try:
                state = _read(manager, number, like, about)
            except _leaves.Mismatch as error:
                failures.append(f"checkpoint {number} {error}")
                continue
            if failures:
                text = f"restore: {directory}: using checkpoint {number}, since "
                warnings.warn(text + "; ".join(failures), RuntimeWarning, stacklevel=2)
            return state
    if not failures:
        return None
    raise CheckpointError(
        f"restore: {directory}: no checkpoint can be used; " + "; ".join(failures)
    )


def _read(manager: Any, number: int, like: Any, about: str) -> Any:
    """Return one checkpoint, or raise `Mismatch` with what is wrong with it."""
    expected = _leaves.flatten("restore", "like", like)
    content = _item(manager, number, "content", lambda data: json.loads(data.tobytes()))
    _leaves.compare(content, expected, about)
    # Onto the host: devices may not be those that the state was saved from.
    arrays = _item(manager, number, "state", lambda data: _leaves.cut(data, expected))
    _leaves.verify(arrays, content["leaves"])
    return _leaves.rebuild(arrays, like)


def _item(manager: Any, number: int, name: str, decode: Callable[[Any], Any]) -> Any:
    args = _store.orbax().args.Composite(**{name: _store.item_type()()})
    try:
        return decode(manager.restore(number, args=args)[name])
    # Whatever Orbax or the file system make of broken files.
    except Exception as error:
        raise _leaves.Mismatch(
            f"is damaged: {name} cannot be read ({_reason(error)})"
        ) from error


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
