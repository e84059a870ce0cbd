# SPDX-License-Identifier: Apache-2.0
"""A directory of checkpoints: Orbax numbers them, renames them in, drops the oldest.

Each item of a checkpoint is one file of bytes, written and read here. Nothing runs in
the background, so that what goes wrong is raised where it happens, and only there.
"""

import contextlib
import dataclasses
import functools
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np

from recurrent_jax._core import extras

_FILE = "bytes"


def orbax() -> Any:
    """Return the module of Orbax."""
    return extras.package(
        "orbax.checkpoint", "checkpoints need Orbax", "recurrent-jax[checkpoints]"
    )


def place(where: str, directory: Any) -> Path:
    """Return the path of a directory that holds checkpoints, or will.

    Raises:
        TypeError: if it is no path.
        NotADirectoryError: if there is a file, or one checkpoint, in its place.
    """
    if not isinstance(directory, str | Path):
        raise TypeError(
            f"{where}: directory must be a path, str or pathlib.Path, got "
            f"{type(directory).__name__}"
        )
    if not str(directory):
        raise ValueError(
            f"{where}: directory must name one; that of the process is '.'"
        )
    if "://" in str(directory) or str(directory).startswith("~"):
        raise ValueError(
            f"{where}: directory must be one of this machine's file system, got "
            f"{str(directory)!r}; mount a bucket, and use os.path.expanduser for ~"
        )
    path = Path(directory).absolute()
    if path.is_symlink() and not path.exists():
        raise NotADirectoryError(
            f"{where}: directory must be one of checkpoints, but {path} is a link to "
            f"{os.readlink(path)}, which is not there"
        )
    for each in (path, *path.parents):
        if each.exists() and not each.is_dir():
            raise NotADirectoryError(
                f"{where}: directory must be one of checkpoints, but {each} is a file"
            )
    if (path / "_CHECKPOINT_METADATA").exists():
        raise NotADirectoryError(
            f"{where}: {path} is a single checkpoint; pass {path.parent}, the "
            "directory that holds it"
        )
    return path


@contextlib.contextmanager
def manager(path: Path, **options: Any) -> Iterator[Any]:
    """Give the manager of a directory, to one thread or process at a time.

    Of several processes that train together, process 0 alone may ask for it.
    """
    ocp = orbax()
    path.mkdir(parents=True, exist_ok=True)
    options = {"enable_async_checkpointing": False, "create": False, **options}
    if jax.process_count() > 1:  # Orbax is not to wait for the others
        options["multiprocessing_options"] = ocp.options.MultiprocessingOptions(
            primary_host=0, active_processes={0}, barrier_sync_key_prefix="first"
        )
    with (
        _lock(path),
        ocp.CheckpointManager(
            path, options=ocp.CheckpointManagerOptions(**options)
        ) as found,
    ):
        yield found


@contextlib.contextmanager
def _lock(path: Path) -> Iterator[None]:
    """Hold the lock of a directory, which the system lets go of if the process dies."""
    try:
        import fcntl
    except ModuleNotFoundError:  # not a system with such locks
        yield
        return
    number = os.open(path, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # a file system without such locks
            fcntl.flock(number, fcntl.LOCK_EX)
        yield
    finally:
        os.close(number)


@functools.cache
def item_type() -> Any:
    """Return the arguments of Orbax for an item that is a file of bytes.

    `item_type()(parts)` saves them end to end; `item_type()()` restores one array.
    """
    ocp = orbax()

    class Handler(ocp.CheckpointHandler):  # type: ignore[misc]
        def save(self, directory: Any, args: Any) -> None:
            with open(Path(directory) / _FILE, "xb") as file:
                for part in args.parts:
                    file.write(part)
                file.flush()
                os.fsync(file.fileno())

        def restore(self, directory: Any, args: Any) -> np.ndarray:
            return np.fromfile(Path(directory) / _FILE, np.uint8)

    @ocp.args.register_with_handler(Handler, for_save=True, for_restore=True)
    @dataclasses.dataclass
    class Item(ocp.args.CheckpointArgs):  # type: ignore[misc]
        parts: Iterable[Any] = ()

    return Item
