# SPDX-License-Identifier: Apache-2.0
"""Every page of the site in a browser, on a desk and on a phone, light and dark.

They need the built site, `python -m sphinx -W -b html docs build/site`, and Chromium or
Chrome. The stage `site` of `.ci/run` brings both.
"""

import contextlib
import functools
import http.server
import pathlib
import shutil
import threading

import pytest

playwright = pytest.importorskip("playwright.sync_api")

SITE = pathlib.Path(__file__).parents[1] / "build" / "site"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
BROWSER = next(filter(None, map(shutil.which, BROWSERS)), None)
# What a browser does by itself, over a network that it must not need.
FLAGS = """--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync
--disable-background-networking --disable-component-update""".split()
PARTS = 12  # so many that two processes have about as much to do
WIDTHS, SCHEMES = (1280, 390), ("light", "dark")
# The contrast of each equation and picture of text with the page, as WCAG defines it.
FAINT = """() => {
  const light = (color) => {
    const parts = color.match(/[\\d.]+/g).slice(0, 3).map((part) => {
      const c = part / 255;
      return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2] + 0.05;
  };
  const page = light(getComputedStyle(document.body).backgroundColor);
  return [...document.querySelectorAll("article p, mjx-container")].filter((found) => {
    const ink = light(getComputedStyle(found).color);
    return Math.max(page, ink) / Math.min(page, ink) < 4.5;
  }).length;
}"""

pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium and no Chrome")
built = pytest.mark.skipif(
    not (SITE / "index.html").exists(), reason="the site is not built"
)


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=BROWSER, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def page(browser):
    page = browser.new_page()
    yield page
    page.close()


@contextlib.contextmanager
def served(folder):
    handler = functools.partial(Quiet, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def faults(page, address, names):
    """Return all that is wrong with pages, and which of their links do not answer."""
    wrong, links = [], {}
    page.on("console", lambda m: m.type == "error" and wrong.append(m.text))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("request", lambda request: wrong.extend(outside(request.url, address)))
    page.on("response", lambda r: r.status >= 400 and wrong.append(r.url))
    for name in names:
        page.goto(f"{address}/{name}")
        page.wait_for_function("!window.MathJax || MathJax.startup?.promise")
        page.evaluate("window.MathJax?.startup?.promise")
        wrong += [f"{name} {fault}" for fault in of_one_page(page)]
        for link in page.eval_on_selector_all("a[href]", "all => all.map(a => a.href)"):
            links[link.partition("#")[0]] = name
    for link, name in links.items():
        if link.startswith(address) and not page.request.head(link).ok:
            wrong.append(f"{name} links to {link}, which does not answer")
    return wrong


def outside(url, address):
    """Return what a page loads from elsewhere."""
    return [] if url.startswith((f"{address}/", "data:")) else [f"loads {url}"]


def of_one_page(page):
    """Yield what is wrong with the open page, at each width, light and dark."""
    for width in WIDTHS:
        page.set_viewport_size({"width": width, "height": 800})
        wide = page.evaluate("document.documentElement.scrollWidth") - width
        if wide > 0:
            yield f"is {wide} pixels too wide at {width}"
    for scheme in SCHEMES:
        page.emulate_media(color_scheme=scheme)
        if faint := page.evaluate(FAINT):
            yield f"has {faint} faint paragraphs or equations in {scheme}"
    if page.locator("mjx-merror, [data-mjx-error]").count():
        yield "has an equation in error"
    if page.locator("img").evaluate_all("all => all.some(i => !i.naturalWidth)"):
        yield "has a picture that does not load"


@built
@pytest.mark.parametrize("part", range(PARTS))
def test_pages_fit_and_load_without_errors_and_their_links_answer(page, part):
    names = sorted(p.relative_to(SITE).as_posix() for p in SITE.rglob("*.html"))
    assert len(names) > 200
    with served(SITE) as address:
        assert faults(page, address, names[part::PARTS]) == []


@pytest.mark.parametrize(
    "body, fault",
    [
        ('<a href="gone.html">x</a>', "gone.html, which does not answer"),
        ("<script>nothing()</script>", "nothing is not defined"),
        ("<script>console.error('loud')</script>", "loud"),
        ('<p style="width: 400px">x</p>', "10 pixels too wide at 390"),
        ('<script src="gone.js"></script>', "gone.js"),
        ('<img src="data:image/png;base64,AAAA">', "a picture that does not load"),
        ('<article><p style="color: #ddd">x</p></article>', "faint"),
        ('<a href="index.html">x</a><article><p>y</p></article>', None),
    ],
)
def test_a_fault_is_found(page, tmp_path, body, fault):
    head = "<style>body { margin: 0; background: white }</style>"
    head += "<link rel=icon href=data:,>"
    (tmp_path / "index.html").write_text(f"<!doctype html>{head}{body}")
    with served(tmp_path) as address:
        found = faults(page, address, ["index.html"])
    assert (found == []) if fault is None else (fault in " ".join(found))


@built
def test_search_finds_the_lstm(page):
    with served(SITE) as address:
        page.goto(f"{address}/search.html?q=LSTM")
        found = page.locator("#search-results li a")
        found.first.wait_for()
        many = "document.querySelectorAll('#search-results li').length > 5"
        page.wait_for_function(many)
        links = found.evaluate_all("all => all.map(a => a.href)")
    assert any("reference/cells/lstm.html" in link for link in links)


@built
def test_equations_are_drawn(page):
    with served(SITE) as address:
        page.goto(f"{address}/reference/cells/lstm.html")
        page.locator("mjx-container svg").first.wait_for()
        assert page.locator("mjx-container svg").count() > 5
