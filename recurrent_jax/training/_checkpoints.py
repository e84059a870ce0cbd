# SPDX-License-Identifier: Apache-2.0
"""Checkpoints on Orbax that survive a kill at any moment."""

import errno
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from recurrent_jax import _checks
from recurrent_jax.training import _leaves, _processes, _store

T = TypeVar("T")


class CheckpointError(ValueError):
    """No checkpoint can be used; the message gives the reason for each.

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
    """Save a state as the newest checkpoint, and delete the oldest.

    Orbax writes beside and renames at the end, so that a process killed at any moment
    leaves the checkpoints before whole. Each array goes with a digest, which `restore`
    compares. Returns when all is on the disk. Threads and processes of one machine
    that save to one directory wait for one another; still give a run one of its own.

    After `jax.distributed.initialize`, all processes call it together, with their parts
    of the same arrays. Process 0 writes, and what it meets is raised on each of them.

    Args:
        directory: created if it does not exist.
        state: a pytree of arrays, PRNG keys and numbers, such as a
            `recurrent_jax.training.State`.
        about: a description of what the state belongs to, for example `repr` of the
            cell, because two cells may have parameters of equal shapes.
        keep: number of newest checkpoints to keep, at least 2, so that an older one
            is left if the newest is damaged.

    Returns:
        The number of the checkpoint, one more than the number of the last.

    Raises:
        ValueError: if `keep` is less than 2, `directory` is empty, or an array of the
            state was deleted, as one that was donated is.
        TypeError: if a part of the state is not an array, key or number.
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
    arrays = _leaves.flatten("save", "state", state)
    return _processes.by_first(lambda: _write(directory, arrays, about, keep))


def _write(
    directory: Path | str, arrays: dict[str, np.ndarray], about: str, keep: int
) -> int:
    """Return the number of a new checkpoint."""
    path = _store.place("save", directory)
    content = {"about": about, "leaves": _leaves.describe(arrays)}
    items = {
        "content": [json.dumps(content).encode()],
        "state": [_leaves.as_bytes(arrays[name]) for name in sorted(arrays)],
    }
    ocp = _store.orbax()
    try:
        # Orbax first removes what a killed save has left.
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
def restore(directory: Path | str, like: T, *, about: str = "") -> T | None:
    """Return the newest state in a directory that is undamaged and fits.

    A checkpoint that is damaged or does not fit is skipped with a warning. The warning
    names it, the reason, and the checkpoint used instead.

    After `jax.distributed.initialize`, all processes call it together. Process 0 reads
    and warns, and sends the others what it has read. Their number may be another one
    than at the save.

    Args:
        directory: the directory given to `save`; it need not exist.
        like: a state of the same structure, shapes and dtypes, such as the initial
            state. Restored arrays are on the same devices as its arrays.
        about: the text given to `save`.

    Returns:
        The state, bit for bit, or None if there are no checkpoints.

    Raises:
        CheckpointError: if there are checkpoints, but none can be used.
        NotADirectoryError: if `directory` is a file, a single checkpoint, or a link to
            what is not there, such as a disk that is not mounted.
        ImportError: if Orbax is not installed.

    Warns:
        RuntimeWarning: if a checkpoint is skipped.

    Example:
        >>> import tempfile
        >>> import jax.numpy as jnp
        >>> from recurrent_jax.training import restore
        >>> restore(tempfile.mkdtemp(), {"w": jnp.zeros(3)}) is None
        True
    """
    expected = _leaves.flatten("restore", "like", like)
    found = _processes.by_first(lambda: _newest(directory, expected, about))
    if found is None:
        return None
    arrays, passed_over = found
    if passed_over:
        warnings.warn(passed_over, RuntimeWarning, stacklevel=2)
    return _leaves.rebuild(arrays, like)


def _newest(
    directory: Path | str, expected: dict[str, np.ndarray], about: str
) -> tuple[dict[str, np.ndarray], str] | None:
    """Return the newest checkpoint that can be used, and why those above it cannot.

    None if there are no checkpoints.
    """
    path = _store.place("restore", directory)
    if not path.is_dir():
        return None
    failures: list[str] = []
    with _store.manager(path) as manager:
        numbers = sorted(manager.all_steps(), reverse=True)
        for number in numbers:
            try:
                arrays = _read(manager, number, expected, about)
            except _leaves.Mismatch as error:
                failures.append(f"checkpoint {number} {error}")
                continue
            text = f"restore: {directory}: using checkpoint {number}, since "
            return arrays, text + "; ".join(failures) if failures else ""
    if not failures:
        return None
    raise CheckpointError(
        f"restore: {directory}: no checkpoint can be used; " + "; ".join(failures)
    )


def _read(
    manager: Any, number: int, expected: dict[str, np.ndarray], about: str
) -> dict[str, np.ndarray]:
    """Return one checkpoint, or raise `Mismatch` with the reason."""
    content = _item(manager, number, "content", lambda data: json.loads(data.tobytes()))
    _leaves.compare(content, expected, about)
    # Onto the host, because the devices may differ from those at the save.
    arrays: dict[str, np.ndarray] = _item(
        manager, number, "state", lambda data: _leaves.cut(data, expected)
    )
    _leaves.verify(arrays, content["leaves"])
    return arrays


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
