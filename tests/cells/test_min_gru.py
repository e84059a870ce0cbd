# SPDX-License-Identifier: Apache-2.0
"""minGRU against NumPy, step by step and in log space."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import recurrent_jax as rj
from cells.common import compare, count, sigmoid
from cells.linear import agree


def positive(a):
    return np.where(a >= 0, a + 0.5, sigmoid(a))


def split(params, x):
    a = x @ params.kernel + (0 if params.bias is None else params.bias)
    return np.split(a, 2, axis=-1)


def min_gru(params, carry, x, g=positive):
    """Feng et al., 2024, section 3.1."""
    k, candidate = split(params, x)
    z = sigmoid(k)
    h = (1 - z) * carry.h + z * g(candidate)
    return (h,), h


def in_log_space(log_decay, log_added, start):
    """Heinsen, 2023: all states from sums of logarithms, and of exponentials."""
    total = np.cumsum(log_decay, axis=0)
    terms = np.concatenate([np.log(start)[None], log_added - total])
    return np.exp(total + np.logaddexp.accumulate(terms)[1:])


@pytest.mark.parametrize("use_bias", [True, False])
def test_equations(use_bias):
    compare(rj.MinGRU(4, use_bias=use_bias), min_gru)


def test_plain_candidate():
    cell = rj.MinGRU(4, log_space=False)
    compare(cell, lambda *step: min_gru(*step, g=lambda a: a))


@pytest.mark.slow
@pytest.mark.parametrize("log_space", [True, False])
def test_methods(log_space):
    agree(rj.MinGRU(4, log_space=log_space))


@pytest.mark.parametrize("method", [rj.Sequential(), rj.Associative(), rj.Chunked()])
def test_the_log_space_form(method, x64):
    """From a positive state that is not the default, over many steps."""
    cell = rj.MinGRU(4)
    params = cell.init(jax.random.key(0), 3)
    xs = 3 * jax.random.normal(jax.random.key(1), (300, 3))
    start = np.array([0.1, 0.5, 2.0, 30.0])
    carry = cell.Carry(jnp.asarray(start))
    ys = rj.unroll(cell, params, xs, carry=carry, method=method)[1]
    k, candidate = split(jax.tree.map(np.asarray, params), np.asarray(xs))
    log_z, log_keep = -np.logaddexp(0, -k), -np.logaddexp(0, k)
    want = in_log_space(log_keep, log_z + np.log(positive(candidate)), start)
    np.testing.assert_allclose(ys, want, rtol=1e-11)


@pytest.mark.parametrize("size", [-1e4, 1e4])
def test_extreme_gates(size):
    """A gate of 0 or 1 keeps or replaces the state, and no gradient is NaN."""
    cell = rj.MinGRU(4)
    params = cell.init(jax.random.key(0), 3)
    params = params._replace(bias=params.bias.at[:4].set(size))
    xs = jax.random.normal(jax.random.key(1), (9, 3))
    start = cell.Carry(jnp.full(4, -7.0))

    def last(params, xs):
        return rj.unroll(cell, params, xs, carry=start)[0].h

    want = start.h
    if size > 0:
        a = xs[-1] @ params.kernel[:, 4:]
        want = jnp.where(a >= 0, a + 0.5, jax.nn.sigmoid(a))
    np.testing.assert_allclose(last(params, xs), want, rtol=1e-5)
    grads = jax.jacrev(last, (0, 1))(params, xs)
    assert all(bool(jnp.all(jnp.isfinite(g))) for g in jax.tree.leaves(grads))


def test_a_mean_of_positive_numbers():
    cell = rj.MinGRU(4)
    params = cell.init(jax.random.key(0), 3)
    xs = jax.random.normal(jax.random.key(1), (200, 3))
    half = cell.Carry(jnp.full(4, 0.5))  # the start of the paper's parallel form
    ys = rj.unroll(cell, params, xs, carry=half)[1]
    a = np.asarray(xs @ params.kernel[:, 4:])
    assert 0 < float(ys.min()) and float(ys.max()) <= positive(a).max()


def test_parameters():
    D, H = 3, 5
    assert count(rj.MinGRU(H), D) == 2 * H * (D + 1)
    assert count(rj.MinGRU(H, use_bias=False), D) == 2 * H * D
