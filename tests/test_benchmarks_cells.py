# SPDX-License-Identifier: Apache-2.0
"""The benchmark of all cells: that it times them and fills the page."""

import csv
import importlib.util
import pathlib
import sys

import pytest

for needed in ("rich", "tyro"):
    if not importlib.util.find_spec(needed):
        pytest.skip(f"the benchmarks need {needed}", allow_module_level=True)

ROOT = pathlib.Path(__file__).parents[1]
if not (ROOT / "benchmarks").exists():
    pytest.skip("the benchmarks are not here", allow_module_level=True)
if str(ROOT) not in sys.path:
    sys.path.append(str(ROOT))

from benchmarks import cells  # noqa: E402
from benchmarks.problems import Shape  # noqa: E402

pytestmark = pytest.mark.slow

TINY = Shape(4, 2, 3, 4)
TABLE = """\
| cell | equation | cost |
|---|---|---|
| `Elman(H)` | $h$ | – |
| `LSTM(H)` | $h$ | 7.77 |
| `TimeAwareLSTM(H)` | $h$ | – |
| `ConvGRU(H, (8, 8))` | $h$ | 3.33 |

Not a row: `LSTM(H)` | 7.77 |
"""


def run(folder, *flags):
    (folder / "cells.md").write_text(TABLE)
    options = ["--page", str(folder / "cells.md"), "--output", str(folder)]
    assert cells.main([*flags, *options, "--shape", str(TINY), "--rounds", "1"]) == 0
    return (folder / "cells.md").read_text()


def test_costs_are_measured_and_written_into_the_page(tmp_path, capsys):
    page = run(tmp_path)
    lines = (tmp_path / "cells-cost.csv").read_text().splitlines()
    rows = list(csv.DictReader(line for line in lines if not line.startswith("#")))
    ratios = {row["cell"]: float(row["ratio"]) for row in rows}
    assert ratios.keys() == {"LSTM(H)", "Elman(H)", "TimeAwareLSTM(H)"}
    assert ratios["LSTM(H)"] == 1 and min(ratios.values()) > 0
    for code, ratio in ratios.items():
        assert f"| `{code}` | $h$ | {ratio:.2f} |\n" in page
    assert "| `ConvGRU(H, (8, 8))` | $h$ | – |\n" in page
    assert page.endswith("Not a row: `LSTM(H)` | 7.77 |\n")
    assert any(
        line.startswith("# command: python -m benchmarks.cells") for line in lines
    )
    assert "time over LSTM" in capsys.readouterr().out


def test_a_part_of_the_cells_leaves_the_page_alone(tmp_path):
    assert run(tmp_path, "--cells", "Elman(H)") == TABLE
    assert not (tmp_path / "cells-cost.csv").exists()


@pytest.mark.parametrize("code", ["GRUD(H)", "LTC(H)", "SLSTM(H, heads=N)"])
def test_inputs_and_sizes_of_other_cells(code):
    cell = cells.build(code, TINY)
    ys, (params, x) = cells.contend(cell, TINY)()
    assert ys.shape == (TINY.T, TINY.B, TINY.H)
    assert x.shape == (TINY.T, TINY.B, TINY.D)
    assert type(params) is type(cell.init(cells.jax.random.key(0), TINY.D))


def test_bad_flags(capsys):
    with pytest.raises(SystemExit):
        cells.main(["--shape", "1,2"])
    assert "Config" in capsys.readouterr().err
