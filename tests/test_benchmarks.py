# SPDX-License-Identifier: Apache-2.0
"""The benchmarks: that they run, compare before they time, and write what they say."""

import contextlib
import csv
import dataclasses
import importlib.util
import io
import json
import operator
import pathlib
import subprocess
import sys

import jax
import pytest

import recurrent_jax as rj

for needed in ("equinox", "flax", "matplotlib", "rich", "tyro"):
    if not importlib.util.find_spec(needed):
        pytest.skip(f"the benchmarks need {needed}", allow_module_level=True)

ROOT = pathlib.Path(__file__).parents[1]
if not (ROOT / "benchmarks").exists():
    pytest.skip("the benchmarks are not here", allow_module_level=True)
if str(ROOT) not in sys.path:
    sys.path.append(str(ROOT))

from rich.console import Console  # noqa: E402

import benchmarks.__main__ as command  # noqa: E402
from benchmarks import (  # noqa: E402
    busy,
    compare,
    memory,
    newton_tables,
    online,
    pages,
    parallel,
    peers,
    report,
    results,
    suite,
    timing,
)
from benchmarks.peers import equinox, ours  # noqa: E402
from benchmarks.problems import BOTH, FORWARD, Problem, Shape  # noqa: E402

pytestmark = pytest.mark.slow

TINY = Shape(5, 3, 2, 4)


def measure(cell="lstm", names=("equinox",), directions=(BOTH,)):
    found, _ = peers.load(names)
    return suite.measure(cell, TINY, found, directions, rounds=2, rate=1e9)


def by_name(rows):
    return {row.contender: row for row in rows}


def doctor(monkeypatch, change):
    """Replace the LSTM of Equinox by what `change` makes of it."""
    contend = equinox.contend

    def doctored(cell, shape):
        (entry,) = contend(cell, shape).items()
        return dict([(entry[0], change(entry[1]))])

    monkeypatch.setattr(equinox, "contend", doctored)


