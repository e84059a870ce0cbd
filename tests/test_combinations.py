# SPDX-License-Identifier: Apache-2.0
"""Every two options of `unroll` together, against a plain Python loop over `step`."""

import contextlib
import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import INPUTS, trial
from pairs import pairwise

import recurrent_jax as rj

TIME = 4
OPTIONS = {
    "name": ["lstm", "gru_reset_before", "batch_norm_lstm", "cfc", "dropouts", "stack"],
    "backward": [
        rj.Deferred(),
        rj.Deferred(block=2),
        rj.Checkpointed(every=2),
        rj.Checkpointed(levels=2),
        rj.Truncated(2),
        rj.ClippedBackward(max_value=0.1),
    ],
    "batch_shape": [(2,), (), (2, 1)],
    "time_axis": ["first", "last", "from the end"],
    "resets": ["none", "to the start", "to a carry"],
    "lengths": [False, True],
    "mask": [False, True],
    "carry": [False, True],
    "reverse": [False, True],
    "key": [False, True],
    "dtype": ["float64", "float32"],
    "jit": [False, True],
}
CUT = (rj.Truncated, rj.ClippedBackward)  # whose gradient is not that of the loop
ROWS = pairwise(OPTIONS)


def by_hand(cell, params, carry, xs, fresh, valid, resets, reverse):
    """One sequence after another, one step after another: what every option means."""
    step, batch_shape = jax.jit(cell.step), valid.shape[1:]
    finals, outputs = {}, {}
    for b in itertools.product(*map(range, batch_shape)):
        state, start = (jax.tree.map(lambda c: c[b], c) for c in (carry, fresh))
        ys = [None] * TIME
        for t in reversed(range(TIME)) if reverse else range(TIME):
            x = jax.tree.map(lambda x: x[(t, *b)], xs)
            if valid[(t, *b)]:
                state = start if resets[(t, *b)] else state
                state, ys[t] = step(params, state, x)
            else:
                y = jax.eval_shape(step, params, state, x)[1]
                ys[t] = jax.tree.map(lambda y: jnp.zeros(y.shape, y.dtype), y)
        finals[b], outputs[b] = state, jax.tree.map(lambda *y: jnp.stack(y), *ys)

    def joined(axis, *parts):
        whole = jnp.stack(parts, axis)
        return whole.reshape(
            *whole.shape[:axis], *batch_shape, *whole.shape[axis + 1 :]
        )

    return (
        jax.tree.map(functools.partial(joined, 0), *finals.values()),
        jax.tree.map(functools.partial(joined, 1), *outputs.values()),
    )


def close(got, want, dtype):
    tolerance = {"float64": 1e-10, "float32": 2e-5}[dtype]

    def one(a, b):
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)

    jax.tree.map(one, got, want)


def drawn(row):
    """Return a trial, and the options of `unroll` with time first."""
    one = trial(
        row["name"], time=TIME, batch_shape=row["batch_shape"], dtype=row["dtype"]
    )
    rng, shape = np.random.default_rng(0), (TIME, *one.batch_shape)

    def shifted(c):
        return c + c.dtype.type(0.25) if c.dtype.kind == "f" else c

    given = {}
    if row["lengths"]:
        given["lengths"] = rng.integers(0, TIME + 1, one.batch_shape)
    if row["mask"]:
        given["mask"] = rng.random(shape) < 0.7
    if row["resets"] != "none":
        given["resets"] = rng.random(shape) < 0.4
    if row["resets"] == "to a carry":
        given["reset_carry"] = jax.tree.map(shifted, one.carry)
    if row["carry"]:
        given["carry"] = one.carry
    if row["key"]:
        given["key"] = jax.random.key(3)
    return one, given


def wanted(one, given, params, carry, xs, reverse):
    """Return what the plain loop gives, from time-first arrays."""
    shape = (TIME, *one.batch_shape)
    steps = np.arange(TIME).reshape(-1, *[1] * len(one.batch_shape))
    valid = given.get("mask", np.ones(shape, bool))
    valid = valid & (steps < given.get("lengths", np.full(one.batch_shape, TIME)))
    resets = given.get("resets", np.zeros(shape, bool))
    fresh = given.get("reset_carry", one.start())
    if "key" in given:
        xs = one.cell.sample(given["key"], xs, shape, one.dtype)
    return by_hand(one.cell, params, carry, xs, fresh, valid, resets, reverse)


@pytest.mark.parametrize(
    "row",
    [
        pytest.param(row, marks=[] if row["name"] == "lstm" else pytest.mark.slow)
        for row in ROWS
    ],
    ids=lambda row: "-".join(map(str, row.values())),
)
def test_every_two_options_combine(row):
    with contextlib.ExitStack() as stack:
        stack.enter_context(jax.enable_x64(row["dtype"] == "float64"))
        one, given = drawn(row)
        place = 0 if row["time_axis"] == "first" else len(one.batch_shape)
        turn = functools.partial(jax.tree.map, lambda a: jnp.moveaxis(a, 0, place))
        axis = place
        if row["time_axis"] == "from the end" and one.cell.feature_axes == 1:
            axis = place if row["name"] in INPUTS else -2

        def run(params, carry, xs):
            ours = {
                k: turn(v) if k in ("mask", "resets") else v for k, v in given.items()
            }
            if row["carry"]:
                ours["carry"] = carry
            final, ys = rj.unroll(
                one.cell,
                params,
                turn(xs),
                reverse=row["reverse"],
                time_axis=axis,
                backward=row["backward"],
                **ours,
            )
            return final, jax.tree.map(lambda y: jnp.moveaxis(y, place, 0), ys)

        def loop(params, carry, xs):
            return wanted(one, given, params, carry, xs, row["reverse"])

        carry = one.carry if row["carry"] else one.start()
        arguments = one.params, carry, one.xs
        got = (jax.jit(run) if row["jit"] else run)(*arguments)
        close(got, loop(*arguments), row["dtype"])
        if not isinstance(row["backward"], CUT):
            weights = jax.tree.map(
                lambda a: jnp.cos(jnp.arange(a.size)).reshape(a.shape).astype(a.dtype),
                got,
            )
            argnums = (0, 1, 2) if row["carry"] else (0, 2)
            # Values are compared outside of `jit` too. Gradients are always compiled.
            ours, want = (pull(f, argnums, arguments, weights) for f in (run, loop))
            close(ours, want, row["dtype"])


def pull(f, argnums, arguments, weights):
    """Return gradients of the floats of `f`, each weighed."""

    def score(*arguments):
        pairs = zip(*map(jax.tree.leaves, (f(*arguments), weights)), strict=True)
        return sum(jnp.sum(a * w) for a, w in pairs if a.dtype.kind == "f")

    grads = jax.jit(jax.grad(score, argnums, allow_int=True))(*arguments)
    return [g for g in jax.tree.leaves(grads) if g.dtype.kind == "f"]
