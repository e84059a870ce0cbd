# SPDX-License-Identifier: Apache-2.0
"""The coRNN against its equations in NumPy."""

import jax.numpy as jnp
import numpy as np
import pytest

import recurrent_jax as rj
from cells.common import compare, count


def cornn(p, state, x, dt=0.042, gamma=2.7, epsilon=4.7):
    y, z = state.h, state.v
    b = 0 if p.bias is None else p.bias
    force = np.tanh(y @ p.recurrent_kernel + z @ p.velocity_kernel + x @ p.kernel + b)
    z = z + dt * (force - gamma * y - epsilon * z)
    y = y + dt * z
    return (y, z), y


def test_equations():
    compare(rj.CoRNN(3), cornn)
    compare(
        rj.CoRNN(3, step_size=0.5, stiffness=1.0, damping=0.3, use_bias=False),
        lambda p, s, x: cornn(p, s, x, dt=0.5, gamma=1.0, epsilon=0.3),
    )


@pytest.mark.parametrize("use_bias", [True, False])
def test_count(use_bias):
    D, H = 3, 5
    assert count(rj.CoRNN(H, use_bias=use_bias), D) == H * (D + 2 * H + use_bias)


def test_an_undriven_oscillator_swings_at_its_frequency(x64):
    stiffness, dt = 4.0, 1e-3
    cell = rj.CoRNN(1, step_size=dt, stiffness=stiffness, damping=0.0)
    none = jnp.zeros((1, 1))
    params = rj.CoRNN.Params(none, none, none, None)
    start = rj.CoRNN.Carry(h=jnp.ones(1), v=jnp.zeros(1))
    _, ys = rj.unroll(cell, params, jnp.zeros((4000, 1)), carry=start)
    time = dt * np.arange(1, 4001)
    np.testing.assert_allclose(ys[:, 0], np.cos(np.sqrt(stiffness) * time), atol=5e-3)


def test_step_size_must_be_positive():
    with pytest.raises(ValueError, match="CoRNN: step_size must be above 0, got -1"):
        rj.CoRNN(3, step_size=-1)
