# SPDX-License-Identifier: Apache-2.0
"""minLSTM against NumPy, step by step and in log space."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import recurrent_jax as rj
from cells.common import compare, count, sigmoid
from cells.linear import agree
from cells.test_min_gru import in_log_space, positive


def split(params, x):
    a = x @ params.kernel + (0 if params.bias is None else params.bias)
    return np.split(a, 3, axis=-1)


def min_lstm(params, carry, x, g=positive):
    """Feng et al., 2024, section 3.2, with the gates normalised."""
    f, i, candidate = split(params, x)
    f, i = sigmoid(f), sigmoid(i)
    h = f / (f + i) * carry.h + i / (f + i) * g(candidate)
    return (h,), h


@pytest.mark.parametrize("use_bias", [True, False])
def test_equations(use_bias):
    compare(rj.MinLSTM(4, use_bias=use_bias), min_lstm)


def test_plain_candidate():
    cell = rj.MinLSTM(4, log_space=False)
    compare(cell, lambda *step: min_lstm(*step, g=lambda a: a))


@pytest.mark.slow
@pytest.mark.parametrize("log_space", [True, False])
def test_methods(log_space):
    agree(rj.MinLSTM(4, log_space=log_space))


@pytest.mark.parametrize("method", [rj.Sequential(), rj.Associative(), rj.Chunked()])
def test_the_log_space_form(method, x64):
    """From a positive state that is not the default, over many steps."""
    cell = rj.MinLSTM(4)
    params = cell.init(jax.random.key(0), 3)
    xs = 3 * jax.random.normal(jax.random.key(1), (300, 3))
    start = np.array([0.1, 0.5, 2.0, 30.0])
    carry = cell.Carry(jnp.asarray(start))
    ys = rj.unroll(cell, params, xs, carry=carry, method=method)[1]
    f, i, candidate = split(jax.tree.map(np.asarray, params), np.asarray(xs))
    less = np.logaddexp(0, -f) - np.logaddexp(0, -i)
    log_f, log_i = -np.logaddexp(0, less), -np.logaddexp(0, -less)
    want = in_log_space(log_f, log_i + np.log(positive(candidate)), start)
    np.testing.assert_allclose(ys, want, rtol=1e-11)


@pytest.mark.parametrize(("f", "i"), [(-1e3, -1e3), (1e3, 1e3), (-1e3, 1e3)])
def test_extreme_gates(f, i):
    """exp(-1000) is 0 in a float, and 0 / (0 + 0) is NaN, but a half is right."""
    cell = rj.MinLSTM(1)
    params = jax.tree.map(jnp.zeros_like, cell.init(jax.random.key(0), 1))
    params = params._replace(bias=jnp.array([f, i, 2.0]))
    start = cell.Carry(jnp.ones(1))

    def last(params):
        return rj.unroll(cell, params, jnp.ones((1, 1)), carry=start)[0].h[0]

    h, grads = jax.value_and_grad(last)(params)
    assert float(h) == (0.5 + 0.5 * 2.5 if f == i else 2.5)
    assert all(bool(jnp.all(jnp.isfinite(g))) for g in jax.tree.leaves(grads))


def test_parameters():
    D, H = 3, 5
    assert count(rj.MinLSTM(H), D) == 3 * H * (D + 1)
    assert count(rj.MinLSTM(H, use_bias=False), D) == 3 * H * D
    bias = rj.MinLSTM(H).init(jax.random.key(0), D).bias
    assert jnp.array_equal(bias, jnp.repeat(jnp.array([1.0, 0.0, 0.0]), H))
