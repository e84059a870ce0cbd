# SPDX-License-Identifier: Apache-2.0
"""The option `--share`: parts of the tests that are all of them together."""

import pytest
from conftest import is_in_share


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
