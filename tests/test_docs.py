# SPDX-License-Identifier: Apache-2.0
"""Every Python block of the README and of docs/ runs, in order, file by file."""

import pathlib
import re

import jax
import pytest

ROOT = pathlib.Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page):
    text = page.read_text()
    for match in BLOCK.finditer(text):
        # Keep the line numbers of the page in tracebacks.
        yield "\n" * text.count("\n", 0, match.start(1)) + match.group(1)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_code_on_a_page_runs(page):
    namespace = {"__name__": "docs"}
    for code in blocks(page):
        # Optax mixes integers and floats on purpose.
        with jax.numpy_dtype_promotion("standard"):
            exec(compile(code, str(page), "exec"), namespace)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page):
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"
