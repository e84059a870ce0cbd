# SPDX-License-Identifier: Apache-2.0
"""DiagonalLSTM against its equations in NumPy, and a CIFG of diagonal kernels."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import recurrent_jax as rj
from cells.common import compare, count, sigmoid

GLOROT = rj.initializers.glorot_uniform


def diagonal_lstm(p, state, x):
    (W_f, W_g, W_o), (u_f, u_g, u_o), (b_f, b_g, b_o) = (
        np.split(a, 3, axis=-1) for a in (p.kernel, p.recurrent_scale, p.bias)
    )
    (p_f, p_o), h, c = p.peephole, state.h, state.c
    f = sigmoid(x @ W_f + u_f * h + p_f * c + b_f)
    g = np.tanh(x @ W_g + u_g * h + b_g)
    c = f * c + (1 - f) * g
    o = sigmoid(x @ W_o + u_o * h + p_o * c + b_o)
    h = o * np.tanh(c)
    return (h, c), h


def test_equations():
    compare(rj.DiagonalLSTM(3, peephole_init=GLOROT), diagonal_lstm)


@pytest.mark.parametrize("use_bias", [True, False])
def test_count(use_bias):
    D, H = 3, 5
    cell = rj.DiagonalLSTM(H, use_bias=use_bias)
    assert count(cell, D) == 3 * H * (D + 1 + use_bias) + 2 * H


def test_the_forget_bias_is_that_of_the_forget_gate():
    params = rj.DiagonalLSTM(2, forget_bias=3.0).init(jax.random.key(0), 1)
    np.testing.assert_array_equal(params.bias, [3, 3, 0, 0, 0, 0])


def test_is_a_cifg_with_diagonal_kernels(x64):
    """Values and gradients; the input gate is one minus the forget gate."""
    cell = rj.DiagonalLSTM(3, peephole_init=GLOROT)
    params = cell.init(jax.random.key(0), in_features=2)
    xs = jax.random.normal(jax.random.key(1), (6, 4, 2))
    dense = rj.CIFG(3, peepholes=True)

    def turned(params):
        """Return the parameters of the dense cell, with gates i, g, o."""
        sign = jnp.repeat(jnp.array([-1.0, 1.0, 1.0]), 3)
        scales = jnp.split(params.recurrent_scale * sign, 3)
        return rj.CIFG.Params(
            params.kernel * sign[None],
            jnp.concatenate([jnp.diag(u) for u in scales], axis=1),
            params.bias * sign,
            params.peephole * jnp.array([[-1.0], [1.0]]),
        )

    ways = {
        "got": lambda p: rj.unroll(cell, p, xs)[1],
        "want": lambda p: rj.unroll(dense, turned(p), xs)[1],
    }
    found = [
        jax.jit(jax.value_and_grad(lambda p, f=f: jnp.square(f(p)).sum()))(params)
        for f in ways.values()
    ]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-12), *found)


@pytest.mark.slow
def test_newton_and_rtrl_take_the_units_apart(x64):
    """Blocks of two numbers, found from the cell; both answers are exact."""
    cell = rj.DiagonalLSTM(3, peephole_init=GLOROT)
    params = cell.init(jax.random.key(0), in_features=2)
    xs = jax.random.normal(jax.random.key(1), (9, 2))
    learner = rj.online.RTRL(cell)
    state = learner.init(params, xs[0])
    assert state.memory.kernel.shape == (2, *params.kernel.shape)

    def body(state, x):
        state, y = learner.step(params, state, x)
        return state, learner.gradient(state, jnp.ones_like(y))

    _, slopes = jax.lax.scan(body, state, xs)

    def loss(params, method):
        return rj.unroll(cell, params, xs, method=method)[1].sum()

    both = jax.jit(jax.value_and_grad(loss), static_argnums=1)
    loop, newton = both(params, rj.Sequential()), both(params, rj.Newton())
    close = lambda a, b: np.testing.assert_allclose(a, b, atol=1e-10)  # noqa: E731
    jax.tree.map(close, newton, loop)
    jax.tree.map(lambda a, b: close(a.sum(0), b), slopes, loop[1])
