# SPDX-License-Identifier: Apache-2.0
"""Standardising, windows that do not leak, and batches that resume."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from recurrent_jax.training import batch_indices, standardiser, windows


def series(dtype="float64"):
    rng = np.random.default_rng(0)
    return (rng.normal(size=(50, 4, 3)) * [1.0, 20.0, 3.0] + [5.0, 0.0, -1.0]).astype(
        dtype
    )


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_standardised_and_back(dtype, x64):
    xs = series(dtype)
    scale = standardiser(xs[:30])
    for one in (xs, jnp.asarray(xs)):
        flat = scale.apply(one)
        assert flat.dtype == dtype
        rows = np.asarray(flat[:30], "float64").reshape(-1, 3)
        np.testing.assert_allclose(rows.mean(0), 0, atol=1e-5)
        np.testing.assert_allclose(rows.std(0), 1, rtol=1e-5)
        np.testing.assert_allclose(scale.invert(flat), xs, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(
        jax.jit(lambda s, x: s.apply(x))(scale, xs), scale.apply(xs), atol=1e-5
    )


def test_what_comes_after_the_training_part_is_not_looked_at():
    xs = series()
    with pytest.raises(AssertionError):
        np.testing.assert_allclose(standardiser(xs).mean, standardiser(xs[:30]).mean)
    xs[30:] = np.nan
    assert np.isfinite(standardiser(xs[:30]).mean).all()


def test_padding_is_left_out():
    xs = series()
    mask = np.arange(50)[:, None] < np.array([50, 10, 0, 30])
    clean = standardiser(xs, mask=mask)
    xs[~mask] = np.nan
    dirty = standardiser(xs, mask=mask)
    np.testing.assert_array_equal(clean.mean, dirty.mean)
    np.testing.assert_array_equal(clean.deviation, dirty.deviation)
    np.testing.assert_allclose(dirty.mean, xs[mask].mean(0), rtol=1e-12)


@pytest.mark.parametrize(
    "mistake, error, text",
    [
        (
            lambda: standardiser(np.ones((5, 2))),
            ValueError,
            "features [0, 1] are const",
        ),
        (lambda: standardiser(np.full((5, 1), 0.1)), ValueError, "constant in train"),
        (
            lambda: standardiser([[np.nan, 1.0], [1.0, 2.0]]),
            ValueError,
            "[0] are not f",
        ),
        (lambda: standardiser(np.ones((0, 2))), ValueError, "no steps in train"),
        (
            lambda: standardiser(np.ones((3, 2), int)),
            TypeError,
            "must be a floating-poi",
        ),
        (
            lambda: standardiser(series(), mask=np.ones(50)),
            TypeError,
            "standardiser: mask must be a bool array",
        ),
        (lambda: windows(9, 0), ValueError, "windows: size must be at least 1"),
        (lambda: windows(9, 3), ValueError, "part 1 has 2 steps, too few for a window"),
        (lambda: windows(90, 3, gap=-1), ValueError, "gap must be at least 0"),
        (lambda: windows(90, 3, gap=14), ValueError, "part 1 has 0 steps"),
        (lambda: windows(90, 3, parts=(0.7, 0.2)), ValueError, "add to 1"),
        (lambda: windows(90, 3, parts=(1.5, -0.5)), ValueError, "must be positive"),
        (
            lambda: batch_indices(jax.random.key(0), 0, examples=3, size=4),
            ValueError,
            "size=4 is more than examples=3",
        ),
    ],
)
def test_what_does_not_fit_is_refused(mistake, error, text):
    with pytest.raises(error) as caught:
        mistake()
    assert text in str(caught.value)


@pytest.mark.slow
@settings(deadline=None, max_examples=60)
@given(
    steps=st.integers(60, 200),
    size=st.integers(1, 9),
    stride=st.integers(1, 12),
    gap=st.integers(0, 4),
    share=st.floats(0.4, 0.6),
)
def test_no_step_is_in_windows_of_two_parts(steps, size, stride, gap, share):
    # The least part is a fifth of the steps, less the gaps beside it.
    assume(0.2 * steps - 2 * gap > size)
    parts = windows(
        steps, size, parts=(share, 0.8 - share, 0.2), stride=stride, gap=gap
    )
    assert len(parts) == 3
    for one, two in zip(parts, parts[1:], strict=False):
        assert two.min() - one.max() > gap
    for part in parts:
        assert part.shape[1] == size and (np.diff(part, axis=1) == 1).all()
        assert (np.diff(part[:, 0]) == stride).all()
    assert parts[0].min() == 0 and parts[-1].max() < steps


def test_with_a_stride_of_one_every_step_is_in_a_window():
    parts = windows(101, 7)
    assert sorted({int(n) for part in parts for n in part.ravel()}) == list(range(101))


def test_an_epoch_has_every_example_once_and_an_order_of_its_own():
    # Twelve examples by three: four steps are an epoch.
    one = jax.jit(lambda n: batch_indices(jax.random.key(0), n, examples=12, size=3))
    epochs = np.stack([one(n) for n in range(8)]).reshape(2, 12)
    for epoch in epochs:
        assert sorted(epoch.tolist()) == list(range(12))
    assert (epochs[0] != epochs[1]).any()
    # A function of key and step alone, traced or not.
    np.testing.assert_array_equal(
        batch_indices(jax.random.key(0), 5, examples=12, size=3), one(5)
    )
    other = batch_indices(jax.random.key(1), 5, examples=12, size=3)
    assert (other != one(5)).any()


def test_what_does_not_fill_a_batch_differs_by_epoch():
    left_out = set()
    for epoch in range(8):
        seen = [
            batch_indices(jax.random.key(0), 2 * epoch + n, examples=5, size=2)
            for n in (0, 1)
        ]
        left_out |= set(range(5)) - set(np.concatenate(seen).tolist())
    assert len(left_out) > 1


def test_a_batch_of_windows_is_read_under_jit():
    series = jnp.arange(40.0)[:, None]
    train, _ = windows(40, 5, parts=(0.5, 0.5))

    @jax.jit
    def read(key, step):
        return series[train[batch_indices(key, step, examples=len(train), size=4)]]

    got = read(jax.random.key(0), 3)
    chosen = batch_indices(jax.random.key(0), 3, examples=len(train), size=4)
    np.testing.assert_array_equal(got[..., 0], np.asarray(train)[chosen])
