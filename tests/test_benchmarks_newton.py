# SPDX-License-Identifier: Apache-2.0
"""`benchmarks.newton` and `benchmarks.online`: their cells, files and tables."""

import pathlib
import sys

import jax
import pytest

import recurrent_jax as rj

for needed in ("matplotlib", "rich", "tyro"):
    if not __import__("importlib.util").util.find_spec(needed):
        pytest.skip(f"the benchmarks need {needed}", allow_module_level=True)
sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))

from benchmarks import newton, online, results  # noqa: E402


def test_the_table_of_cells_has_every_cell():
    cells = newton.every_cell(4)
    classes = {type(cell).__name__ for cell in cells.values()}
    assert (
        classes
        == set(cells)
        == {
            name
            for name in rj.cells.__all__
            if isinstance(getattr(rj.cells, name), type)
            and issubclass(getattr(rj.cells, name), rj.Cell)
        }
    )
    for cell in cells.values():  # each reads its inputs
        xs = newton.inputs_of(cell, jax.random.key(0), 2)
        params = jax.eval_shape(lambda c=cell: c.init(jax.random.key(0), newton.D))
        jax.eval_shape(lambda p, x, c=cell: rj.unroll(c, p, x), params, xs)


def test_newton(tmp_path, capsys):
    flags = ["--parts", "drawn", "--steps", "9", "--draws", "4"]
    assert newton.main([*flags, "--output", str(tmp_path)]) == 0
    rows = results.load(tmp_path / "newton-drawn.json")["rows"]
    right, of = newton.hits(rows)
    assert of == 4 and 0 <= right <= 4
    assert f"right for {right} of 4" in capsys.readouterr().out
    assert (tmp_path / "newton-drawn.png").exists()


@pytest.mark.slow
def test_online(tmp_path, capsys):
    flags = ["--cells", "DiagonalGRU", "--hidden", "2", "--depths", "1"]
    flags += ["--times", "2", "5", "--draws", "2", "--output", str(tmp_path)]
    assert online.main(flags) == 0
    rows = results.load(tmp_path / "online.json")["rows"]
    exact = [r["cosine"] for r in rows if r["learner"] in ("RTRL", "SnAp1", "SnAp2")]
    assert len(exact) == 6 and min(exact) > 0.999
    assert (tmp_path / "online.png").exists()
    assert "cosine to back-propagation" in capsys.readouterr().out


def test_the_table_of_the_page_is_what_was_measured():
    docs = pathlib.Path(__file__).parents[1] / "docs"
    rows = results.load(docs / "results" / "newton-cells.csv")["rows"]
    assert "\n".join(newton.markdown(rows)) in (docs / "newton.md").read_text()


def test_the_hit_rate_on_the_page_is_what_was_measured():
    docs = pathlib.Path(__file__).parents[1] / "docs"
    rows = results.load(docs / "results" / "newton-drawn.csv")["rows"]
    right, of = newton.hits(rows)
    assert f"right for {right} of {of}" in (docs / "newton.md").read_text()
