# SPDX-License-Identifier: Apache-2.0
"""The site: what makes its build fail, and what its pages hold.

Some tests need the built site, `python -m sphinx -W -b html docs build/site`. The stage
`site` of `.ci/run` has built it before.
"""

import json
import pathlib
import re
import sys
import types

import pytest

pytest.importorskip("sphinx")
pytest.importorskip("jupytext")

ROOT = pathlib.Path(__file__).parents[1]
SITE = ROOT / "build" / "site"
sys.path.insert(0, str(ROOT / "docs" / "_ext"))

import docstrings  # noqa: E402
import finish  # noqa: E402
import outside  # noqa: E402
import reference  # noqa: E402
import rooms  # noqa: E402
from sphinx.errors import ExtensionError  # noqa: E402

import recurrent_jax as rj  # noqa: E402

built = pytest.mark.skipif(
    not (SITE / "index.html").exists(), reason="the site is not built"
)


def test_every_public_name_is_an_entry():
    paths = {p for entry in rooms.entries() for p in (entry.path, *entry.others)}
    for room in rooms.rooms():
        assert {f"{room}.{name}" for name in rooms.names_of(room)} <= paths
    assert {"recurrent_jax.LSTM", "recurrent_jax.cells.LSTM"} <= paths
    assert "recurrent_jax.nnx.RNN" in paths


def test_a_name_without_docstring_fails_the_build(tmp_path, monkeypatch):
    def secret():
        pass

    monkeypatch.setattr(rj.tasks, "secret", secret, raising=False)
    monkeypatch.setattr(rj.tasks, "__all__", [*rj.tasks.__all__, "secret"])
    with pytest.raises(ExtensionError, match=r"recurrent_jax\.tasks\.secret"):
        reference.generate(types.SimpleNamespace(srcdir=tmp_path))


def test_a_name_without_entry_fails_the_build():
    known = {entry.path: None for entry in rooms.entries()}
    domain = types.SimpleNamespace(objects=known)
    env = types.SimpleNamespace(get_domain=lambda name: domain)
    reference.check(None, env)
    del known["recurrent_jax.LSTM"]
    with pytest.raises(ExtensionError, match=r"recurrent_jax\.LSTM"):
        reference.check(None, env)


def test_defaults_are_code_that_a_user_can_write(tmp_path):
    reference.generate(types.SimpleNamespace(srcdir=tmp_path))
    pages = {p.name: p.read_text() for p in tmp_path.rglob("*.md")}
    signatures = re.findall(r"^`{5,6}\{py:\w+\} (.*)", "\n".join(pages.values()), re.M)
    assert len(signatures) > 400
    assert not [s for s in signatures if " at 0x" in s or re.search(r"\._\w", s)]
    assert "draw=jax.random.categorical" in pages["scheduled.md"]
    assert "angle_init=cayley_angles" in pages["exp_rnn.md"]


def test_fields_are_listed_once_and_a_protocol_with_its_methods(tmp_path):
    reference.generate(types.SimpleNamespace(srcdir=tmp_path))
    assert (tmp_path / "reference/methods/solve.md").read_text().count("Fields") == 1
    methods = (tmp_path / "reference/methods/loop.md").read_text()
    assert all(
        f"py:method}} {m}(loop" in methods for m in ("refuses", "run", "befores")
    )


def test_equations_and_references_of_a_docstring_become_markdown():
    text = docstrings.to_markdown(rj.LSTM, lambda words: words)
    assert "$$\n\\begin{aligned}\ni_t &= " in text
    assert "- `hidden_size`: H, the number of units." in text
    assert "```pycon\n>>> import jax" in text
    assert "<https://doi.org/10.1162/neco.1997.9.8.1735>" in text
    assert len([line for line in text.splitlines() if line.startswith("- ")]) == 12


def test_references_are_listed_apart_and_from_the_notes_after_them():
    text = docstrings.to_markdown(rj.GRU, lambda words: words)
    assert text.split("**References**")[1].count("\n- ") == 3
    text = docstrings.to_markdown(rj.MLSTM, lambda words: words)
    references = text.split("**References**\n\n")[1]
    assert references.startswith("- Beck et al., 2024. xLSTM")
    assert ">\n\nThe paper divides the keys" in references


def test_dead_links_are_found(tmp_path):
    page = '<a href="b.html#there">x</a><a href="b.html#gone">x</a><img src="c.png">'
    (tmp_path / "a.html").write_text(page)
    (tmp_path / "b.html").write_text('<p id="there">')
    assert sorted(finish.links(tmp_path)) == ["a.html: b.html#gone", "a.html: c.png"]


def test_links_out_of_docs_lead_into_the_site():
    source = [
        "[a](../README.md#install) [b](../recurrent_jax/cells) [c](../tests/parity)"
    ]
    app = types.SimpleNamespace(srcdir=ROOT / "docs")
    outside.lead(app, "wrappers", source)
    assert source == ["[a](whole-library.md#install) [b](reference/cells.md) c"]
    source = ["[d](docs/testing.md#x) [e](https://jax.dev) ![f](results/memory.png)"]
    outside.lead(app, "project/contributing", source)
    assert source == [
        "[d](../testing.md#x) [e](https://jax.dev) ![f](results/memory.png)"
    ]


def test_a_page_that_no_list_names_is_added_to_the_last(tmp_path):
    (tmp_path / "index.md").write_text("")
    (tmp_path / "cells.md").write_text("")
    (tmp_path / "new.md").write_text("")
    source = ["```{toctree}\ncells\n```\n"]
    outside.complete(types.SimpleNamespace(srcdir=tmp_path), "index", source)
    assert source == ["```{toctree}\ncells\nnew\n```\n"]


def chapters():
    found = sorted((ROOT / "docs" / "course").glob("[0-9]*.md"))
    assert len(found) >= 10
    return found


def typed(text):
    """Return fractions and percentages in the text of a chapter."""
    text = re.sub(r"(?s)^---.*?---|```.*?```|\$\$.*?\$\$|`.*?`|\$.*?\$", "", text)
    found = re.findall(r"(\d+\.\d+|\d+(?= ?%))( ?%)?", text)
    return {float(number) / (100 if percent else 1) for number, percent in found}


def test_no_result_is_typed_into_a_chapter():
    assert typed("9 % of {eval}`a` % `7.5` $0.3$ 0.25\n```\n0.5\n```") == {0.09, 0.25}
    for chapter in chapters():
        text = chapter.read_text()
        code = "\n".join(re.findall(r"(?s)```{code-cell}(.*?)```", text))
        settings = {float(number) for number in re.findall(r"\d+\.\d+", code)}
        assert typed(text) <= settings, chapter.name


@built
def test_no_number_in_a_chapter_has_too_many_digits():
    for chapter in chapters():
        page = (SITE / "course" / f"{chapter.stem}.html").read_text()
        shown = re.findall(r'<span class="output text_plain">(.*?)</span>', page)
        assert len(shown) == chapter.read_text().count("{eval}`")
        for number in shown:
            assert not re.search(r"\d\.\d{4}|\.\d*(000|999)", number), number


@built
def test_each_chapter_is_a_notebook():
    for chapter in chapters():
        notebook = json.loads(
            (SITE / "notebooks" / f"{chapter.stem}.ipynb").read_text()
        )
        text = "".join("".join(cell["source"]) for cell in notebook["cells"])
        assert "## Exercises" in text and "{eval}" not in text
        assert ".md" not in text
        hidden = [c for c in notebook["cells"] if "hide-cell" in str(c["metadata"])]
        assert len(hidden) == 3
