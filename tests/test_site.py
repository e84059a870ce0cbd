# SPDX-License-Identifier: Apache-2.0
"""The site: what makes its build fail, and how its pages look in a browser.

The browser needs the built site, `python -m sphinx -W -b html docs build/site`, and
Chromium or Chrome. The stage `site` of `.ci/run` has built it before these tests.
"""

import functools
import http.server
import json
import pathlib
import shutil
import sys
import threading
import types

import pytest

pytest.importorskip("sphinx")
pytest.importorskip("jupytext")
playwright = pytest.importorskip("playwright.sync_api")

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

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
BROWSER = next(filter(None, map(shutil.which, BROWSERS)), None)
built = pytest.mark.skipif(
    not (SITE / "index.html").exists(), reason="the site is not built"
)
browsed = pytest.mark.skipif(BROWSER is None, reason="there is no Chromium or Chrome")
# Every page that was written, and some of the reference, which all look alike.
PAGES = sorted(
    path.relative_to(SITE).as_posix()
    for path in [*SITE.glob("*.html"), *SITE.glob("course/*.html")]
)
PAGES += [
    f"reference/{name}.html"
    for name in ("index", "recurrent_jax", "cells", "cells/lstm", "cells/mlstm")
]
PAGES += ["reference/tasks.html", "reference/training.html", "project/changes.html"]


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


def test_equations_and_references_of_a_docstring_become_markdown():
    text = docstrings.to_markdown(rj.LSTM, lambda words: words)
    assert "$$\n\\begin{aligned}\ni_t &= " in text
    assert "- `hidden_size`: H, the number of units." in text
    assert "```pycon\n>>> import jax" in text
    assert "<https://doi.org/10.1162/neco.1997.9.8.1735>" in text
    assert len([line for line in text.splitlines() if line.startswith("- ")]) == 12


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


@built
def test_each_chapter_is_a_notebook():
    chapters = sorted((ROOT / "docs" / "course").glob("[0-9]*.md"))
    assert len(chapters) >= 10
    for chapter in chapters:
        notebook = json.loads(
            (SITE / "notebooks" / f"{chapter.stem}.ipynb").read_text()
        )
        text = "".join("".join(cell["source"]) for cell in notebook["cells"])
        assert "## Exercises" in text and "{eval}" not in text
        assert ".md" not in text
        hidden = [c for c in notebook["cells"] if "hide-cell" in str(c["metadata"])]
        assert len(hidden) == 3


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def address():
    handler = functools.partial(Quiet, directory=SITE)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(
            executable_path=BROWSER, args=["--no-sandbox"]
        )
        yield browser
        browser.close()


@built
@browsed
@pytest.mark.parametrize("width, scheme", [(390, "dark"), (1280, "light")])
def test_pages_fit_and_load_without_errors(address, browser, width, scheme):
    size = {"width": width, "height": 800}
    page = browser.new_page(viewport=size, color_scheme=scheme)
    wrong = []
    page.on("console", lambda m: m.type == "error" and wrong.append(m.text))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on(
        "request",
        lambda r: (
            r.url.startswith(("http://127.0.0.1", "data:")) or wrong.append(r.url)
        ),
    )
    page.on("response", lambda r: r.status >= 400 and wrong.append(r.url))
    for name in PAGES:
        page.goto(f"{address}/{name}")
        page.wait_for_function("!window.MathJax || MathJax.startup?.promise")
        page.evaluate("window.MathJax?.startup?.promise")
        wide = page.evaluate("document.documentElement.scrollWidth") - width
        if wide > 0:
            wrong.append(f"{name} is {wide} pixels too wide")
        if page.locator("mjx-merror, [data-mjx-error]").count():
            wrong.append(f"{name} has an equation in error")
    page.close()
    assert not wrong


@built
@browsed
def test_search_finds_the_lstm_and_equations_are_drawn(address, browser):
    page = browser.new_page()
    page.goto(f"{address}/search.html?q=LSTM")
    found = page.locator("#search-results li a")
    found.first.wait_for()
    page.wait_for_function("document.querySelectorAll('#search-results li').length > 5")
    links = found.evaluate_all("all => all.map(a => a.href)")
    assert any("reference/cells/lstm.html" in link for link in links)
    page.goto(f"{address}/reference/cells/lstm.html")
    page.locator("mjx-container svg").first.wait_for()
    assert page.locator("mjx-container svg").count() > 5
    page.close()
