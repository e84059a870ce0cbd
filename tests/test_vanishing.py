# SPDX-License-Identifier: Apache-2.0
"""The example `examples/vanishing.py`: its numbers, and what a user sees."""

import pathlib
import sys

import pytest

for needed in ("matplotlib", "rich", "tyro"):
    if not __import__("importlib.util").util.find_spec(needed):
        pytest.skip(f"the example needs {needed}", allow_module_level=True)

ROOT = pathlib.Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "examples"))

import vanishing  # noqa: E402


@pytest.mark.slow
def test_decay_explosion_and_the_remedy(capsys, tmp_path, monkeypatch):
    flags = ("--steps", 60, "--batch-size", 1, "--output", tmp_path)
    monkeypatch.setattr(sys, "argv", ["vanishing.py", *map(str, flags)])
    monkeypatch.setenv("COLUMNS", "120")
    assert vanishing.main() == 0
    rows = [row.split("│") for row in capsys.readouterr().out.splitlines()]
    decades = {row[1].strip(): float(row[-3]) for row in rows if len(row) > 3}
    # tanh is all but linear for so small an input: 100 log10(0.5) is -30.1,
    # and the first steps, before the slope settles, count for more in a short run.
    assert decades["Elman, spectral radius 0.5"] == pytest.approx(-30.1, abs=2)
    assert -3 < decades["Elman, spectral radius 1"] < 0
    assert decades["Elman, spectral radius 2"] > 2
    assert decades["GRU"] < decades["LSTM"] < decades["LSTM, chrono"] < 1
    assert -2 < decades["GRU, chrono"] < 1
    assert (tmp_path / "vanishing.png").read_bytes().startswith(b"\x89PNG")


def test_flags_out_of_range(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["vanishing.py", "--steps", "1"])
    with pytest.raises(SystemExit, match="2"):
        vanishing.main()
    assert "steps must be at least 2" in capsys.readouterr().err
