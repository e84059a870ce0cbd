# SPDX-License-Identifier: Apache-2.0
"""Options of pooling, losses and penalties in pairs, against plain loops in NumPy.

A row chooses a value for every option. Every pair of values of two options stands in at
least one row.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from pairs import pairwise

from recurrent_jax import tasks, training

T = 4
OPTIONS = {
    "axis": (0, 1, -2, "last lead"),
    "batch": ((), (3,), (2, 3)),
    "lengths": (False, True),
    "mask": (False, True),
    "reverse": (False, True),
    "dtype": ("float32", "bfloat16", "float64"),
    "features": (1, 2),
    "jit": (False, True),
}


def name(row):
    return "-".join(f"{k}={v}" for k, v in row.items()).replace(" ", "")


ROWS = pairwise(OPTIONS)
every_row = pytest.mark.parametrize("row", ROWS, ids=name)


class Data:
    """Arrays of a row, time first for the reference and as asked for the library."""

    def __init__(self, row, seed=0):
        random = np.random.default_rng(seed)
        self.batch, self.row = row["batch"], row
        self.axis = self.time_axis(row["axis"])
        shape = (T, *self.batch, row["features"])
        self.ys = random.normal(size=shape).astype(row["dtype"])
        self.valid = np.ones(shape[:-1], bool)
        self.given = {}
        if row["mask"]:
            mask = random.random(shape[:-1]) < 0.6
            self.valid &= mask
            self.given["mask"] = self.moved(mask)
        if row["lengths"]:
            lengths = random.integers(0, T + 1, self.batch)
            self.valid &= np.arange(T).reshape(T, *(1,) * len(self.batch)) < lengths
            self.given["lengths"] = lengths

    def time_axis(self, axis):
        """Return an axis that an array of this batch has, from the start or the end."""
        lead = len(self.batch) + 1
        if axis == "last lead":
            return lead - 1
        return axis if axis < lead else 0

    def moved(self, a):
        to = self.axis if self.axis >= 0 else self.axis + len(self.batch) + 2
        return np.moveaxis(a, 0, to)

    def each(self):
        """Yield the valid steps of each sequence."""
        for at in np.ndindex(*self.batch):
            yield at, self.ys[(slice(None), *at)][self.valid[(slice(None), *at)]]


def run(row, function, *arrays, **options):
    """Call with all arrays traced, or with none."""
    if row["jit"]:
        static = {k: v for k, v in options.items() if k in ("time_axis", "reverse")}
        traced = {k: v for k, v in options.items() if k not in static}
        return jax.jit(lambda a, t: function(*a, **t, **static))(arrays, traced)
    return function(*map(jnp.asarray, arrays), **options)


@pytest.fixture(autouse=True)
def wide(x64):
    """64-bit types, so that float64 is what it says."""


@every_row
def test_the_last_output(row):
    data = Data(row)
    want = np.zeros((*data.batch, row["features"]), row["dtype"])
    for at, steps in data.each():
        if len(steps):
            want[at] = steps[0 if row["reverse"] else -1]
    options = {"time_axis": data.axis, "reverse": row["reverse"]}
    got = run(row, tasks.last_output, data.moved(data.ys), **options, **data.given)
    assert got.dtype == row["dtype"]
    np.testing.assert_array_equal(got, want)


@every_row
def test_the_mean_output(row):
    data = Data(row)
    want = np.zeros((*data.batch, row["features"]))
    for at, steps in data.each():
        if len(steps):
            want[at] = steps.astype(float).mean(0)
    options = {"time_axis": data.axis}
    got = run(row, tasks.mean_output, data.moved(data.ys), **options, **data.given)
    assert got.dtype == row["dtype"]
    close(row, got, want)


@every_row
def test_losses_and_penalties(row):
    data = Data(row)
    ys, others = data.ys.astype(float), Data(row, seed=1).ys
    mask = data.given.get("mask")
    flags = (
        np.ones_like(data.valid)
        if mask is None
        else np.moveaxis(
            mask, data.axis if data.axis >= 0 else data.axis + data.ys.ndim, 0
        )
    )
    moved, kept = data.moved(data.ys), {"mask": mask}
    count = max(flags.sum(), 1) * row["features"]
    close(row, run(row, training.masked_mean, moved, **kept), ys[flags].sum() / count)
    square = (ys[flags] ** 2).sum() / count
    close(row, run(row, training.activity_penalty, moved, **kept), square)
    error = ((ys - others.astype(float))[flags] ** 2).sum() / count
    got = run(row, training.squared_error, moved, data.moved(others), **kept)
    close(row, got, error)
    both = flags[1:] & flags[:-1]
    change = ((ys[1:] - ys[:-1])[both] ** 2).sum() / (
        max(both.sum(), 1) * row["features"]
    )
    got = run(
        row, training.temporal_activity_penalty, moved, **kept, time_axis=data.axis
    )
    close(row, got, change)


@every_row
def test_repeat_and_delay(row):
    data = Data(row)
    x = data.ys[0]
    want = data.moved(np.stack([x] * T))
    got = run(
        row,
        lambda x, time_axis: tasks.repeat(x, T, time_axis=time_axis),
        x,
        time_axis=data.axis,
    )
    np.testing.assert_array_equal(got, want)
    want = data.moved(np.concatenate([np.zeros_like(data.ys[:1]), data.ys[:-1]]))
    got = run(
        row,
        lambda ys, time_axis: tasks.delay(ys, 0, time_axis=time_axis),
        data.moved(data.ys),
        time_axis=data.axis,
    )
    np.testing.assert_array_equal(got, want)


def close(row, got, want):
    tolerance = {"bfloat16": 2e-2, "float32": 1e-5, "float64": 1e-12}[row["dtype"]]
    np.testing.assert_allclose(
        np.asarray(got, float), want, rtol=tolerance, atol=tolerance
    )
