# SPDX-License-Identifier: Apache-2.0
"""`benchmarks.newton`, `.online` and `.precision`: their cells, files and tables."""

import pathlib
import re
import sys

import jax
import pytest

import recurrent_jax as rj

for needed in ("matplotlib", "rich", "tyro"):
    if not __import__("importlib.util").util.find_spec(needed):
        pytest.skip(f"the benchmarks need {needed}", allow_module_level=True)
sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))

from benchmarks import (  # noqa: E402
    newton,
    newton_tables,
    online,
    online_cost,
    online_mean,
    precision,
    results,
)

pytestmark = pytest.mark.slow


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
    right, of = newton_tables.hits(rows)
    assert of == 4 and 0 <= right <= 4
    assert f"right for {right} of 4" in capsys.readouterr().out
    assert (tmp_path / "newton-drawn.png").exists()


def test_online(tmp_path, capsys):
    flags = ["--cells", "DiagonalGRU", "--hidden", "2", "--depths", "1"]
    flags += ["--times", "2", "5", "--draws", "2", "--sizes", "2", "--rounds", "1"]
    flags += ["--signs", "100"]
    flags += ["--output", str(tmp_path)]
    assert online.main(flags) == 0
    rows = results.load(tmp_path / "online.json")["rows"]
    exact = [r["cosine"] for r in rows if r["learner"] in ("RTRL", "SnAp1", "SnAp2")]
    assert len(exact) == 6 and min(exact) > 0.999
    costs = results.load(tmp_path / "online-cost.json")["rows"]
    kept = {(r["cell"], r["learner"]): r["numbers"] for r in costs}
    P = 3 * 2 * (online_cost.D + 2)  # of a DiagonalGRU of two units
    assert kept["DiagonalGRU", "RTRL"] == P and kept["DiagonalGRU", "SnAp2"] == 2 * P
    assert kept["DiagonalGRU", "UORO"] == P + 2
    assert min(row["times_bptt"] for row in costs) > 0
    (mean,) = results.load(tmp_path / "online-mean.json")["rows"]
    assert mean["learner"] == "UORO"  # KFRTRL cannot run the cell
    assert mean["distance"] < 4 * mean["standard_error"] < mean["noise"]
    assert (tmp_path / "online.png").exists()
    assert (tmp_path / "online-cost.png").exists()
    assert "cosine to back-propagation" in capsys.readouterr().out


def test_the_tables_of_online_gradients_are_what_was_measured():
    docs = pathlib.Path(__file__).parents[1] / "docs"
    text = (docs / "online.md").read_text()
    rows = results.load(docs / "results" / "online.csv")["rows"]
    exact = [r["cosine"] for r in rows if r["learner"] in ("RTRL", "SnAp2")]
    assert len(exact) == 120 and min(exact) > 0.9999
    assert "\n".join(online.markdown(rows)) in text
    rows = results.load(docs / "results" / "online-cost.csv")["rows"]
    assert "\n".join(online_cost.markdown(rows)) in text
    rows = results.load(docs / "results" / "online-mean.csv")["rows"]
    assert "\n".join(online_mean.markdown(rows)) in text
    assert {row["learner"] for row in rows} == set(online.RANDOM)
    for row in rows:  # nothing is biased
        assert row["distance"] < 1.5 * row["standard_error"]


def test_precision(tmp_path, capsys):
    flags = ["--cells", "GRU", "--hidden", "4", "--time", "20", "--batch", "2"]
    flags += ["--strategies", "Autodiff", "--output", str(tmp_path)]
    flags += ["--long-time", "0"]
    assert precision.main(flags) == 0
    rows = results.load(tmp_path / "precision.json")["rows"]
    wide, mixed, few = (row["kernel"] for row in rows)
    assert wide < 1e-5 < mixed < 0.03 and wide < few
    assert "products in bfloat16" in capsys.readouterr().out


