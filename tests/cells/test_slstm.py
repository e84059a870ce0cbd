# SPDX-License-Identifier: Apache-2.0
"""sLSTM against NumPy, with its stabiliser and without any."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import recurrent_jax as rj
from cells.common import compare, count, sigmoid
from recurrent_jax.testing import Trial


def product(h, kernel):
    """The block-diagonal product, head by head, gates side by side in the answer."""
    heads, size = kernel.shape[:2]
    parts = [
        np.split(h[n * size : (n + 1) * size] @ kernel[n], 4) for n in range(heads)
    ]
    return np.concatenate([np.concatenate(gate) for gate in zip(*parts, strict=True)])


def slstm(params, carry, x, log_forget=lambda f: np.log(sigmoid(f))):
    """Beck et al., 2024, equations of appendix A.2."""
    a = x @ params.kernel + product(carry.h, params.recurrent_kernel) + params.bias
    i, f, z, o = np.split(a, 4)
    m = np.maximum(log_forget(f) + carry.m, i)
    i = np.exp(i - m)
    f = np.exp(log_forget(f) + carry.m - m)
    c = f * carry.c + i * np.tanh(z)
    n = f * carry.n + i
    h = sigmoid(o) * c / n
    return (h, c, n, m), h


@pytest.mark.mostly_slow
@pytest.mark.parametrize("heads", [1, 2])
def test_equations(heads):
    compare(rj.SLSTM(4, heads=heads), slstm)


@pytest.mark.slow
def test_exponential_forget_gate():
    cell = rj.SLSTM(4, heads=2, log_forget_activation=jax.nn.identity)
    compare(cell, lambda *step: slstm(*step, log_forget=lambda f: f))


def test_the_stabiliser_cancels(x64):
    """From the start of a sequence: the paper's equations without any stabiliser."""
    trial = Trial(rj.SLSTM(4, heads=2), batch_shape=(), time=6)
    params = jax.tree.map(np.asarray, trial.params)
    h = c = n = np.zeros(4)
    want = []
    for x in np.asarray(trial.xs):
        a = x @ params.kernel + product(h, params.recurrent_kernel) + params.bias
        i, f, z, o = np.split(a, 4)
        c = sigmoid(f) * c + np.exp(i) * np.tanh(z)
        n = sigmoid(f) * n + np.exp(i)
        h = sigmoid(o) * c / n
        want.append(h)
    _, got = rj.unroll(trial.cell, trial.params, trial.xs)
    np.testing.assert_allclose(got, want, rtol=1e-12)


@pytest.mark.parametrize("size", [-1e3, 1e3])
def test_extreme_inputs(size):
    """exp(1000) is no float, and exp(-1000) is 0, in the input gate and its sum."""
    cell = rj.SLSTM(4)
    params = cell.init(jax.random.key(0), 3)
    gate = jnp.arange(16) < 4
    params = params._replace(bias=jnp.where(gate, size, params.bias))

    def total(params, xs):
        return jnp.sum(rj.unroll(cell, params, xs)[1])

    xs = jax.random.normal(jax.random.key(1), (5, 2, 3))
    grads = jax.grad(total, (0, 1))(params, xs)
    assert all(bool(jnp.all(jnp.isfinite(g))) for g in jax.tree.leaves(grads))
    carry, ys = rj.unroll(cell, params, xs)
    assert bool(jnp.all(jnp.abs(ys) < 1)) and bool(jnp.all(carry.n >= 1))


def test_parameters():
    D, H, N = 3, 8, 4
    assert count(rj.SLSTM(H), D) == 4 * H * (D + H // N + 1)
    assert count(rj.SLSTM(H, heads=1), D) == 4 * H * (D + H + 1)


def test_heads_divide_units():
    with pytest.raises(ValueError, match="heads must divide hidden_size=6, got 4"):
        rj.SLSTM(6)
