# SPDX-License-Identifier: Apache-2.0
"""LTC: the fused solver, algorithm 1 of Hasani et al., 2021."""

import jax
import jax.numpy as jnp
import numpy as np
from cases import timed

import recurrent_jax as rj
from cells.common import compare, count, sigmoid

H = 3


def speed(p):
    """1 / tau, the softplus of what is stored."""
    return np.log1p(np.exp(p.rate_logit))


def ltc(p, carry, inputs, parts=3):
    (v,), (x, elapsed) = carry, inputs
    dt, tau = elapsed / parts, 1 / speed(p)
    for _ in range(parts):
        f = sigmoid(p.recurrent_kernel.T @ v + p.kernel.T @ x + p.bias)
        v = (v + dt * f * p.reversal) / (1 + dt * (1 / tau + f))
    return (v,), v


def test_equations():
    compare(rj.LTC(H, unfolds=3), ltc, inputs=timed)


def test_it_solves_its_equation(x64):
    """Many parts come, in first order, to what Runge and Kutta's rule comes to."""
    key = jax.random.key(0)
    params = rj.LTC(H).init(key, 3)
    x, h = jax.random.normal(key, (3,)), jnp.linspace(-1.0, 1.0, H)
    p = jax.tree.map(np.asarray, params)

    def slope(v):
        f = sigmoid(p.recurrent_kernel.T @ v + p.kernel.T @ np.asarray(x) + p.bias)
        return -(speed(p) + f) * v + f * p.reversal

    v, dt = np.asarray(h), 2.0 / 200
    for _ in range(200):
        k1 = slope(v)
        k2 = slope(v + dt / 2 * k1)
        k3 = slope(v + dt / 2 * k2)
        v = v + dt / 6 * (k1 + 2 * k2 + 2 * k3 + slope(v + dt * k3))

    def error(parts):
        timed = rj.cells.Timed(x, jnp.array(2.0))
        _, y = rj.LTC(H, unfolds=parts).step(params, rj.LTC.Carry(h), timed)
        return np.max(np.abs(y - v))

    assert error(64) < 0.02
    np.testing.assert_allclose(error(32) / error(64), 2, rtol=0.05)


def test_states_stay_bounded_however_long_the_step(x64):
    cell = rj.LTC(H)
    params = cell.init(jax.random.key(0), 3)
    x = jax.random.normal(jax.random.key(1), (6, 2, 3))
    for elapsed in (0.0, 1e-3, 1.0, 1e6):
        _, ys = rj.unroll(cell, params, rj.cells.Timed(x, jnp.full((6, 2), elapsed)))
        assert jnp.all(jnp.abs(ys) <= 1)  # |A| is 1


def test_number_of_parameters():
    assert count(rj.LTC(H), 3) == H * (3 + H) + 3 * H
    assert count(rj.LTC(H, use_bias=False), 3) == H * (3 + H) + 2 * H
