# SPDX-License-Identifier: Apache-2.0
"""LayerNormGRU: the supplementary equations of Ba et al., 2016."""

import numpy as np
import pytest

import recurrent_jax as rj
from cells.common import compare, count, sigmoid

H = 3


def normalised(a, scale):
    return scale * (a - a.mean()) / np.sqrt(a.var() + 1e-5)


def together(a, scale):
    """Normalise the two gates over 2H numbers and the candidate over H."""
    return np.concatenate(
        [normalised(a[: 2 * H], scale[: 2 * H]), normalised(a[2 * H :], scale[2 * H :])]
    )


def apart(a, scale):
    """Normalise each gate over its H numbers."""
    return np.concatenate(
        [normalised(a[k : k + H], scale[k : k + H]) for k in (0, H, 2 * H)]
    )


@pytest.mark.mostly_slow
@pytest.mark.parametrize("norm", [together, apart])
def test_equations(norm):
    def layer_norm_gru(p, carry, x):
        h = carry.h
        a_r, a_z, a_n = np.split(norm(p.kernel.T @ x, p.input_scale) + p.bias, 3)
        u_r, u_z, u_n = np.split(norm(p.recurrent_kernel.T @ h, p.recurrent_scale), 3)
        r, z = sigmoid(a_r + u_r), sigmoid(a_z + u_z)
        n = np.tanh(a_n + r * (u_n + p.recurrent_bias))
        h = z * h + (1 - z) * n
        return (h,), h

    compare(rj.LayerNormGRU(H, gates_apart=norm is apart), layer_norm_gru)


def test_number_of_parameters():
    products, scales = 3 * H * (3 + H), 2 * 3 * H
    assert count(rj.LayerNormGRU(H), 3) == products + scales + 4 * H
    assert count(rj.LayerNormGRU(H, use_bias=False), 3) == products + scales
