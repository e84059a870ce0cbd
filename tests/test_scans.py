# SPDX-License-Identifier: Apache-2.0
"""Each kind of linear step, by every method, against the plain loop."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cells.linear import CHUNKED, EVERY, agree

import recurrent_jax as rj
from recurrent_jax.scans import (
    Delta,
    MatrixCarry,
    Outer,
    Stabilised,
    StabilisedCarry,
    _delta,
)
from recurrent_jax.testing import check_cell

pytestmark = pytest.mark.usefixtures("strict_ranks", "small_heap")
N, K, V = 2, 3, 2  # heads, keys, values
KINDS = ("delta", "delta_channels", "outer", "outer_channels", "stabilised")


@dataclasses.dataclass(frozen=True)
class Any(rj.MatrixCell):
    """A cell whose step is of any kind, with numbers from one projection."""

    kind: str

    output = None

    def out_features(self, in_features):
        return N * V

    def init(self, key, in_features, dtype=float):
        return (jax.random.normal(key, (in_features, N * (5 * K + V + 1)), dtype) / 2,)

    def initial_carry(self, batch_shape=(), dtype=float, params=None):
        S = jnp.zeros((*batch_shape, N, K, V), dtype)
        if self.kind != "stabilised":
            return MatrixCarry(S)
        return StabilisedCarry(S, S[..., 0], S[..., 0, 0])

    def project(self, params, x):
        z = x @ params[0]
        ends = [K, 2 * K, 3 * K, 4 * K, 4 * K + V, 4 * K + V + 1]
        z = z.reshape(*z.shape[:-1], N, 5 * K + V + 1)
        return tuple(jnp.split(z, ends, axis=-1))

    def element(self, params, z):
        _, k, r, w, v, g, channels = z
        g, channels = -jax.nn.softplus(g[..., 0]), -jax.nn.softplus(channels)
        if self.kind == "stabilised":
            return Stabilised(g, 2 * r[..., 0], k, v)
        g = channels if self.kind.endswith("channels") else g
        return Delta(g, r, w, k, v) if "delta" in self.kind else Outer(g, k, v)

    def query(self, params, z):
        return z[0]

    def finish(self, params, read, z):
        if self.kind == "stabilised":
            scale = jnp.maximum(jnp.abs(read.total), jnp.exp(-read.m))
            read = read.value / scale[..., None]
        return read.reshape(*read.shape[:-2], N * V)


@pytest.mark.mostly_slow
@pytest.mark.parametrize("kind", KINDS)
def test_methods_agree_with_the_loop(kind):
    methods = EVERY if kind.startswith("outer") else CHUNKED
    agree(Any(kind), methods, thorough=True)


@pytest.mark.slow
@pytest.mark.nans
@pytest.mark.parametrize("kind", ["outer_channels", "delta", "stabilised"])
def test_laws(kind):
    check_cell(Any(kind))


@pytest.mark.nans
@pytest.mark.parametrize("method", [rj.Associative(), rj.Chunked(8), rj.Chunked(3)])
@pytest.mark.parametrize("cell", [rj.LRU(3), Any("outer"), Any("delta")], ids=repr)
def test_nothing_that_is_not_finite_passes_a_reset(cell, method, x64):
    """Values after a reset, within a chunk that holds NaN or inf before it."""
    if method == rj.Associative() and cell == Any("delta"):
        pytest.skip("its steps do not combine")
    params = cell.init(jax.random.key(0), 3)
    xs = jax.random.normal(jax.random.key(1), (8, 2, 3))
    resets = jnp.zeros((8, 2), bool).at[5].set(True)

    def run(xs, carry):
        options = {"carry": carry, "resets": resets, "method": method}
        carry, ys = rj.unroll(cell, params, xs, **options)
        return (carry, ys[5:]), ys

    start = cell.initial_carry((2,))
    want, _ = run(xs, start)
    for junk in (jnp.nan, jnp.inf):
        got, ys = run(xs.at[2].set(junk), start)
        jax.tree.map(np.testing.assert_array_equal, got, want)
        assert not jnp.isfinite(ys[2:5]).any() and jnp.isfinite(ys[:2]).all()
        got, ys = run(xs, jax.tree.map(lambda a, j=junk: a + j, start))
        jax.tree.map(np.testing.assert_array_equal, got, want)
        assert not jnp.isfinite(ys[:5]).any()


@dataclasses.dataclass(frozen=True)
class Sum(rj.LinearCell):
    """A cell that adds its inputs."""

    Carry = rj.cells.HiddenCarry
    output = "h"
    hidden_size: int = 1

    def init(self, key, in_features, dtype=float):
        return ()

    def element(self, params, z):
        return rj.scans.Diagonal(jnp.ones((1,) * z.ndim, z.dtype), self.Carry(z))

    def emit(self, params, carry, z):
        return carry.h


def test_sums_of_16_bits_are_made_in_32():
    """In bfloat16, 256 + 1 is 256. The state of a chunk is rounded once."""
    ones = jnp.ones((1000, 1), jnp.bfloat16)
    for method in (rj.Associative(), rj.Chunked(), rj.Chunked(500)):
        carry, ys = rj.unroll(Sum(), (), ones, method=method)
        assert carry.h.dtype == ys.dtype == jnp.bfloat16
        assert carry.h[0] == 1000
    assert rj.unroll(Sum(), (), ones, method=rj.Sequential())[0].h[0] == 256


@pytest.mark.mostly_slow
@pytest.mark.parametrize("size", [5, 24])
def test_the_inverse_of_a_delta_rule(size, x64):
    """Values and gradients, of sizes that halve and sizes that do not."""
    drawn = 0.3 * jax.random.normal(jax.random.key(0), (2, 3, size, size))

    def loss(inverse, a):
        X = inverse(jnp.tril(a, -1))
        return jnp.sum(jnp.sin(X)), X

    def dense(lower):
        return jnp.linalg.inv(jnp.eye(size)[None, None] - lower)

    (mine, ours), (other, want) = (
        jax.grad(lambda a, f=f: loss(f, a), has_aux=True)(drawn)
        for f in (_delta.inverse, dense)
    )
    np.testing.assert_allclose(ours, want, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(mine, other, rtol=1e-10, atol=1e-10)


def test_a_delta_rule_calls_no_solver():
    """Solves that run at the same time can wait for each other on a CPU."""
    cell = rj.GatedDeltaNet(4, heads=2)
    params = jax.eval_shape(lambda: cell.init(jax.random.key(0), 3))

    def loss(params, xs):
        return rj.unroll(cell, params, xs, method=rj.Chunked(4))[1].sum()

    text = jax.jit(jax.grad(loss)).lower(params, jnp.ones((8, 2, 3))).as_text()
    assert "dot_general" in text
    assert "triangular_solve" not in text and "trsm" not in text
