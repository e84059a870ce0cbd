# SPDX-License-Identifier: Apache-2.0
"""Writes the reference: one page for each room, and one for each file of a room.

The pages follow from the lists of public names alone. Without a docstring a name has no
entry, and the build fails.
"""

import enum
import importlib
import inspect
import itertools
import re
import shutil
from pathlib import Path
from typing import Any

import docstrings
import rooms
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError

from recurrent_jax._core.names import spell

NAME = re.compile(r"(?<!`)`((?:rj\.|recurrent_jax\.)?(?:\w+\.)?\w+)`(?!`)")
# The path of a name that a file keeps to itself.
PRIVATE = re.compile(r"\brecurrent_jax\.(?:\w+\.)*_\w+\.")
FENCE = re.compile(r"(^```.*?^```$|\$\$.*?\$\$)", re.MULTILINE | re.DOTALL)


def generate(app: Sphinx) -> None:
    """Write all pages into `reference/` of the sources, which git ignores."""
    root = Path(app.srcdir) / "reference"
    found = rooms.entries()
    missing = [entry.path for entry in found if rooms.undocumented(entry)]
    if missing:
        raise ExtensionError(f"public names without a docstring: {missing}")
    pages = Pages(found)
    written = {"index.md": pages.index()}
    for room in rooms.rooms():
        written |= pages.of_room(room)
    for name, text in written.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        # An unchanged page keeps its date, so that it is not built again.
        if not path.exists() or path.read_text() != text:
            path.write_text(text)
    for path in root.rglob("*.md"):
        if path.relative_to(root).as_posix() not in written:
            path.unlink()
    for path in [p for p in root.iterdir() if p.is_dir() and not any(p.iterdir())]:
        shutil.rmtree(path)


def check(app: Sphinx, env: Any) -> None:
    """Fail if a public name has no entry in what was read."""
    known = set(env.get_domain("py").objects)
    wanted = {entry.path for entry in rooms.entries()}
    if wanted - known:
        raise ExtensionError(f"not in the reference: {sorted(wanted - known)}")


class Pages:
    """The text of all pages of the reference."""

    def __init__(self, entries: list[rooms.Entry]) -> None:
        self.entries = entries
        self.known: dict[str, str] = {}
        for entry in reversed(entries):
            for path in (entry.path, *entry.others):
                self.known[path] = entry.path
                self.known[path.replace("recurrent_jax", "rj", 1)] = entry.path
            self.known.setdefault(entry.name, entry.path)

    def index(self) -> str:
        """Return the page of all rooms."""
        lines = ["# Reference", ""]
        lines += [
            "Every public name, with its equations, shapes, errors and papers.",
            "",
        ]
        lines += ["```{toctree}", ":hidden:", ""]
        lines += [f"{short(room)}" for room in rooms.rooms()]
        lines += ["```", "", "| module | what it holds |", "|---|---|"]
        for room in rooms.rooms():
            words = self.link(docstrings.summary(importlib.import_module(room)))
            lines.append(f"| [`{_spoken(room)}`]({short(room)}.md) | {words} |")
        return "\n".join(lines) + "\n"

    def of_room(self, room: str) -> dict[str, str]:
        """Return the pages of a room by file name."""
        module = importlib.import_module(room)
        mine = [entry for entry in self.entries if entry.room == room]
        lines = [f"# {_spoken(room)}", "", f"```{{py:module}} {room}", "```", ""]
        lines += [docstrings.to_markdown(module, self.link), ""]
        if len({entry.file for entry in mine}) <= 1 or room == rooms.TOP:
            if room == rooms.TOP:
                lines += self.table([e for e in self.entries if e.path.count(".") == 1])
            return {f"{short(room)}.md": "\n".join(lines) + self.all_of(mine)}
        pages = {}
        key = lambda entry: entry.file  # noqa: E731
        for file, group in itertools.groupby(sorted(mine, key=key), key):
            group = sorted(group, key=lambda e: (_is_parts(e.thing), mine.index(e)))
            name = f"{short(room)}/{file.rpartition('.')[2].strip('_')}"
            pages[name] = f"# {_title(file, group)}\n\n{self.all_of(group)}"
        there = [e for e in self.entries if e.room != room and _within(e, room)]
        lines += self.table([e for e in mine if not _is_parts(e.thing)] + there)
        lines += ["```{toctree}", ":hidden:", ""]
        order = {name: text.split("\n")[0].lower() for name, text in pages.items()}
        lines += sorted(pages, key=lambda name: order[name])
        lines += ["```", ""]
        whole = {f"{name}.md": text for name, text in pages.items()}
        return whole | {f"{short(room)}.md": "\n".join(lines)}

    def table(self, entries: list[rooms.Entry]) -> list[str]:
        """Return a table of names and what they are."""
        lines = ["| name | what it is |", "|---|---|"]
        for entry in entries:
            words = "" if isinstance(entry.thing, dict) else entry.thing
            words = (
                self.link(docstrings.summary(words)) if words else "the laws by name"
            )
            lines.append(f"| {_role(entry.name, entry.path)} | {words} |")
        return [*lines, ""]

    def all_of(self, entries: list[rooms.Entry]) -> str:
        """Return the descriptions of some names."""
        return "\n\n".join(self.one(entry) for entry in entries) + "\n"

    def one(self, entry: rooms.Entry) -> str:
        """Return the description of one name."""
        thing = entry.thing
        module, _, name = entry.path.rpartition(".")
        kind = "class" if inspect.isclass(thing) else "function"
        if isinstance(thing, dict):
            kind, text = "data", "A dict of the laws by name."
        else:
            text = docstrings.to_markdown(thing, self.link)
            if _is_parts(thing) and "**Fields**" not in text:
                text += "\n\n**Fields**\n\n" + docstrings.fields(thing)
        lines = [f"```{{py:currentmodule}} {module}", "```", ""]
        lines += [f"``````{{py:{kind}}} {name}{_signature(thing)}"]
        lines += [f":canonical: {path}" for path in entry.others[:1]]
        lines += ["", text, ""]
        for method in _methods(thing):
            lines += self.method(thing, method)
        return "\n".join([*lines, "``````"])

    def method(self, kind: type, name: str) -> list[str]:
        """Return the description of a method that explains itself."""
        function = inspect.unwrap(getattr(kind, name))
        text = docstrings.to_markdown(function, self.link)
        signature = _signature(function, bound=True)
        return [f"`````{{py:method}} {name}{signature}", "", text, "`````", ""]

    def link(self, text: str) -> str:
        """Return Markdown in which public names in backticks are links."""

        def one(match: re.Match[str]) -> str:
            path = self.known.get(match[1])
            return match[0] if path is None else _role(match[1], path)

        parts = FENCE.split(text)
        parts[::2] = [NAME.sub(one, part) for part in parts[::2]]
        return "".join(parts)


