# SPDX-License-Identifier: Apache-2.0
"""Pictures of digits in a row, their captions, and baselines."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier

WORDS = "zero one two three four five six seven eight nine".split()
END, START = 10, 11  # after the ten words
MOST = 5  # digits in a picture
SIDE = 8  # of a digit, in pixels
HEIGHT, WIDTH = 12, 56  # of a picture
SHARES = {"training": 0.6, "validation": 0.15, "test": 0.25}


class Digits(NamedTuple):
    """Handwritten digits; each digit is in only one part of the data."""

    images: jax.Array  # (n, 8, 8), from 0 to 1
    labels: jax.Array  # (n,)


class Captioned(NamedTuple):
    """Pictures and their captions."""

    pictures: jax.Array  # (N, HEIGHT, WIDTH)
    tokens: jax.Array  # (MOST + 1, N): words, then END to the last step
    lengths: jax.Array  # (N,), including the END
    which: (
        jax.Array
    )  # (N, MOST), indices of digits; those beyond the length are not shown


def parts() -> dict[str, Digits]:
    """Return scikit-learn's digits in three parts; the split never changes."""
    data = load_digits()
    images = jnp.asarray(data.images / 16, "float32")
    order = np.random.default_rng(0).permutation(len(images))
    ends = np.cumsum([round(share * len(images)) for share in SHARES.values()])
    each = np.split(order, ends[:-1])
    return {
        name: Digits(images[indices], jnp.asarray(data.target[indices], int))
        for name, indices in zip(SHARES, each, strict=True)
    }


def compose(key: jax.Array, digits: Digits, count: int) -> Captioned:
    """Return pictures of one to five digits, at random gaps and heights."""
    keys = jax.random.split(key, 4)
    amount = jax.random.randint(keys[0], (count,), 1, MOST + 1)
    which = jax.random.randint(keys[1], (count, MOST), 0, len(digits.images))
    drawn = jnp.arange(MOST) < amount[:, None]
    # Sorted, so that each digit starts at least its width after the one before.
    gaps = jnp.where(drawn, jax.random.uniform(keys[2], (count, MOST)), 2.0)
    spare = (WIDTH - SIDE * amount + 1).astype(float)
    left = jnp.sort(gaps, axis=1) * spare[:, None]
    left = left.astype(int) + SIDE * jnp.arange(MOST)
    top = jax.random.randint(keys[3], (count, MOST), 0, HEIGHT - SIDE + 1)
    rows = top[:, :, None, None] + jnp.arange(SIDE)[:, None]
    columns = left[:, :, None, None] + jnp.arange(SIDE)
    shown = jnp.where(drawn[..., None, None], digits.images[which], 0.0)
    each = jnp.arange(count)[:, None, None, None]
    blank = jnp.zeros((count, HEIGHT, WIDTH))
    # Digits that are not shown may lie outside; JAX drops them.
    pictures = blank.at[each, rows, columns].add(shown, mode="drop")
    words = jnp.where(drawn, digits.labels[which], END)
    tokens = jnp.concatenate([words, jnp.full((count, 1), END)], axis=1).T
    return Captioned(pictures, tokens, amount + 1, which)


def words(tokens: np.ndarray) -> str:
    """Return a caption as text, up to its end token."""
    named = []
    for token in tokens.tolist():
        if token == END:
            break
        named.append(WORDS[token])
    return " ".join(named)


def baselines(digits: dict[str, Digits], test: Captioned) -> dict[str, np.ndarray]:
    """Return whether each caption of the test is right, for each baseline.

    Both classifiers get what the network must find: the number of digits, and an exact
    crop of each. They train on the same digits.
    """
    train, held = digits["training"], digits["test"]
    flat = np.asarray(train.images).reshape(-1, SIDE * SIDE)
    drawn = np.arange(MOST) < np.asarray(test.lengths)[:, None] - 1
    right = {}
    for name, model in (
        ("logistic regression, ideal crops", LogisticRegression(max_iter=2000)),
        ("nearest neighbour, ideal crops", KNeighborsClassifier(1)),
    ):
        model.fit(flat, np.asarray(train.labels))
        guess = model.predict(np.asarray(held.images).reshape(-1, SIDE * SIDE))
        correct = (guess == np.asarray(held.labels))[np.asarray(test.which)]
        right[name] = (correct | ~drawn).all(1)
    # Captions of one word are the most frequent ones, and equally frequent.
    best = np.bincount(np.asarray(train.labels)).argmax()
    tokens = np.asarray(test.tokens)
    right["most frequent caption"] = (tokens[0] == best) & (tokens[1] == END)
    return right
