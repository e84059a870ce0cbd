# SPDX-License-Identifier: Apache-2.0
"""The public names of the library: where each one lives, and on which page."""

import dataclasses
import importlib
import inspect
import pkgutil
import sys
from types import ModuleType
from typing import Any

import recurrent_jax

TOP = "recurrent_jax"


@dataclasses.dataclass(frozen=True)
class Entry:
    """One public thing, which may have several public names."""

    path: str  # the name that users write: recurrent_jax.LSTM
    others: tuple[str, ...]  # further names: recurrent_jax.cells.LSTM
    room: str  # the module whose part of the reference describes it
    file: str  # the module that defines it

    @property
    def name(self) -> str:
        """The last part of the name."""
        return self.path.rpartition(".")[2]

    @property
    def thing(self) -> Any:
        """The object itself."""
        module, _, name = self.path.rpartition(".")
        return getattr(importlib.import_module(module), name)


def rooms() -> list[str]:
    """Return the public modules: the package first, then its rooms by name."""
    names = [name for _, name, _ in pkgutil.iter_modules(recurrent_jax.__path__)]
    return [TOP, *(f"{TOP}.{name}" for name in sorted(names) if name[0] != "_")]


def names_of(room: str) -> list[str]:
    """Return the public names of a module, modules apart."""
    module = importlib.import_module(room)
    names = getattr(module, "__all__", None)
    if names is None:
        names = [
            name
            for name, thing in vars(module).items()
            if name[0] != "_" and getattr(thing, "__module__", None) == room
        ]
    return [n for n in names if not isinstance(getattr(module, n), ModuleType)]


def entries() -> list[Entry]:
    """Return every public thing once, in the order of rooms and of their lists."""
    paths: dict[Any, list[str]] = {}
    for room in rooms():
        module = importlib.import_module(room)
        for name in names_of(room):
            thing = getattr(module, name)
            paths.setdefault((id(thing), name), []).append(f"{room}.{name}")
    return [_entry(names) for names in paths.values()]


def undocumented(entry: Entry) -> bool:
    """Whether a thing lacks a docstring of its own."""
    thing = entry.thing
    if isinstance(thing, dict):  # it can have none; that of its room speaks of it
        room = importlib.import_module(entry.room)
        return f"`{entry.name}`" not in (room.__doc__ or "")
    text = inspect.getdoc(thing) or ""
    return not text or text.startswith(f"{entry.name}(")


def _entry(paths: list[str]) -> Entry:
    module, _, name = paths[0].rpartition(".")
    thing = getattr(importlib.import_module(module), name)
    file = getattr(thing, "__module__", None) or module
    if not file.startswith(TOP) or not hasattr(sys.modules[file], name):
        file = module
    homes = [path.rpartition(".")[0] for path in paths]
    # The room whose own file defines it; else the most special one that has it.
    inner = [home for home in homes if home != TOP and file.startswith(home)]
    special = [home for home in homes if home != TOP]
    room = (inner or special or homes)[0]
    return Entry(paths[0], tuple(paths[1:]), room, file)
