# SPDX-License-Identifier: Apache-2.0
"""LightGRU: Ravanelli et al., 2018, with layer norm, and with batch norm folded in."""

import jax.numpy as jnp
import numpy as np
import pytest
from parity.common import Draw

import recurrent_jax as rj
from cells.common import compare, count, sigmoid

H = 3


def normalised(a):
    return (a - a.mean()) / np.sqrt(a.var() + 1e-5)


def light_gru(p, carry, x, norm=normalised):
    h = carry.h
    W_z, W_n = np.split(p.kernel, 2, axis=-1)
    U_z, U_n = np.split(p.recurrent_kernel, 2, axis=-1)
    b_z, b_n = np.split(p.bias, 2)
    s_z, s_n = (1, 1) if p.input_scale is None else np.split(p.input_scale, 2)
    z = sigmoid(s_z * norm(W_z.T @ x) + U_z.T @ h + b_z)
    n = np.maximum(0, s_n * norm(W_n.T @ x) + U_n.T @ h + b_n)
    h = z * h + (1 - z) * n
    return (h,), h


def test_equations():
    compare(rj.LightGRU(H), light_gru)


def test_equations_without_normalisation():
    def plain(p, carry, x):
        return light_gru(p, carry, x, norm=lambda a: a)

    compare(rj.LightGRU(H, normalise=False), plain)


def test_trained_batch_normalisation_folds_into_kernel_and_bias(x64):
    draw = Draw("float64")
    W, U, x, h = draw(3, 2 * H), draw(H, 2 * H), draw(5, 3), draw(5, H)
    scale, shift, mean, variance = (draw(2 * H) for _ in range(4))
    deviation = np.sqrt(variance**2 + 1e-5)

    z, n = np.split(scale * (x @ W - mean) / deviation + shift + h @ U, 2, axis=-1)
    z = sigmoid(z)
    want = z * h + (1 - z) * np.maximum(0, n)

    params = rj.LightGRU.Params(
        W * scale / deviation, U, shift - scale * mean / deviation, None
    )
    cell = rj.LightGRU(H, normalise=False)
    _, got = cell.step(params, rj.LightGRU.Carry(jnp.asarray(h)), x)
    np.testing.assert_allclose(got, want, 1e-12, 1e-12)


@pytest.mark.parametrize("use_bias", [True, False])
@pytest.mark.parametrize("normalise", [True, False])
def test_number_of_parameters(use_bias, normalise):
    cell = rj.LightGRU(H, use_bias=use_bias, normalise=normalise)
    assert count(cell, 3) == 2 * H * (3 + H) + (use_bias + normalise) * 2 * H
