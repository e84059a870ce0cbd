# SPDX-License-Identifier: Apache-2.0
"""What makes the built site whole: mathematics, notebooks, a check of every link."""

import importlib.metadata
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import jupytext
import rooms
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError

# What a plain notebook does not know: values in the text, and links to pages.
EVALUATED = re.compile(r"\{eval\}`(\w+)`")
CHAPTER = re.compile(r"\]\((\d\d-[\w-]+)\.md")
PAGE = re.compile(r"\[([^\]]+)\]\([^):]*\.md[^)]*\)")


def mathjax(app: Sphinx) -> None:
    """Copy MathJax from the installed package: one file, which draws by itself."""
    files = importlib.metadata.files("sphinx-mathjax-offline") or []
    (script,) = [file for file in files if file.name == "tex-svg-full.js"]
    target = Path(app.outdir) / "_static" / "mathjax.js"
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(str(script.locate()), target)


def notebooks(app: Sphinx) -> None:
    """Write every chapter of the course as a notebook to download."""
    target = Path(app.outdir) / "notebooks"
    target.mkdir(exist_ok=True)
    for path in sorted((Path(app.srcdir) / "course").glob("[0-9]*.md")):
        notebook = jupytext.read(path, fmt="md:myst")
        for cell in notebook.cells:
            if cell.cell_type == "markdown":
                text = EVALUATED.sub(r"`\1`", cell.source)
                text = CHAPTER.sub(r"](\1.ipynb", text)
                cell.source = PAGE.sub(r"\1", text)
        jupytext.write(notebook, target / f"{path.stem}.ipynb")


def offer(app: Sphinx, docname: str, source: list[str]) -> None:
    """Add the download to a chapter, below its title."""
    folder, _, name = docname.partition("/")
    if folder == "course" and name[:1].isdigit():
        place = f'<a href="../notebooks/{name}.ipynb" download>notebook</a>'
        note = f"\n\n*Run this chapter yourself: {place}.*\n"
        source[0] = re.sub(r"(?m)^(# .*)$", lambda m: m[1] + note, source[0], count=1)


def backlinks(app: Sphinx) -> None:
    """Correct the links from sources to the reference.

    Sphinx supposes that all names of a file have one public module. Here `LSTM` is in
    `recurrent_jax`, and `LSTMParams` in `recurrent_jax.cells`.
    """
    paths = {(entry.file, entry.name): entry.path for entry in rooms.entries()}
    known = sorted(rooms.rooms(), key=len, reverse=True)
    root = Path(app.outdir) / "_modules"
    for page in root.rglob("*.html"):
        file = page.relative_to(root).with_suffix("").as_posix().replace("/", ".")
        text = page.read_text()

        def one(match: re.Match[str], file: str = file) -> str:
            room = next(r for r in known if match[2].startswith(f"{r}."))
            name, dot, method = match[2].removeprefix(f"{room}.").partition(".")
            path = paths.get((file, name))
            return match[0] if path is None else f"{match[1]}{path}{dot}{method}"

        page.write_text(re.sub(r'(viewcode-back" href="[^"#]*#)([\w.]+)', one, text))


def spread(app: Sphinx, env: Any, docnames: list[str]) -> None:
    """Put chapters, which take long to run, at equal distances among other pages.

    Sphinx gives neighbouring pages to one process. So every process gets some chapters.
    """
    slow = [name for name in docnames if name.startswith("course/")]
    quick = [name for name in docnames if name not in slow]
    for n, name in enumerate(slow):
        quick.insert(n + n * len(quick) // max(1, len(slow)), name)
    docnames[:] = quick


def finish(app: Sphinx, exception: Exception | None) -> None:
    """Complete the site and check it, if it was built."""
    if exception is not None or app.builder.name != "html":
        return
    mathjax(app)
    notebooks(app)
    backlinks(app)
    dead = links(Path(app.outdir))
    if dead:
        raise ExtensionError("dead links:\n" + "\n".join(sorted(dead)))


class Page(HTMLParser):
    """The targets and the anchors of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.targets: set[str] = set()
        self.anchors: set[str] = {""}
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what an element points to, and what points to it."""
        for name, value in attrs:
            if name in ("id", "name"):
                self.anchors.add(value or "")
            elif name in ("href", "src") and value is not None:
                self.targets.add(value)


def links(root: Path) -> list[str]:
    """Return the internal links of a site that lead nowhere, and loads from outside."""
    pages = {path: Page(path.read_text()) for path in root.rglob("*.html")}
    dead = []
    for path, page in pages.items():
        for target in page.targets:
            parts = urlsplit(target)
            if parts.scheme or parts.netloc:
                continue
            place = path
            if parts.path:
                place = (path.parent / unquote(parts.path)).resolve()
            if place.is_dir():
                place = place / "index.html"
            there = place.exists()
            if there and place in pages:
                there = unquote(parts.fragment) in pages[place].anchors
            if not there:
                dead.append(f"{path.relative_to(root)}: {target}")
    return dead


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the steps with Sphinx."""
    app.connect("env-before-read-docs", spread)
    app.connect("source-read", offer)
    app.connect("build-finished", finish)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
