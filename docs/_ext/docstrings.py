# SPDX-License-Identifier: Apache-2.0
"""Docstrings of this library as Markdown: equations, tables and code stay."""

import inspect
import re
import textwrap
from collections.abc import Callable
from typing import Any

HEADINGS = {
    "Args": "Arguments",
    "Attributes": "Fields",
    "Returns": "Returns",
    "Raises": "Raises",
    "Example": "Example",
    "References": "References",
}
SECTION = re.compile(rf"^({'|'.join(HEADINGS)}):$", re.MULTILINE)
ARGUMENT = re.compile(r"^(\*{0,2}\w+(?:, \w+)*): *", re.MULTILINE)
ADDRESS = re.compile(r"(?<![(<])https?://\S+[\w/)]")
# A new reference begins with authors and a year, or the name of a project.
REFERENCE = re.compile(r"^[A-Z](?:[^.]|al\.)*?(, \d{4}|[a-z])\. ")
# The argument that is described, beside the type and shape of what it may be.
FIELD = re.compile(r"^ {4}(\w+): ([^#\n]+?)(?:  # (.*))?$", re.MULTILINE)


def to_markdown(thing: Any, link: Callable[[str], str]) -> str:
    """Return the docstring of `thing` as Markdown.

    Args:
        thing: a class, a function or a module.
        link: maps Markdown text to the same text with public names as links.
    """
    text = inspect.getdoc(thing) or ""
    first, *parts = SECTION.split(text)
    written = [link(_paragraphs(first))]
    for heading, body in zip(parts[::2], parts[1::2], strict=True):
        # What is no longer indented is text again.
        body, *notes = re.split(r"\n\n(?=\S)", body, maxsplit=1)
        body = textwrap.dedent(body).strip("\n")
        written.append(f"**{HEADINGS[heading]}**")
        written.append(_section(heading, body, link))
        written += [link(_paragraphs(note)) for note in notes]
    return "\n\n".join(part.strip("\n") for part in written if part.strip())


def fields(kind: type) -> str:
    """Return a list of the fields of a NamedTuple, with the comments of its source."""
    rows = []
    for name, annotation, comment in FIELD.findall(inspect.getsource(kind)):
        rows.append(f"- `{name}`: {comment or f'`{annotation}`'}")
    return "\n".join(rows)


def summary(thing: Any) -> str:
    """Return the first paragraph of a docstring as one line."""
    return (inspect.getdoc(thing) or "").partition("\n\n")[0].replace("\n", " ")


def _section(heading: str, body: str, link: Callable[[str], str]) -> str:
    if heading == "Example":
        return _example(body, link)
    if heading == "References":
        return _references(body)
    if heading in ("Args", "Attributes"):
        items = re.split(r"\n(?=\S)", body)
        return "\n".join(_item(item, link) for item in items)
    return link(body)


def _item(item: str, link: Callable[[str], str]) -> str:
    match = ARGUMENT.match(item)
    if match is None:
        return f"- {link(item)}"
    words = textwrap.dedent(item[match.end() :].replace("\n    ", "\n"))
    return f"- `{match[1]}`: " + link(words).replace("\n", "\n  ")


def _example(body: str, link: Callable[[str], str]) -> str:
    """Return prompts as fenced code, and words between them as words."""
    written = []
    for block in re.split(r"\n\n+", body):
        if block.startswith(">>>"):
            written.append(f"```pycon\n{block}\n```")
        elif block.startswith("    "):
            written.append(f"```python\n{textwrap.dedent(block)}\n```")
        else:
            written.append(link(block))
    return "\n\n".join(written)


def _references(body: str) -> str:
    entries: list[str] = []
    for line in body.splitlines():
        done = entries and (
            ADDRESS.search(entries[-1].splitlines()[-1]) or entries[-1][-1] in ".)"
        )
        starts = not entries or (done and REFERENCE.match(line))
        if starts:
            entries.append(line)
        else:
            entries[-1] += " " + line.strip()
    return "\n".join("- " + ADDRESS.sub(r"<\g<0>>", entry) for entry in entries)


def _paragraphs(text: str) -> str:
    """Return text with its indented code fenced, as prompts are Python."""
    written = []
    for block in re.split(r"\n\n", text):
        if block.startswith("    ") and not block.lstrip().startswith("$"):
            block = f"```python\n{textwrap.dedent(block)}\n```"
        elif block.startswith(">>>"):
            block = f"```pycon\n{block}\n```"
        written.append(block)
    return "\n\n".join(written)