def test_the_gradients_on_the_page_are_what_was_measured():
    docs = pathlib.Path(__file__).parents[1] / "docs"
    rows = results.load(docs / "results" / "precision.csv")["rows"]
    page = (docs / "training.md").read_text()
    assert "\n".join(precision.markdown(rows)) in page
    mixed = [r for r in rows if r["way"] == "mixed"]
    kernels = [r[k] for r in mixed for k in ("kernel", "recurrent_kernel")]
    biases = [r[k] for r in mixed for k in ("bias", "recurrent_bias") if r[k]]
    assert max(kernels) < 0.005 and max(biases) < 0.003 and "within 0.3 %" in page


@pytest.mark.parametrize("name", precision.SOLVING)
def test_the_precision_in_a_docstring_is_what_was_measured(name):
    docs = pathlib.Path(__file__).parents[1] / "docs"
    rows = results.load(docs / "results" / "precision-outputs.csv")["rows"]
    told = re.findall(r"within\s+(\S+e-\d+)", getattr(rj, name).__doc__)
    chunked, loop = (
        next(r["error"] for r in rows if (r["cell"], r["method"]) == (name, method))
        for method in ("Chunked", "Sequential")
    )
    for text, error in zip(told, (chunked, loop), strict=True):
        assert 0.5 * float(text) <= error <= float(text)


def test_the_table_of_the_page_is_what_was_measured():
    docs = pathlib.Path(__file__).parents[1] / "docs"
    rows = results.load(docs / "results" / "newton-cells.csv")["rows"]
    assert "\n".join(newton_tables.cells(rows)) in (docs / "newton.md").read_text()


def test_the_times_on_the_page_are_what_was_measured():
    docs = pathlib.Path(__file__).parents[1] / "docs"
    rows = results.load(docs / "results" / "newton-time.csv")["rows"]
    text = (docs / "newton.md").read_text()
    lines = newton_tables.times(rows)
    assert len(lines) == 6 and "\n".join(lines) in text
    low, high = newton_tables.slower(rows, diagonal=True)
    assert f"{low:.0f} to\n{high:.0f} times for cells with a diagonal" in text
    low, high = newton_tables.slower(rows, diagonal=False)
    assert f"{low:.0f} to {high:.0f} times for a full one" in text


def test_the_estimates_on_the_page_are_what_was_compiled():
    from benchmarks.accelerators import newton as devices

    docs = pathlib.Path(__file__).parents[1] / "docs"
    rows = results.load(docs / "results" / "newton-devices.csv")["rows"]
    lines = devices.lines(rows)
    assert len(lines) == 6 and "\n".join(lines) in (docs / "newton.md").read_text()
    for row in rows:
        launch, rate = devices.DEVICES[row["device"]]
        one = launch * float(row["newton_launches"])
        bytes_ = 2 * float(row["newton_mib"]) * 2**20 * float(row["iterations"])
        seconds = float(row["newton_ms"]) / 1e3
        assert seconds == pytest.approx(max(one, bytes_ / rate), rel=1e-3)


def test_the_hit_rate_on_the_page_is_what_was_measured():
    docs = pathlib.Path(__file__).parents[1] / "docs"
    rows = results.load(docs / "results" / "newton-drawn.csv")["rows"]
    text = (docs / "newton.md").read_text()
    for some in (
        tuple(newton.DRAWN),
        ("Elman", "GRU"),
        ("DiagonalGRU", "DiagonalLSTM"),
    ):
        mine = [row for row in rows if row["cell"] in some]
        right, of = newton_tables.hits(mine)
        assert f"right for {right} of {of}" in text, some
    converged = {True: [], False: []}
    for row in rows:
        converged[str(row["converged"]) == "True"].append(row)
    assert max(float(row["exponent"]) for row in converged[True]) < 0
    slow = [r for r in converged[False] if float(r["exponent"]) < 0]
    assert min(float(row["exponent"]) for row in slow) > -0.23
    counts = {int(r["iterations"]) for r in rows if float(r["exponent"]) < -0.3}
    assert counts == {3, 4, 5}