@pytest.fixture(autouse=True, scope="module")
def less():
    """Compile one strategy of ours for all, and multiply small matrices."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ours, "STRATEGIES", (rj.Deferred(),))
        patch.setattr(command, "gemm_rate", lambda **kwargs: timing.gemm_rate(64))
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory, less):
    """What one run of the command prints and leaves behind."""
    folder = tmp_path_factory.mktemp("results")
    flags = ["--cells", "lstm", "--shapes", str(TINY), "--rounds", "2"]
    flags += ["--peers", "linen", "equinox", "cudnn", "--output", str(folder)]
    with contextlib.redirect_stdout(io.StringIO()) as out:
        assert command.main(flags) == 0
    (folder / "stdout").write_text(out.getvalue())
    return folder


def test_files_say_what_was_measured_on_what(folder):
    whole = results.load(folder / "results.json")
    assert whole["machine"]["threads"] >= 1
    assert whole["versions"]["jax"] == jax.__version__
    assert whole["command"].startswith("python -m benchmarks")
    assert whole["gemm_gflops"] > 0
    names = {row["contender"] for row in whole["rows"]}
    assert {ours.DEFAULT, "linen LSTMCell", "equinox LSTMCell"} < names
    for row in whole["rows"]:
        assert row["status"] == "timed", row["note"]
        assert row["difference"] < 1e-5
        assert 0 < row["min_ms"] <= row["median_ms"]
        assert len(row["samples_ms"]) == row["rounds"] >= 2
        assert row["ratio_low"] <= row["ratio_high"]
    lines = (folder / "results.csv").read_text().splitlines()
    rows = list(csv.DictReader(line for line in lines if not line.startswith("#")))
    assert [row["contender"] for row in rows] == [
        row["contender"] for row in whole["rows"]
    ]
    assert (folder / "ratio-lstm.png").stat().st_size > 0


def test_output_has_both_times_means_and_the_missing(folder):
    out = (folder / "stdout").read_text()
    for text in ("min ms", "median ms", "geometric", "best JAX peer"):
        assert text in out
    if jax.default_backend() == "cpu":
        assert "without cudnn: ImportError: cuDNN needs a GPU" in out


def test_flops():
    problem = Problem.draw("gru", TINY)
    T, B, D, H = TINY
    assert problem.flops(FORWARD) == 2 * T * B * (D + H) * 3 * H
    assert problem.flops(BOTH) == 3 * problem.flops(FORWARD)


@pytest.mark.parametrize(
    ("cell", "names"), [("gru", ["linen", "nnx", "equinox"]), ("elman relu", ["linen"])]
)
def test_other_cells_agree(cell, names):
    rows = measure(cell, names)
    assert set(map(operator.attrgetter("library"), rows)) == {"ours", *names}
    assert [row.note for row in rows if row.status != "timed"] == []


def test_wrong_outputs_are_reported_and_not_timed(monkeypatch):
    doctor(
        monkeypatch,
        lambda c: dataclasses.replace(c, run=lambda w, xs: 1.01 * c.run(w, xs)),
    )
    rows = by_name(measure(directions=(FORWARD,)))
    wrong = rows["equinox LSTMCell"]
    assert (wrong.status, wrong.min_ms, wrong.samples_ms) == ("disagrees", None, [])
    assert wrong.note.startswith("outputs differ by 1.0e-02")
    assert rows[ours.DEFAULT].status == "timed"


def test_wrong_gradients_are_reported_though_outputs_agree(monkeypatch):
    def stop(contender):
        def run(weights, xs):
            return contender.run(weights, jax.lax.stop_gradient(xs))

        return dataclasses.replace(contender, run=run)

    doctor(monkeypatch, stop)
    forward, both = (
        row
        for row in measure(directions=(FORWARD, BOTH))
        if row.contender == "equinox LSTMCell"
    )
    assert forward.status == "timed"
    assert both.status == "disagrees"
    assert both.note.startswith("gradient of xs")


def test_a_peer_that_raises_is_reported(monkeypatch):
    def fail(weights, xs):
        raise RuntimeError("not today")

    doctor(monkeypatch, lambda c: dataclasses.replace(c, run=fail))
    row = by_name(measure(directions=(FORWARD,)))["equinox LSTMCell"]
    assert (row.status, row.note) == ("failed", "RuntimeError: not today")


def test_compare_flags_what_is_beyond_noise(folder, tmp_path, capsys):
    path = folder / "results.json"
    before, after = results.load(path), results.load(path)
    for row in before["rows"] + after["rows"]:
        row["ratio_low"], row["ratio_high"] = 0.99 * row["ratio"], 1.01 * row["ratio"]
    changed = next(r for r in after["rows"] if r["contender"] == "linen LSTMCell")
    for field in ("ratio", "ratio_low", "ratio_high"):
        changed[field] *= 1.5
    found = compare.changes(before, after, noise=0.05)
    flagged = [change for change in found if change["verdict"]]
    assert len(found) > len(flagged) == 1
    assert flagged[0]["contender"] == "linen LSTMCell"
    assert flagged[0]["change"] == pytest.approx(1.5)
    assert flagged[0]["verdict"] == "better"

    # A table that is kept as CSV says the same.
    table = results.load(folder / "results.csv")
    found = compare.changes(results.load(path), table, noise=0.05)
    assert found and {change["change"] for change in found} == {1.0}

    other = tmp_path / "after.json"
    other.write_text(json.dumps(after))
    assert command.main(["--compare", str(path), str(other)]) == 0
    assert "better" in capsys.readouterr().out

    # Whatever the numbers are, also on a terminal of 80 columns.
    for run in (before, after):
        for row in run["rows"]:
            for field in ("ratio", "ratio_low", "ratio_high"):
                row[field] = row[field] and 123.45 * row[field]
    with io.StringIO() as file:
        compare.show(Console(file=file, width=80), before, after, noise=0.05)
        assert "better" in file.getvalue()


def test_no_table_is_cut_on_a_terminal_of_80_columns():
    def rows(name):
        return results.load(ROOT / f"docs/results/{name}.csv")["rows"]

    with io.StringIO() as file:
        screen = Console(file=file, width=80)
        report.summary(screen, rows("benchmarks"))
        report.problem(screen, rows("benchmarks")[:20])
        screen.print(memory.show(rows("memory")))
        screen.print(online.show(rows("online")))
        screen.print(newton_tables.show(rows("newton-cells"), "cells"))
        screen.print(parallel.show(rows("parallel"), "forward"))
        screen.print(parallel.show_memory(rows("parallel")))
        assert "…" not in file.getvalue()


@pytest.mark.parametrize("flags", [["--shapes", "1,2"], ["--rounds", "0"]])
def test_bad_flags(flags, capsys):
    with pytest.raises(SystemExit) as stop:
        command.main(flags)
    assert stop.value.code == 2
    assert "Config" in capsys.readouterr().err


@pytest.mark.parametrize(
    "module", ["benchmarks", "benchmarks.memory", "benchmarks.parallel"]
)
def test_help(module):
    flags = [sys.executable, "-m", module, "--help"]
    done = subprocess.run(flags, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert f"python -m {module}" in done.stdout


def test_parallel(tmp_path, capsys):
    flags = ["--batch", "1", "--hidden", "4", "--times", "6", "--rounds", "1"]
    cells = ["--cells", "lru", "mlstm"]
    assert parallel.main([*cells, *flags, "--output", str(tmp_path)]) == 0
    rows = results.load(tmp_path / "parallel.json")["rows"]
    by_cell = {(row["cell"], row["contender"]) for row in rows}
    assert ("lru", parallel.TREE) in by_cell and ("lru", "Associative") in by_cell
    assert ("mlstm", "Chunked") in by_cell and ("mlstm", "Associative") not in by_cell
    assert ("mlstm", parallel.linear_peers.FLAX) in by_cell
    assert all(r["temporary_bytes"] > 0 for r in rows if "back" in r["direction"])
    assert (tmp_path / "parallel.png").exists()
    out = capsys.readouterr().out
    assert "times as fast as Sequential" in out and "MiB" in out
    with pytest.raises(SystemExit):
        parallel.main([*flags, "--cells", "lstm"])


def test_memory(tmp_path, capsys):
    flags = ["--batch", "1", "--features", "2", "--hidden", "3", "--times", "10", "100"]
    assert memory.main([*flags, "--rounds", "1", "--output", str(tmp_path)]) == 0
    rows = results.load(tmp_path / "memory.json")["rows"]
    assert {row["T"] for row in rows} == {10, 100}
    one, other = (row for row in rows if row["way"] == memory.STEP)
    assert one["peak_bytes"] == other["peak_bytes"] > 0
    assert one["equations"] == other["equations"]
    assert (tmp_path / "memory.png").exists()
    assert "us/step" in capsys.readouterr().out


def test_the_tables_of_speed_are_those_of_the_results():
    rows = results.load(ROOT / "docs" / "results" / "benchmarks.csv")["rows"]
    tables = {
        "README.md": (pages.readme,),
        "docs/performance.md": (pages.lstm, pages.cells),
    }
    for page, makers in tables.items():
        for make in makers:
            table = make(rows)
            assert len(table) > 7 and "\n".join(table) in (ROOT / page).read_text()


def test_beside_other_work(tmp_path, capsys):
    flags = ["--cells", "gru", "--shapes", "5,2,3,4", "--busy", "0", "1"]
    flags += ["--seconds", "0.01", "--output", str(tmp_path)]
    assert busy.main(flags) == 0
    rows = results.load(tmp_path / "busy.json")["rows"]
    assert len(rows) == 2 and all(row["beside_1"] > 0 for row in rows)
    assert "| gru | 5, 2, 3, 4 | forward |" in capsys.readouterr().out


def test_the_table_of_busy_machines_is_that_of_the_results():
    rows = results.load(ROOT / "docs" / "results" / "busy.csv")["rows"]
    assert "\n".join(busy.markdown(rows)) in (ROOT / "docs" / "kernels.md").read_text()


def test_the_tables_of_linear_cells_are_those_of_the_results():
    rows = results.load(ROOT / "docs" / "results" / "parallel.csv")["rows"]
    text = (ROOT / "docs" / "parallel-in-time.md").read_text()
    for lines in (parallel.markdown(rows, 4096), parallel.against(rows, 4096)):
        assert len(lines) > 4 and "\n".join(lines) in text
