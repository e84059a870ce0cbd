# SPDX-License-Identifier: Apache-2.0
"""The faults in tests/mutations.py still apply, and docs/testing.md lists them."""

import pathlib

import pytest
from mutations import MUTATIONS, ROOT

PAGE = (ROOT / "docs/testing.md").read_text()


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda m: f"{m.path}-{m.new}")
def test_a_mutation_applies_and_is_listed(mutation, tmp_path):
    copy = tmp_path / mutation.path
    copy.parent.mkdir(parents=True, exist_ok=True)
    before = (ROOT / "recurrent_jax" / mutation.path).read_text()
    copy.write_text(before)
    mutation.apply(tmp_path)
    assert copy.read_text() != before
    compile(copy.read_text(), str(copy), "exec")
    for test in mutation.tests.split(" -k ")[0].split():
        assert pathlib.Path(ROOT / test).exists(), test
    row = f"| `{mutation.path}` | `{mutation.old}` | `{mutation.new}` |"
    assert row.replace("\n", " ") in PAGE
