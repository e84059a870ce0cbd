# SPDX-License-Identifier: Apache-2.0
"""Which tests run where: the option `--share`, and the mark `newest`."""

import pathlib
import subprocess

import pytest
from conftest import is_in_share

ROOT = pathlib.Path(__file__).parents[1]


def test_each_test_is_in_one_part():
    names = [f"tests/test_laws.py::test_fixed_case[{n}-cell]" for n in range(300)]
    parts = [[name for name in names if is_in_share(name, f"{i}/3")] for i in range(3)]
    assert sorted(sum(parts, [])) == sorted(names)
    assert min(map(len, parts)) > 60
    assert all(is_in_share(name, "0/1") for name in names)


@pytest.mark.parametrize("share", ["3/3", "-1/3", "1", "a/b", "0/0"])
def test_what_is_no_part_is_refused(share):
    with pytest.raises(pytest.UsageError, match="want I/N"):
        is_in_share("name", share)


def test_the_newest_lane_reads_each_file_with_its_mark():
    marked = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "tests").rglob("test_*.py")
        if "\n@pytest.mark.newest\n" in path.read_text()
    }
    names = "eval \"$(sed -n '/^ON_NEWEST=(/,/)$/p' .ci/run)\"; ls -d ${ON_NEWEST[@]}"
    read = subprocess.check_output(["bash", "-ec", names], cwd=ROOT, text=True).split()
    assert "recurrent_jax" in read  # examples in docstrings
    assert marked
    assert not {m for m in marked if not any(m.startswith(r) for r in read)}
