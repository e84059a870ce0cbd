# SPDX-License-Identifier: Apache-2.0
"""The continuous-time network against its equations in NumPy."""

import jax.numpy as jnp
import numpy as np
import pytest

import recurrent_jax as rj
from cells.common import compare, count


def ctrnn(p, state, x, leak=0.2, phi=lambda a: np.maximum(0, a)):
    b = 0 if p.bias is None else p.bias
    drive = x @ p.kernel + phi(state.v) @ p.recurrent_kernel + b
    v = state.v + leak * (drive - state.v)
    return (v,), phi(v)


def test_equations():
    compare(rj.CTRNN(3), ctrnn)
    compare(
        rj.CTRNN(3, leak=0.7, activation=jnp.tanh, use_bias=False),
        lambda p, s, x: ctrnn(p, s, x, leak=0.7, phi=np.tanh),
    )


@pytest.mark.parametrize("use_bias", [True, False])
def test_count(use_bias):
    D, H = 3, 5
    assert count(rj.CTRNN(H, use_bias=use_bias), D) == H * (D + H + use_bias)


def test_an_undriven_potential_decays_exponentially(x64):
    cell = rj.CTRNN(2, leak=0.01)
    params = rj.CTRNN.Params(jnp.zeros((1, 2)), jnp.zeros((2, 2)), None)
    start = rj.CTRNN.Carry(jnp.array([1.0, -3.0]))
    final, _ = rj.unroll(cell, params, jnp.zeros((200, 1)), carry=start)
    np.testing.assert_allclose(final.v, start.v * np.exp(-2.0), rtol=0.02)
