# SPDX-License-Identifier: Apache-2.0
"""IndRNN against its equation in NumPy, and against a diagonal Elman network."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import recurrent_jax as rj
from cells.common import compare, count


def indrnn(p, state, x, phi=lambda a: np.maximum(0, a)):
    h = phi(x @ p.kernel + p.recurrent_scale * state.h + p.bias)
    return (h,), h


def test_equations():
    compare(rj.IndRNN(3), indrnn)
    compare(
        rj.IndRNN(3, activation=jnp.tanh), lambda p, s, x: indrnn(p, s, x, phi=np.tanh)
    )


@pytest.mark.parametrize("use_bias", [True, False])
def test_count(use_bias):
    D, H = 3, 5
    assert count(rj.IndRNN(H, use_bias=use_bias), D) == H * (D + 1 + use_bias)


def test_is_an_elman_network_with_a_diagonal_kernel(x64):
    params = rj.IndRNN(3).init(jax.random.key(0), in_features=2)
    dense = rj.Elman.Params(
        params.kernel, jnp.diag(params.recurrent_scale), params.bias
    )
    xs = jax.random.normal(jax.random.key(1), (6, 4, 2))
    _, got = rj.unroll(rj.IndRNN(3), params, xs)
    _, want = rj.unroll(rj.Elman(3, activation=jax.nn.relu), dense, xs)
    np.testing.assert_allclose(got, want, atol=1e-12)


def test_recurrent_scales_start_between_0_and_1():
    params = rj.IndRNN(1000).init(jax.random.key(0), in_features=1)
    scale = np.asarray(params.recurrent_scale)
    assert scale.min() >= 0 and scale.max() < 1
    assert scale.mean() == pytest.approx(0.5, abs=0.05)
