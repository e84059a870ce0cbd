# SPDX-License-Identifier: Apache-2.0
"""What the parity tests share: drawn numbers, gradients and the comparison."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import settings
from hypothesis import strategies as st

TOLERANCE = {"float32": 1e-5, "float64": 1e-10}

few = settings(max_examples=10, deadline=None)


class Sizes(NamedTuple):
    time: int = 6
    batch: int = 3
    features: int = 2
    hidden: int = 4

    @property
    def xs(self):
        return self.time, self.batch, self.features

    @property
    def h(self):
        return self.batch, self.hidden


SIZES = Sizes()
LENGTHS = np.array([4, 1, 6])
# Gaps, a masked first step, and a sequence that is masked from end to end.
MASK = np.array(
    [[0, 1, 1, 0, 0, 1], [1, 0, 1, 1, 1, 0], [0, 0, 0, 0, 0, 0]], bool
).transpose()


@st.composite
def sizes_and_lengths(draw):
    """Sizes, and a length of at least one for each sequence, which peers insist on."""
    sizes = Sizes(
        time=draw(st.integers(1, 8)),
        batch=draw(st.integers(1, 4)),
        features=draw(st.integers(1, 5)),
        hidden=draw(st.integers(1, 6)),
    )
    length = st.integers(1, sizes.time)
    lengths = draw(st.lists(length, min_size=sizes.batch, max_size=sizes.batch))
    return sizes, np.array(lengths)


class Draw:
    """Random NumPy arrays of one dtype."""

    def __init__(self, dtype, seed=0):
        self.dtype = dtype
        self.rng = np.random.default_rng(seed)

    def __call__(self, *shape):
        return (0.6 * self.rng.standard_normal(shape)).astype(self.dtype)

    def like(self, tree):
        return jax.tree.map(lambda leaf: self(*leaf.shape), tree)


def join(parts):
    """Gates side by side, as all our parameters have them."""
    return jnp.concatenate(list(parts), axis=-1)


def swap(tree):
    """Exchange the first two axes, time and batch."""
    return jax.tree.map(lambda a: jnp.swapaxes(a, 0, 1), tree)


def zero_beyond(ys, lengths):
    """Zero the outputs `(time, batch, hidden)` of a peer that leaves padding alone."""
    valid = np.arange(ys.shape[0])[:, None] < lengths
    return jnp.where(valid[..., None], ys, jnp.zeros_like(ys))


def values_and_grads(run, args, cotangents):
    """Return `run(*args)`, and the gradients of `sum(values * cotangents)`."""

    @jax.jit
    def both(args, cotangents):
        values, pull = jax.vjp(run, *args)
        return values, pull(cotangents)

    return both(args, cotangents)


def assert_same(got, want, tolerance, dtype):
    """Check structure, shapes, dtypes and numbers; a failure names the leaf."""
    assert jax.tree.structure(got) == jax.tree.structure(want)
    for (path, a), b in zip(
        jax.tree.leaves_with_path(got), jax.tree.leaves(want), strict=True
    ):
        name = jax.tree_util.keystr(path)
        assert a.shape == b.shape, name
        assert str(a.dtype) == dtype, name
        a, b = np.asarray(a), np.asarray(b)
        np.testing.assert_allclose(a, b, tolerance, tolerance, err_msg=name)


def assert_parity(ours, peer, args, draw):
    """Compare two functions `(weights, xs, carry) -> (carry, ys)`, and gradients."""
    cotangents = draw.like(jax.eval_shape(ours, *args))
    assert_same(
        values_and_grads(ours, args, cotangents),
        values_and_grads(peer, args, cotangents),
        TOLERANCE[draw.dtype],
        draw.dtype,
    )
