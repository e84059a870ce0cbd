# SPDX-License-Identifier: Apache-2.0
"""Losses: a loss over padding is exactly the loss without it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import recurrent_jax as rj
from recurrent_jax.training import cross_entropy, masked_mean, squared_error

LENGTHS = np.array([4, 0, 2])
MASK = np.arange(5)[:, None] < LENGTHS  # (T, N)
BAD = [np.nan, np.inf, -np.inf, 1e30]


def drawn(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def padded(values, bad):
    return np.where(MASK.reshape(5, 3, *(1,) * (values.ndim - 2)), values, bad)


@pytest.mark.nans
@pytest.mark.parametrize("bad", BAD)
def test_squared_error_is_that_of_the_valid_steps(bad, x64):
    one, two = drawn(5, 3, 2), drawn(5, 3, 2, seed=1)
    loss, gradient = jax.value_and_grad(squared_error, argnums=(0, 1))(
        padded(one, bad), padded(two, bad), mask=MASK
    )
    difference = one[MASK] - two[MASK]
    np.testing.assert_allclose(loss, np.mean(difference**2), rtol=1e-14)
    wanted = np.zeros_like(one)
    wanted[MASK] = 2 * difference / difference.size
    np.testing.assert_allclose(gradient[0], wanted, rtol=1e-14)
    np.testing.assert_allclose(gradient[1], -wanted, rtol=1e-14)


@pytest.mark.nans
@pytest.mark.parametrize("bad", BAD)
def test_cross_entropy_is_that_of_the_valid_steps(bad, x64):
    logits = drawn(5, 3, 4)
    labels = np.random.default_rng(1).integers(0, 4, (5, 3))
    loss, gradient = jax.value_and_grad(cross_entropy)(
        padded(logits, bad), np.where(MASK, labels, -7), mask=MASK
    )
    chosen, right = logits[MASK], labels[MASK]
    shares = np.exp(chosen) / np.exp(chosen).sum(-1, keepdims=True)
    each = -np.log(shares[np.arange(len(right)), right])
    np.testing.assert_allclose(loss, each.mean(), rtol=1e-13)
    wanted = np.zeros_like(logits)
    wanted[MASK] = (shares - np.eye(4)[right]) / len(right)
    np.testing.assert_allclose(gradient, wanted, rtol=1e-12)


@pytest.mark.nans
def test_what_padding_holds_does_not_change_a_bit():
    logits, labels = drawn(5, 3, 4).astype("float32"), np.ones((5, 3), int)
    clean, dirty = (
        jax.value_and_grad(cross_entropy)(padded(logits, bad), labels, mask=MASK)
        for bad in (np.float32(0), np.float32(np.nan))
    )
    np.testing.assert_array_equal(clean[0], dirty[0])
    np.testing.assert_array_equal(clean[1], dirty[1])


@pytest.mark.slow
@pytest.mark.nans
def test_through_a_cell_nothing_of_the_padding_is_left(x64):
    cell = rj.LSTM(3)
    params = cell.init(jax.random.key(0), 2)
    xs, labels = drawn(5, 3, 2), np.zeros((5, 3), int)

    def loss(params, xs, labels, **options):
        mask = options.pop("mask", None)
        _, ys = rj.unroll(cell, params, xs, **options)
        return cross_entropy(ys, labels, mask=mask)

    whole = jax.value_and_grad(loss)(
        params, padded(xs, np.nan), labels, lengths=LENGTHS, mask=MASK
    )
    # Each sequence by itself, its padding cut off.
    alone = [
        jax.value_and_grad(loss)(params, xs[:n, k], labels[:n, k])
        for k, n in enumerate(LENGTHS)
        if n
    ]
    for *one, both in zip(*map(jax.tree.leaves, [*alone, whole]), strict=True):
        np.testing.assert_allclose((4 * one[0] + 2 * one[1]) / 6, both, rtol=1e-10)


def test_without_a_mask_all_counts(x64):
    values = drawn(4, 3, 2)
    np.testing.assert_allclose(masked_mean(values), values.mean(), rtol=1e-14)
    ones = np.ones((4, 3), bool)
    np.testing.assert_allclose(masked_mean(values, ones), values.mean(), rtol=1e-14)
    np.testing.assert_allclose(
        squared_error(values, np.zeros_like(values)), np.mean(values**2), rtol=1e-14
    )


@pytest.mark.nans
def test_where_nothing_counts_the_loss_is_zero():
    nothing = np.zeros((5, 3), bool)
    logits = jnp.full((5, 3, 4), jnp.nan)
    loss, gradient = jax.value_and_grad(cross_entropy)(
        logits, np.full((5, 3), -1), mask=nothing
    )
    assert loss == 0 and not gradient.any()


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
def test_many_steps_of_few_bits(dtype):
    values, mask = jnp.ones((70_000, 2), dtype), np.ones(70_000, bool)
    mean = masked_mean(values, mask)
    assert mean == 1 and mean.dtype == dtype
    assert masked_mean(values) == 1


@pytest.mark.parametrize(
    "mistake, error, text",
    [
        (lambda: masked_mean(MASK * 1.0, MASK * 1), TypeError, "mask must be a bool a"),
        (lambda: masked_mean(drawn(5, 3), MASK.T), ValueError, "bool[3,5]"),
        (
            lambda: cross_entropy(drawn(5, 3, 4), np.ones((5, 3, 1), int)),
            ValueError,
            "labels must be (5, 3)",
        ),
        (
            lambda: cross_entropy(drawn(5, 3, 4), drawn(5, 3, 4)),
            TypeError,
            "labels.argmax(-1)",
        ),
        (
            lambda: cross_entropy(drawn(5, 3, 4), np.ones((5, 3), int), mask=MASK[:4]),
            ValueError,
            "cross_entropy: mask must have the leading axes of labels",
        ),
        (
            lambda: squared_error(drawn(5, 3), drawn(5, 3, 1)),
            ValueError,
            "squared_error: targets must be of the shape and dtype of predictions",
        ),
    ],
)
def test_what_does_not_fit_is_refused(mistake, error, text):
    with pytest.raises(error) as caught:
        mistake()
    assert text in str(caught.value)


def test_labels_that_are_no_classes():
    logits = np.ones((2, 6), "float32")
    for labels in ([-1, 2], [6, 2]):
        labels = np.array(labels)
        with pytest.raises(ValueError, match="labels must lie between 0 and 5, got"):
            cross_entropy(logits, labels)
        assert np.isnan(jax.jit(cross_entropy)(logits, labels))
        mask = np.array([False, True])
        assert np.isfinite(cross_entropy(logits, labels, mask=mask))


def test_losses_of_nothing_are_zero():
    assert masked_mean(np.ones((0, 3), "float32")) == 0
    assert cross_entropy(np.ones((0, 6), "float32"), np.ones(0, "int32")) == 0
