# SPDX-License-Identifier: Apache-2.0
"""The README and docs/: code runs and prints what is said, and links lead somewhere."""

import pathlib
import re
import tomllib

import jax
import pages
import pytest

import recurrent_jax as rj

ROOT = pathlib.Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.mostly_slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_code_on_a_page_runs_and_gives_what_its_comments_say(
    page, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)  # for files that a page writes
    namespace = {"__name__": "docs"}
    for code in pages.blocks(page.read_text()):
        # Optax mixes integers and floats on purpose.
        with jax.numpy_dtype_promotion("standard"):
            outputs, shapes = pages.run(code, str(page), namespace)
        for line, promise, output in outputs:
            assert pages.same_output(promise, output), (
                f"{page.name}:{line} says\n{promise}\nand prints\n{output}"
            )
        for line, promise, shape in shapes:
            assert promise == shape, f"{page.name}:{line}"


def test_a_comment_that_is_wrong_is_found():
    code = "x = one  # (2,)\nprint(x.ndim)  # 2\nprint('a',\n 'b')\n# a\n# ...\n"
    outputs, shapes = pages.run(code, "page", {"one": jax.numpy.ones(3)})
    assert outputs == [(2, "2", "1"), (3, "a\n...", "a b")]
    assert [pages.same_output(*pair) for _, *pair in outputs] == [False, True]
    assert shapes == [(1, (2,), (3,))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page):
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_badges_and_citations_say_what_the_package_says():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    readme = (ROOT / "README.md").read_text()
    badges = re.findall(r"!\[([^]]*)\]\(https://img\.shields\.io", readme)
    jax_floor = re.search(r"jax>=(\d+\.\d+)", " ".join(project["dependencies"]))[1]
    assert badges == [
        f"Python {project['requires-python'].removeprefix('>=')} or newer",
        f"JAX {jax_floor} or newer",
        f"licence {project['license']}",
    ]
    cff = (ROOT / "CITATION.cff").read_text()
    assert f"version: {rj.__version__}\n" in cff
    assert f"license: {project['license']}\n" in cff
    entry = (ROOT / "docs" / "citation.md").read_text()
    assert f"version = {{{rj.__version__}}}" in entry


def test_actions_of_workflows_that_publish_are_pinned():
    for name in ("release", "site", "wheels"):
        text = (ROOT / ".github" / "workflows" / f"{name}.yml").read_text()
        used = re.findall(r"uses: (?!\./)\S+@(\S+)(.*)", text)
        assert used
        for version, comment in used:
            assert re.fullmatch(r"[0-9a-f]{40}", version), f"{name}.yml: {version}"
            assert re.fullmatch(r" # v\d+\.\d+\.\d+", comment), f"{name}.yml"
