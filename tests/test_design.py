# SPDX-License-Identifier: Apache-2.0
"""docs/design.md: its list of files is the package, in the order of its layers."""

import ast
import pathlib
import re

ROOT = pathlib.Path(__file__).parents[1]
PACKAGE = ROOT / "recurrent_jax"
DESIGN = (ROOT / "docs" / "design.md").read_text()


def listed():
    """Return the rooms and files of the list, from the lowest layer to the highest."""
    tree = re.search(r"```\nrecurrent_jax/\n(.*?)```", DESIGN, re.S)[1]
    # A line that goes on with the text of the one above begins with more spaces.
    return [
        name
        for line in tree.splitlines()
        if line[2] != " "
        for name in re.match(r"  (\S+(?: \S+/)*)", line)[1].split()
    ]


def entry(path):
    """Return the entry of the list that a file belongs to: the longest that fits."""
    name = path.relative_to(PACKAGE).as_posix()
    fits = [e for e in listed() if name == e or (e[-1] == "/" and name.startswith(e))]
    return max(fits, key=len, default=None)


def files():
    return sorted(PACKAGE.rglob("*.py"))


def imported(path):
    """Return the files of the package that a file imports, wherever it does."""
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module, *(f"{node.module}.{a.name}" for a in node.names)]
        for name in names:
            if not name.startswith("recurrent_jax."):
                continue
            found = ROOT / name.replace(".", "/")
            for file in (found.with_suffix(".py"), found / "__init__.py"):
                if file.exists():
                    yield file


def test_every_file_is_in_the_list():
    assert {entry(path) for path in files()} == set(listed())


def test_files_import_what_the_list_has_above_them():
    order = {name: n for n, name in enumerate(listed())}
    below = [
        (path.relative_to(ROOT).as_posix(), other.relative_to(ROOT).as_posix())
        for path in files()
        if path.parent != PACKAGE or path.name != "__init__.py"
        for other in imported(path)
        if order[entry(other)] > order[entry(path)]
    ]
    assert not below


def test_files_that_the_page_names_exist():
    links = re.findall(r"\]\(\.\./(recurrent_jax/[^)]+)\)", DESIGN)
    named = re.findall(r"`((?:\w+/)+\w+\.py)`", DESIGN)
    assert links and named
    missing = [f for f in links if not (ROOT / f).exists()]
    missing += [f for f in named if not (PACKAGE / f).exists()]
    assert not missing
