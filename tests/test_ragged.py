# SPDX-License-Identifier: Apache-2.0
"""Variable length: packed against separate runs, bounds against all bounds."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import recurrent_jax as rj
from recurrent_jax import ragged

LENGTHS = np.array([3, 0, 7, 1, 4, 2, 7])


def sequences(lengths, *features):
    random = np.random.default_rng(0)
    return [random.normal(size=(n, *features)) for n in lengths]


def test_pad_and_unpad():
    given = sequences(LENGTHS, 2)
    xs, lengths = ragged.pad(given)
    assert xs.shape == (7, 7, 2) and lengths.tolist() == LENGTHS.tolist()
    for b, n in enumerate(LENGTHS):
        assert (xs[n:, b] == 0).all()
    for one, other in zip(ragged.unpad(xs, lengths), given, strict=True):
        np.testing.assert_array_equal(one, other)
    assert ragged.pad(given, time=9).xs.shape == (9, 7, 2)
    assert ragged.pad([[], [1, 2]]).xs.dtype == np.array([1, 2]).dtype


def test_mask():
    want = np.arange(7)[:, None] < LENGTHS
    np.testing.assert_array_equal(ragged.mask(LENGTHS, 7), want)
    np.testing.assert_array_equal(
        jax.jit(lambda n: ragged.mask(n, 7))(LENGTHS.reshape(7, 1)), want[..., None]
    )


lists = st.lists(st.integers(0, 9), max_size=12).map(lambda n: np.array(n, int))


@pytest.mark.slow
@given(lists, st.integers(0, 5))
@settings(deadline=None, max_examples=30)
def test_a_plan_holds_every_step_once(lengths, room):
    row_time = int(lengths.max(initial=0)) + room
    plan = ragged.packing(lengths, row_time=row_time)
    assert plan.valid.sum() == plan.inside.sum() == lengths.sum()
    assert plan.resets.sum() == (lengths > 0).sum()
    assert not (plan.resets & ~plan.valid).any()
    # Steps of a sequence follow each other in one row, after a reset.
    rows = max(plan.valid.shape[1], 1)
    for b, n in enumerate(lengths):
        places = plan.target[:n, b]
        assert (np.diff(places) == rows).all()
        if n:
            assert plan.resets.ravel()[places].tolist() == [True] + [False] * (n - 1)
            np.testing.assert_array_equal(
                plan.source.ravel()[places], np.arange(n) * len(lengths) + b
            )
    # First fit leaves at most one row half empty.
    used = plan.valid.sum(0)
    assert (used * 2 <= row_time).sum() <= 1 or row_time == 0
    if row_time and rows:
        xs = np.arange(plan.target.size).reshape(plan.target.shape)
        back = plan.unpack(plan.pack(xs))
        np.testing.assert_array_equal(back, np.where(plan.inside, xs, 0))


CELLS = {
    "lstm": rj.LSTM(4),
    "deep": rj.Deep((rj.GRU(3), rj.Elman(4))),
    "both_ways": rj.Bidirectional(rj.GRU(2)),
}


@pytest.mark.mostly_slow
@pytest.mark.parametrize("name", CELLS)
@pytest.mark.nans
def test_packed_is_separate_runs(x64, name):
    """Values, and gradients of parameters and inputs; whatever the padding holds."""
    cell = CELLS[name]
    params = cell.init(jax.random.key(0), 2)
    given = sequences(LENGTHS, 2)
    xs, lengths = ragged.pad(given)
    spoilt = np.where(ragged.mask(lengths, 7)[..., None], xs, np.nan)
    plan = ragged.packing(lengths, row_time=9)
    assert plan.valid.shape[1] == 3  # rows for 7 sequences

    def packed(params, xs):
        _, ys = rj.unroll(
            cell, params, plan.pack(xs), mask=plan.valid, resets=plan.resets
        )
        ys = plan.unpack(ys)
        return (ys**3).sum(), ys

    def alone(params, x):
        _, ys = rj.unroll(cell, params, x)
        return (ys**3).sum(), ys

    run = jax.jit(jax.value_and_grad(packed, (0, 1), has_aux=True))
    (_, ys), (d_params, d_xs) = run(params, spoilt)
    each = jax.jit(jax.value_and_grad(alone, (0, 1), has_aux=True))
    total = jax.tree.map(jnp.zeros_like, params)
    for b, n in enumerate(LENGTHS):
        assert (ys[n:, b] == 0).all() and (d_xs[n:, b] == 0).all()
        if n:
            (_, want), (d_p, d_x) = each(params, jnp.asarray(given[b]))
            np.testing.assert_allclose(ys[:n, b], want, atol=1e-12)
            np.testing.assert_allclose(d_xs[:n, b], d_x, atol=1e-12)
            total = jax.tree.map(jnp.add, total, d_p)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-12), d_params, total
    )
    last = rj.tasks.last_output(ys, lengths=lengths)
    np.testing.assert_array_equal(last[0], ys[2, 0])


@given(st.lists(st.integers(1, 8), min_size=1, max_size=9), st.integers(1, 4))
@settings(deadline=None, max_examples=60)
def test_bounds_pad_least(lengths, count):
    found = ragged.bounds(lengths, count)
    cost = lambda bounds: sum(min(b for b in bounds if b >= n) for n in lengths)  # noqa: E731
    sizes = sorted(set(lengths))
    least = min(
        cost((*some, sizes[-1]))
        for k in range(count)
        for some in itertools.combinations(sizes[:-1], k)
    )
    assert cost(found) == least
    assert len(found) <= count and list(found) == sorted(set(found))


@given(st.lists(st.integers(0, 8), min_size=1, max_size=30), st.integers(0, 3))
@settings(deadline=None, max_examples=30)
def test_buckets_hold_every_sequence_once(lengths, seed):
    make = functools.partial(
        ragged.buckets, lengths, batch_size=4, bounds=ragged.bounds(lengths, 3)
    )
    batches = make(seed=(seed, 1))
    every = np.concatenate([b.indices for b in batches])
    assert sorted(every.tolist()) == list(range(len(lengths)))
    for indices, time in batches:
        assert 1 <= len(indices) <= 4
        assert max(lengths[n] for n in indices) <= time
        smaller = [b for b in ragged.bounds(lengths, 3) if b < time]
        assert all(lengths[n] > max(smaller, default=-1) for n in indices)
    again = make(seed=(seed, 1))
    assert all((a.indices == b.indices).all() for a, b in zip(batches, again))  # noqa: B905
    in_order = make()
    assert [b.time for b in in_order] == sorted(b.time for b in in_order)


def test_another_seed_is_another_order():
    make = functools.partial(ragged.buckets, np.full(30, 5), batch_size=4, bounds=[5])
    one, other = (np.concatenate([b.indices for b in make(seed=s)]) for s in (0, 1))
    assert (one != other).any()
