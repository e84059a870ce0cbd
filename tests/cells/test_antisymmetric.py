# SPDX-License-Identifier: Apache-2.0
"""The antisymmetric network against its equations in NumPy."""

import jax
import numpy as np
import pytest

import recurrent_jax as rj
from cells.common import compare, count, sigmoid


def antisymmetric(p, state, x, gated=False, step=0.01, diffusion=0.01):
    H = state.h.size
    U, b = p.recurrent_kernel, np.zeros(2 * H) if p.bias is None else p.bias
    u = np.zeros(H)
    for j in range(H):
        for i in range(H):
            u[j] += state.h[i] * (U[i, j] - U[j, i] - diffusion * (i == j))
    change = np.tanh(x @ p.kernel[:, :H] + u + b[:H])
    gate = sigmoid(x @ p.kernel[:, H:] + u + b[H:]) if gated else 1
    h = state.h + step * gate * change
    return (h,), h


def test_equations():
    compare(rj.AntisymmetricRNN(3), antisymmetric)


@pytest.mark.parametrize("use_bias", [True, False])
def test_equations_with_a_gate(use_bias):
    cell = rj.AntisymmetricRNN(
        3, gated=True, step_size=0.6, diffusion=0.2, use_bias=use_bias
    )
    compare(
        cell,
        lambda p, s, x: antisymmetric(p, s, x, gated=True, step=0.6, diffusion=0.2),
    )


@pytest.mark.parametrize("gated", [True, False])
@pytest.mark.parametrize("use_bias", [True, False])
def test_count(gated, use_bias):
    D, H, gates = 3, 5, 1 + gated
    cell = rj.AntisymmetricRNN(H, gated=gated, use_bias=use_bias)
    assert count(cell, D) == H * (gates * (D + use_bias) + H)


def test_without_diffusion_the_system_is_neither_stable_nor_unstable(x64):
    cell = rj.AntisymmetricRNN(6, diffusion=0.0)
    params = cell.init(jax.random.key(0), in_features=2)
    eigenvalues = np.linalg.eigvals(cell.prepare(params).antisymmetric_kernel)
    np.testing.assert_allclose(eigenvalues.real, 0, atol=1e-12)
    damped = rj.AntisymmetricRNN(6, diffusion=0.3).prepare(params)
    np.testing.assert_allclose(
        np.linalg.eigvals(damped.antisymmetric_kernel).real, -0.3, atol=1e-12
    )


def test_step_size_must_be_positive():
    with pytest.raises(ValueError, match="step_size must be above 0, got 0"):
        rj.AntisymmetricRNN(3, step_size=0)
