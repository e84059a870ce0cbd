# SPDX-License-Identifier: Apache-2.0
"""Penalties on activity, against sums written out."""

import jax
import numpy as np
import pytest
from parity.common import Draw

from recurrent_jax.training import activity_penalty, temporal_activity_penalty

T, B, H = 5, 3, 4
LENGTHS = np.array([5, 2, 0])
MASK = np.arange(T)[:, None] < LENGTHS


def test_activity_is_a_mean_over_valid_steps(x64):
    ys = Draw("float64")(T, B, H)
    kept = [ys[t, b] for b in range(B) for t in range(LENGTHS[b])]
    got = activity_penalty(ys, mask=MASK)
    np.testing.assert_allclose(got, np.mean(np.square(kept)))
    np.testing.assert_allclose(activity_penalty(ys), np.mean(ys**2))


@pytest.mark.parametrize("time_axis", [0, 1, -2])
def test_temporal_activity_is_a_mean_over_valid_changes(time_axis, x64):
    ys = Draw("float64")(T, B, H)
    pairs = [(t, b) for b in range(B) for t in range(LENGTHS[b] - 1)]
    want = np.mean([(ys[t + 1, b] - ys[t, b]) ** 2 for t, b in pairs])
    swap = (lambda a: a) if time_axis == 0 else (lambda a: np.swapaxes(a, 0, 1))
    got = temporal_activity_penalty(swap(ys), mask=swap(MASK), time_axis=time_axis)
    np.testing.assert_allclose(got, want)
    whole = temporal_activity_penalty(swap(ys), time_axis=time_axis)
    np.testing.assert_allclose(whole, np.mean(np.diff(ys, axis=0) ** 2))


def test_a_change_across_a_gap_does_not_count():
    ys = np.array([[0.0], [9.0], [1.0], [3.0]], "float32")
    assert temporal_activity_penalty(ys, mask=np.array([True, False, True, True])) == 4
    assert temporal_activity_penalty(ys, mask=np.zeros(4, bool)) == 0


@pytest.mark.nans
@pytest.mark.parametrize("penalty", [activity_penalty, temporal_activity_penalty])
def test_padding_enters_neither_value_nor_gradient(penalty, x64):
    ys = Draw("float64")(T, B, H)
    spoilt = np.where(MASK[..., None], ys, np.nan)

    def both(ys):
        return jax.value_and_grad(lambda ys: penalty(ys, mask=MASK))(ys)

    for got, want in zip(both(spoilt), both(ys), strict=True):
        np.testing.assert_array_equal(got, want)
    assert np.all(np.asarray(both(spoilt)[1])[~MASK] == 0)
