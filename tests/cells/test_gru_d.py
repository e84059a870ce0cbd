# SPDX-License-Identifier: Apache-2.0
"""GRUD: Che et al., 2018, and the series that ForwardFill prepares for it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import filled, observed

import recurrent_jax as rj
from cells.common import compare, count, sigmoid

D, H = 3, 2


def gru_d(p, carry, inputs, mean=0.0):
    """Equations of the paper; its z is 1 - z here."""
    x, m, delta = inputs
    gamma_x = np.exp(-np.maximum(0, p.input_decay * delta + p.input_decay_bias))
    gamma_h = np.exp(-np.maximum(0, p.decay.T @ delta + p.decay_bias))
    x_hat = m * x + (1 - m) * (gamma_x * x + (1 - gamma_x) * mean)
    h_hat = gamma_h * carry.h
    W, U, V = p.kernel, p.recurrent_kernel, p.mask_kernel
    fed = W.T @ x_hat + V.T @ m + p.bias
    r = sigmoid(fed[:H] + U[:, :H].T @ h_hat)
    z = 1 - sigmoid(fed[H : 2 * H] + U[:, H : 2 * H].T @ h_hat)
    n = np.tanh(fed[2 * H :] + U[:, 2 * H :].T @ (r * h_hat))
    h = (1 - z) * h_hat + z * n
    return (h,), h


def test_equations():
    compare(rj.GRUD(H), gru_d, inputs=filled)


def test_a_mean_that_is_not_zero_is_a_shift_of_the_data(x64):
    """The paper's decay to the mean is a decay to 0 of what has the mean subtracted."""
    x, m, delta = filled(jax.random.key(0), (), "float64")
    cell, mean = rj.GRUD(H), np.array([1.0, -2.0, 0.5])
    params = cell.init(jax.random.key(1), D)
    carry = rj.GRUD.Carry(jnp.linspace(-1.0, 1.0, H))
    _, got = cell.step(params, carry, rj.cells.Filled(x - mean, m, delta))
    params = params._replace(bias=params.bias - mean @ params.kernel)
    args = jax.tree.map(np.asarray, (params, carry, (x, m, delta)))
    _, want = gru_d(*args, mean=mean)
    np.testing.assert_allclose(got, want, 1e-12, 1e-12)


def test_forward_fill(x64):
    raw = observed(jax.random.key(0), (6, 2), "float64")
    start = rj.ForwardFill.Carry(jnp.ones((2, D)), jnp.full((2, D), 3.0))
    final, got = rj.unroll(rj.ForwardFill(D), (), raw, carry=start)
    last, age = (np.array(part) for part in start)
    for t in range(6):
        x, m, elapsed = (np.asarray(part[t]) for part in raw)
        age += elapsed[:, None]
        last[m] = x[m]
        want = last, m, age
        for part, exact in zip(got, want, strict=True):
            np.testing.assert_array_equal(part[t], exact)
        age[m] = 0
    np.testing.assert_array_equal(final, (last, age))


def test_time_since_the_last_observation_is_that_of_the_paper():
    """Its rule counts from the mask one step before, and from no time at first."""
    times = np.array([0, 0.6, 1.6, 2.2, 2.5, 3.1, 3.9])
    mask = np.array([[0, 1, 0, 0, 0, 1, 0], [1, 0, 0, 1, 0, 0, 1]], bool).T
    want = np.zeros((7, 2))
    for t in range(1, 7):
        gap = times[t] - times[t - 1]
        want[t] = gap + np.where(mask[t - 1], 0, want[t - 1])
    xs = jnp.where(mask, 1.0, jnp.nan)
    raw = rj.cells.Observed(xs, mask, np.diff(times, prepend=0).astype("float32"))
    _, got = rj.unroll(rj.ForwardFill(2), (), raw)
    np.testing.assert_allclose(got.elapsed, want, 1e-5)
    np.testing.assert_array_equal(got.x[:, 0], [0, 1, 1, 1, 1, 1, 1])


@pytest.mark.nans
def test_missing_numbers_may_be_nan(x64):
    raw = observed(jax.random.key(0), (5, 2), "float64")
    cell = rj.GRUD(H)
    params = cell.init(jax.random.key(1), D)

    def score(params, x):
        _, fill = rj.unroll(rj.ForwardFill(D), (), raw._replace(x=x))
        return rj.unroll(cell, params, fill)[1].sum()

    run = jax.jit(jax.value_and_grad(score, (0, 1)))
    want = run(params, raw.x)
    got = run(params, jnp.where(raw.mask, raw.x, jnp.nan))
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        np.testing.assert_array_equal(a, b)


def test_every_variable_decays_at_first():
    params = rj.GRUD(H).init(jax.random.key(0), D)
    assert jnp.all(params.input_decay > 0)
    assert jnp.all(params.decay > 0)


@pytest.mark.parametrize("use_bias", [True, False])
def test_number_of_parameters(use_bias):
    gates, decays = 3 * H * (2 * D + H) + use_bias * 3 * H, 2 * D + D * H + H
    assert count(rj.GRUD(H, use_bias=use_bias), D) == gates + decays
    assert count(rj.ForwardFill(D), D) == 0
