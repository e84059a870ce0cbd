# SPDX-License-Identifier: Apache-2.0
"""docs/cells.md: a row for every cell, and each says what the code does."""

import csv
import pathlib
import re

import jax
import pytest
from cases import filled, images, observed, timed
from cells.common import count

import recurrent_jax as rj

DOCS = pathlib.Path(__file__).parents[1] / "docs"
COLUMNS = ["cell", "equation", "parameters", "carry", "good for", "paper", "splits"]
COLUMNS += ["ahead", "cost"]
SIZES = {"H": 12, "Y": 5, "P": 7, "R": 3, "N": 4, "B": 9}
INPUTS = {
    "CfC": timed,
    "ConvGRU": images(8, 8),
    "ConvLSTM": images(8, 8),
    "ForwardFill": observed,
    "GRUD": filled,
    "LTC": timed,
    "TimeAwareLSTM": timed,
}


def read():
    """Return the rows of the table by the code in their first column."""
    rows = {}
    for line in (DOCS / "cells.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("| `"):
            assert len(cells) == len(COLUMNS), line
            rows[cells[0].strip("`")] = dict(zip(COLUMNS, cells, strict=True))
    return rows


ROWS = read()
each = pytest.mark.parametrize("code", ROWS)


def build(code, **sizes):
    return eval(f"rj.{code}", {"rj": rj, **SIZES, **sizes})


def parts(cell):
    """Return the jaxprs, as text, of `project` and of `update` or `recur`."""

    def draw(key, lead, dtype):
        return jax.random.normal(key, (*lead, 3)).astype(dtype)

    def make(key):
        params = cell.prepare(cell.init(key, 3, "float32"))
        x = INPUTS.get(type(cell).__name__, draw)(key, (), "float32")
        return params, x, cell.initial_carry((), "float32")

    params, x, carry = jax.eval_shape(make, jax.random.key(0))
    z = jax.eval_shape(cell.project, params, x)
    if not cell._splits:
        rest = jax.make_jaxpr(cell.recur)(params, carry, z)
    else:
        u = jax.eval_shape(cell.feedback, params, carry)
        rest = jax.make_jaxpr(cell.update)(params, carry, z, u)
    return str(jax.make_jaxpr(cell.project)(params, x)), str(rest)


def has_product(jaxpr):
    return "dot_general" in jaxpr or "conv_general_dilated" in jaxpr


def test_every_cell_has_a_row():
    public = {
        name
        for name in rj.cells.__all__
        if isinstance(getattr(rj.cells, name), type)
        and issubclass(getattr(rj.cells, name), rj.Cell)
    }
    assert public == {code.partition("(")[0] for code in ROWS}


@each
@pytest.mark.parametrize("D", [3, 5, SIZES["H"]])
def test_parameters(code, D):
    # A second formula is that of a cell with as many inputs as units.
    match = re.fullmatch(
        r"`([^`]+)`(?:; `([^`]+)` if D = H)?", ROWS[code]["parameters"]
    )
    formula, as_wide = match.groups()
    if as_wide and D == SIZES["H"]:
        formula = as_wide
    assert count(build(code, D=D), D) == eval(formula, {**SIZES, "D": D})


@each
def test_carry_and_paper(code):
    carry = build(code, D=3).initial_carry()
    assert ", ".join(carry._fields) == ROWS[code]["carry"]
    link = re.fullmatch(r"\[.+ \d{4}\]\((https://.+)\)", ROWS[code]["paper"])[1]
    assert link in type(build(code, D=3)).__doc__


@each
def test_splits_and_products_ahead(code):
    cell = build(code, D=3)
    project, rest = parts(cell)
    splits = "no"
    if cell._splits:
        splits = "in part" if has_product(rest) else "yes"
    assert ROWS[code]["splits"] == splits
    assert ROWS[code]["ahead"] == ("yes" if has_product(project) else "no")


def test_cost_is_what_was_measured():
    path = DOCS / "cells-cost.csv"
    measured = {}
    if path.exists():
        lines = [a for a in path.read_text().splitlines() if not a.startswith("#")]
        measured = {row["cell"]: float(row["ratio"]) for row in csv.DictReader(lines)}
    assert measured.keys() <= ROWS.keys()
    for code, row in ROWS.items():
        want = f"{measured[code]:.2f}" if code in measured else "–"
        assert row["cost"] == want, code