def short(room: str) -> str:
    """Return the name of the page of a room."""
    return room if room == rooms.TOP else room.rpartition(".")[2]


def _spoken(room: str) -> str:
    return room.replace("recurrent_jax.", "rj.")


def _role(name: str, path: str) -> str:
    return f"{{py:obj}}`{name} <{path}>`"


def _within(entry: rooms.Entry, room: str) -> bool:
    return any(p.rpartition(".")[0] == room for p in (entry.path, *entry.others))


def _title(file: str, group: list[rooms.Entry]) -> str:
    main = [e.name for e in group if not _is_parts(e.thing)] or [group[0].name]
    if len(main) <= 2:
        return ", ".join(main)
    return docstrings.summary(importlib.import_module(file)).rstrip(".")


def _is_parts(thing: Any) -> bool:
    return inspect.isclass(thing) and issubclass(thing, tuple)


def _is_protocol(thing: Any) -> bool:
    return getattr(thing, "_is_protocol", False)


def _methods(thing: Any) -> list[str]:
    """Return the methods of a protocol; of others, those that explain themselves."""
    if not inspect.isclass(thing):
        return []
    return [
        name
        for name, method in vars(thing).items()
        if name[0] != "_"
        and name not in getattr(thing, "__dataclass_fields__", ())
        and inspect.isfunction(getattr(thing, name))
        and (_is_protocol(thing) or "\n\n" in (inspect.getdoc(method) or ""))
    ]


def _signature(thing: Any, bound: bool = False) -> str:
    """Return the arguments with defaults as code, without annotations."""
    if not callable(thing) or _is_protocol(thing):
        return ""
    if inspect.isclass(thing) and issubclass(thing, Exception):
        return ""
    try:
        signature = inspect.signature(thing)
    except ValueError:
        return ""
    if inspect.isclass(thing) and list(signature.parameters) == ["args", "kwargs"]:
        return "()"
    params = list(signature.parameters.values())[1 if bound else 0 :]
    params = [p.replace(annotation=p.empty, default=_Spelled.of(p)) for p in params]
    signature = signature.replace(parameters=params, return_annotation=signature.empty)
    return str(signature)


class _Spelled:
    """A default value whose repr is the code for it."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __repr__(self) -> str:
        if isinstance(self.value, type):
            return self.value.__name__
        if isinstance(self.value, enum.Enum):
            return str(self.value)
        text = spell(self.value)
        if "<" in text:  # a lambda, or an object that is known by its address
            return "..."
        text = text.replace("jax.numpy.", "jnp.").replace("jax._src.", "jax.")
        return PRIVATE.sub("", text)

    @classmethod
    def of(cls, parameter: inspect.Parameter) -> Any:
        """Return the default of a parameter, spelled."""
        default = parameter.default
        return default if default is parameter.empty else cls(default)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the two steps with Sphinx."""
    app.connect("builder-inited", generate)
    app.connect("env-check-consistency", check)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
