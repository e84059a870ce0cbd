# SPDX-License-Identifier: Apache-2.0
"""The leaky Elman network against its equation in NumPy."""

import dataclasses

import jax
import numpy as np
import pytest

import recurrent_jax as rj
from cells.common import compare, count


def leaky(p, state, x, leak=0.2):
    b = 0 if p.bias is None else p.bias
    new = np.tanh(x @ p.kernel + state.h @ p.recurrent_kernel + b)
    h = state.h + leak * (new - state.h)
    return (h,), h


def test_equations():
    compare(rj.LeakyElman(3), leaky)
    compare(
        rj.LeakyElman(3, leak=0.9, use_bias=False),
        lambda p, s, x: leaky(p, s, x, leak=0.9),
    )


@pytest.mark.parametrize("use_bias", [True, False])
def test_count(use_bias):
    D, H = 3, 5
    assert count(rj.LeakyElman(H, use_bias=use_bias), D) == H * (D + H + use_bias)


def test_a_leak_of_1_is_elman(x64):
    cell = rj.LeakyElman(3, leak=1.0)
    params = cell.init(jax.random.key(0), in_features=2)
    xs = jax.random.normal(jax.random.key(1), (6, 4, 2))
    _, got = rj.unroll(cell, params, xs)
    _, want = rj.unroll(rj.Elman(3), rj.Elman.Params(*params), xs)
    np.testing.assert_allclose(got, want, atol=1e-12)


@pytest.mark.parametrize("leak", [0, -0.1, 1.5, float("nan")])
@pytest.mark.parametrize("cell", [rj.LeakyElman(3), rj.CTRNN(3)])
def test_leaks_out_of_range(cell, leak):
    with pytest.raises(ValueError, match="leak must be above 0 and at most 1, got"):
        dataclasses.replace(cell, leak=leak)
