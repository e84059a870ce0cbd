# SPDX-License-Identifier: Apache-2.0
"""SRU against NumPy, with and without peepholes."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import recurrent_jax as rj
from cells.common import compare, count, sigmoid
from cells.linear import agree


def sru(params, carry, x, alpha=3**0.5, g=lambda c: c):
    """Lei et al., 2018, equations 1 to 4, with the scale of their section 3.2."""
    W, W_f, W_r, *W_x = np.split(params.kernel, params.kernel.shape[1] // 4, axis=1)
    v_f, v_r = np.zeros((2, 4)) if params.peephole is None else params.peephole
    b_f, b_r = params.bias[:4], params.bias[4:]
    f = sigmoid(W_f.T @ x + v_f * carry.c + b_f)
    r = sigmoid(W_r.T @ x + v_r * carry.c + b_r)
    c = f * carry.c + (1 - f) * (W.T @ x)
    highway = W_x[0].T @ x if W_x else alpha * x
    return (c,), r * g(c) + (1 - r) * highway


@pytest.mark.parametrize("peepholes", [False, True])
def test_equations(peepholes):
    compare(rj.SRU(4, peepholes=peepholes), sru)


@pytest.mark.slow
def test_as_many_inputs_as_units():
    cell = rj.SRU(4, highway_bias=-2.0, activation=jnp.tanh)
    alpha = np.sqrt(1 + 2 * np.exp(-2))
    compare(cell, lambda *step: sru(*step, alpha, np.tanh), in_features=4)


@pytest.mark.slow
def test_methods():
    agree(rj.SRU(3, activation=jnp.tanh))


def test_peepholes_are_not_linear():
    cell = rj.SRU(4, peepholes=True)
    params = jax.eval_shape(lambda: cell.init(jax.random.key(0), 3))
    xs = jax.ShapeDtypeStruct((5, 3), jnp.float32)
    assert rj.SRU(4).linear and not cell.linear
    for method in (rj.Associative(), rj.Chunked()):
        with pytest.raises(TypeError, match="its step is not linear in the carry"):
            run = functools.partial(rj.unroll, cell, method=method)
            jax.eval_shape(run, params, xs)


@pytest.mark.slow
def test_newton_of_peepholes():
    """The Jacobian of a step is diagonal, so that the diagonal converges as fast."""
    cell = rj.SRU(4, peepholes=True)
    params = cell.init(jax.random.key(0), 3)
    xs = jax.random.normal(jax.random.key(1), (50, 3))
    want = rj.unroll(cell, params, xs)[1]
    got = rj.unroll(cell, params, xs, method=rj.Newton("diagonal", otherwise="nan"))[1]
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("size", [-1e4, 1e4])
def test_extreme_gates(size):
    """A forget gate of 1 keeps the state, one of 0 takes x W; no gradient is NaN."""
    cell = rj.SRU(4)
    params = cell.init(jax.random.key(0), 3)
    params = params._replace(bias=params.bias.at[:4].set(size))
    xs = jax.random.normal(jax.random.key(1), (9, 3))
    start = cell.Carry(jnp.full(4, -7.0))

    def last(params, xs):
        return rj.unroll(cell, params, xs, carry=start)[0].c

    want = start.c if size > 0 else xs[-1] @ params.kernel[:, :4]
    np.testing.assert_allclose(last(params, xs), want, rtol=1e-5)
    grads = jax.jacrev(last, (0, 1))(params, xs)
    assert all(bool(jnp.all(jnp.isfinite(g))) for g in jax.tree.leaves(grads))


@pytest.mark.slow
@pytest.mark.parametrize("bias", [0.0, -2.0])
def test_variance_of_a_fresh_cell(bias):
    """The scale keeps the variance of the inputs, about: the paper's section 3.2."""
    cell = rj.SRU(400, highway_bias=bias)
    params = cell.init(jax.random.key(0), 400)
    assert float(jnp.var(params.kernel)) == pytest.approx(1 / 400, rel=0.02)
    xs = jax.random.normal(jax.random.key(1), (30, 400))
    ys = rj.unroll(cell, params, xs)[1]
    assert 0.7 < float(jnp.var(ys[5:])) < 1.4


@pytest.mark.slow
def test_variances_of_the_authors():
    """With peepholes: half for gates and peepholes; the highway has its scale."""
    cell = rj.SRU(300, peepholes=True)
    params = cell.init(jax.random.key(0), 200)
    blocks = np.split(np.asarray(params.kernel), 4, axis=1)
    for block, part in zip(blocks, (1, 0.5, 0.5, 3), strict=True):
        assert np.var(block) == pytest.approx(part / 200, rel=0.03)
    assert np.var(params.peephole) == pytest.approx(0.5, rel=0.15)
    assert rj.SRU(3).init(jax.random.key(0), 3).peephole is None


def test_parameters():
    D, H = 3, 5
    assert count(rj.SRU(H), D) == H * (4 * D + 2)
    assert count(rj.SRU(H, peepholes=True), D) == H * (4 * D + 4)
    assert count(rj.SRU(D), D) == D * (3 * D + 2)
