# SPDX-License-Identifier: Apache-2.0
"""What the tests of compiled kernels share."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import recurrent_jax as rj
from recurrent_jax import kernels

# One row for each kernel, and for each that is called in another way.
MAKE = {
    "lstm": rj.LSTM,
    "lstm_no_bias": functools.partial(rj.LSTM, use_bias=False),
    "gru": rj.GRU,
    "gru_no_bias": functools.partial(rj.GRU, use_bias=False),
    "gru_reset_before": functools.partial(rj.GRU, reset_after=False),
    "elman": rj.Elman,
    "elman_relu": functools.partial(rj.Elman, activation=jax.nn.relu),
}
# These differ in what the primitives do.
FEW = ("lstm", "gru", "elman")

needs_library = pytest.mark.skipif(
    not kernels.loaded().active, reason=f"no kernels: {kernels.loaded().reason}"
)


def draw(name, time, batch, D, H, seed=0):
    """Return a cell, its parameters, inputs and a carry, in float64 on the host."""
    cell = MAKE[name](H)
    rng = np.random.default_rng(seed)
    like = jax.eval_shape(lambda: cell.init(jax.random.key(0), D))
    params = jax.tree.map(lambda a: rng.normal(size=a.shape) / np.sqrt(H), like)
    carry = jax.eval_shape(lambda: cell.initial_carry((batch,)))
    carry = jax.tree.map(lambda a: rng.normal(size=a.shape), carry)
    return cell, params, rng.normal(size=(time, batch, D)), carry


def flags(time, batch, seed=0):
    """Return lengths, mask and resets."""
    rng = np.random.default_rng(seed)
    return {
        "lengths": rng.integers(0, time + 1, batch),
        "mask": rng.random((time, batch)) < 0.8,
        "resets": rng.random((time, batch)) < 0.2,
    }


def score(out):
    """Return a number that depends on every output, and not symmetrically."""

    def one(a):
        weights = jnp.cos(jnp.arange(a.size, dtype=a.dtype))
        return jnp.sum(jnp.sin(a.ravel() + 0.1) * weights)

    return sum(map(one, jax.tree.leaves(out)))


def close(got, want, tolerance):
    """Check two trees against the largest number of each array of the second."""
    assert jax.tree.structure(got) == jax.tree.structure(want)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        a, b = np.asarray(a, "float64"), np.asarray(b, "float64")
        assert a.shape == b.shape
        scale = max(1.0, np.max(np.abs(b), initial=0))
        np.testing.assert_allclose(a / scale, b / scale, rtol=0, atol=tolerance)


def cast(tree, dtype):
    """Return a tree of arrays with the floats in another dtype."""
    return jax.tree.map(
        lambda a: jnp.asarray(a, dtype) if a.dtype == "float64" else a, tree
    )
