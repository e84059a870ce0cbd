# SPDX-License-Identifier: Apache-2.0
"""The shared library: where it is, and whether it fits this process."""

import ctypes
import functools
import os
import pathlib
import re
import sys
import threading
import zlib
from typing import NamedTuple

import jax

SWITCH = "RECURRENT_JAX_KERNELS"
_SUFFIX = ".dylib" if sys.platform == "darwin" else ".so"
FILE = pathlib.Path(__file__).parent / "cpu" / f"librecurrent_jax_cpu{_SUFFIX}"
VERSION = 2  # of the contract in cpu/README.md
_HANDLERS = [
    f"{name}_{direction}"
    for name in ("lstm", "gru", "elman")
    for direction in ("forward", "backward")
]
_BUILD = "install a wheel for this platform, or a C++ compiler and then from source"
_lock = threading.Lock()


class Library(NamedTuple):
    """A library that is in use, or why there is none.

    Attributes:
        path: its file, or None.
        isa: the set of instructions that it uses, such as `avx2`, or None.
        reason: why it is not in use, or None.
    """

    path: pathlib.Path | None
    isa: str | None
    reason: str | None

    @property
    def active(self) -> bool:
        """Whether it is in use."""
        return self.reason is None


def turned_off() -> bool:
    """Return whether no kernel may run in this process."""
    return os.environ.get(SWITCH) == "off"


def chosen_by_default() -> bool:
    """Return whether `unroll` may choose a kernel without being asked to.

    Returns:
        True if the shared library is in use and the environment variable
        `RECURRENT_JAX_KERNELS` is not `off`.

    Raises:
        ValueError: if `RECURRENT_JAX_KERNELS` is neither `on` nor `off`.

    Example:
        >>> import recurrent_jax as rj
        >>> rj.kernels.chosen_by_default() == rj.kernels.loaded().active
        True
    """
    switch = os.environ.get(SWITCH, "on")
    if switch not in ("on", "off"):
        raise ValueError(f"{SWITCH} must be on or off, got {switch!r}")
    return switch == "on" and loaded().active


def loaded() -> Library:
    """Return the shared library of the kernels for CPUs. The first call loads it.

    Returns:
        A `Library`, whose field `path` is the file and `isa` the set of instructions.
        Its field `reason` is None, or says in words why the library is not in use.

    Example:
        >>> import recurrent_jax as rj
        >>> library = rj.kernels.loaded()
        >>> library.active == (library.reason is None)
        True
    """
    with _lock:  # it must not be registered twice
        return _load()


@functools.cache
def _load() -> Library:
    if turned_off():
        return Library(None, None, f"{SWITCH}=off")
    path = FILE
    if not path.exists():
        return Library(None, None, f"it was not built; {_BUILD}")
    try:
        handlers = ctypes.CDLL(str(path))
        handlers.rj_isa.restype = ctypes.c_char_p
        version, interface = handlers.rj_version(), handlers.rj_ffi_version()
    except (OSError, AttributeError) as error:
        return Library(path, None, f"{path} does not load: {error}")
    if version != VERSION:
        told = f"{path} is of version {version}, and {VERSION} is needed"
        return Library(path, None, f"{told}; {_BUILD}")
    here = _interface()
    if here is not None and not here // 1000 * 1000 <= interface <= here:
        told = f"{path} was built for version {_dotted(interface)} of XLA's interface"
        return Library(path, None, f"{told}, and jaxlib has {_dotted(here)}; {_BUILD}")
    try:
        for handler in _HANDLERS:
            capsule = jax.ffi.pycapsule(getattr(handlers, f"rj_{handler}"))
            name = target(*handler.split("_"))
            jax.ffi.register_ffi_target(name, capsule, platform="cpu")
    except Exception as error:
        return Library(path, None, f"{path} cannot be registered: {error}")
    return Library(path, handlers.rj_isa().decode(), None)


@functools.cache
def target(name: str, direction: str) -> str:
    """Return the name that a handler is registered under.

    It changes with the library, so that no compiled program that is read from a cache
    calls another one than it was compiled for.
    """
    return f"recurrent_jax_{name}_{direction}_{zlib.crc32(FILE.read_bytes()):08x}"


def _interface() -> int | None:
    """Return `1000 * major + minor` of the interface of jaxlib, if its header tells."""
    header = pathlib.Path(jax.ffi.include_dir(), "xla", "ffi", "api", "c_api.h")
    try:
        text = header.read_text()
    except OSError:
        return None
    found = [
        re.search(rf"#define XLA_FFI_API_{part} (\d+)", text)
        for part in ("MAJOR", "MINOR")
    ]
    if None in found:
        return None
    major, minor = (int(one[1]) for one in found if one)
    return 1000 * major + minor


def _dotted(version: int) -> str:
    return "{}.{}".format(*divmod(version, 1000))
