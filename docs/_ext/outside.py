# SPDX-License-Identifier: Apache-2.0
"""Links that leave docs/, and pages whose text stands outside of it."""

import os
import posixpath
import re
from pathlib import Path

from sphinx.application import Sphinx

LINK = re.compile(r"(?<!!)\[([^\]]+)\]\((?!https?:|#)([^)#\s]+)(#[^)\s]+)?\)")
# Where a text of the repository stands in the site.
PAGES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "project/contributing.md",
    "CHANGELOG.md": "project/changes.md",
    "benchmarks/README.md": "project/benchmarks.md",
    "recurrent_jax/cells": "reference/cells.md",
}
# The site has one heading "Install", on another page than the README.
ANCHORS = {"README.md#install": "whole-library.md#install"}


def generate(app: Sphinx) -> None:
    """Copy the texts that stand outside into `project/`, which git ignores."""
    source = Path(app.srcdir)
    for name, page in PAGES.items():
        if page.startswith("project/"):
            text = (source.parent / name).read_text()
            path = source / page
            path.parent.mkdir(exist_ok=True)
            if not path.exists() or path.read_text() != text:
                path.write_text(text)


def lead(app: Sphinx, docname: str, source: list[str]) -> None:
    """Point links at pages of the site, and drop those to folders."""
    home = {page: name for name, page in PAGES.items() if page.startswith("project/")}
    page = f"{docname}.md"
    # The file that the text was written for, from the root of the repository.
    original = home.get(page, f"docs/{page}")
    root = Path(app.srcdir).parent

    def one(match: re.Match[str]) -> str:
        words, target, anchor = match[1], match[2], match[3] or ""
        path = posixpath.normpath(posixpath.join(posixpath.dirname(original), target))
        there = ANCHORS.get(path + anchor)
        if there is None and path in PAGES:
            there = PAGES[path] + anchor
        if there is None and path.startswith("docs/"):
            there = path.removeprefix("docs/") + anchor
        if there is None and (root / path).is_dir():
            return words
        if there is None:
            there = f"../{path}"
        return f"[{words}]({os.path.relpath(there, posixpath.dirname(page) or '.')})"

    source[0] = LINK.sub(one, source[0])


def complete(app: Sphinx, docname: str, source: list[str]) -> None:
    """Add to the last list of the landing page the pages that no list names."""
    if docname == "index":
        pages = {path.stem for path in Path(app.srcdir).glob("*.md")} - {"index"}
        more = "".join(f"{name}\n" for name in sorted(pages - {*source[0].split()}))
        source[0] = f"{source[0].rstrip().removesuffix('```')}{more}```\n"


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the two steps with Sphinx."""
    app.connect("builder-inited", generate)
    app.connect("source-read", lead)
    app.connect("source-read", complete)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
