# SPDX-License-Identifier: Apache-2.0
"""The layer-normalised LSTM against NumPy and PyTorch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import recurrent_jax as rj
from cells.common import compare, count, sigmoid
from recurrent_jax.cells._norm import layer_norm


def norm(a, groups=1):
    """Mean 0 and deviation 1 of each group, up to epsilon."""
    parts = np.split(a, groups)
    return np.concatenate([(p - p.mean()) / np.sqrt(p.var() + 1e-5) for p in parts])


@pytest.mark.mostly_slow
@pytest.mark.parametrize("gates_apart", [False, True])
def test_equations(gates_apart):
    groups = 4 if gates_apart else 1

    def layer_norm_lstm(params, carry, x):
        """Ba, Kiros and Hinton, 2016, one shift for the three that only add up."""
        W, U, b, g_x, g_h, g_c, b_c = params
        a = g_x * norm(x @ W, groups) + g_h * norm(carry.h @ U, groups) + b
        i, f, g, o = np.split(a, 4)
        c = sigmoid(f) * carry.c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(g_c * norm(c) + b_c)
        return (h, c), h

    # Steep where three numbers lie close together, so differences are less exact.
    cell = rj.LayerNormLSTM(3, gates_apart=gates_apart)
    compare(cell, layer_norm_lstm, grad_tol=1e-6)


def test_norm_is_that_of_torch(dtype):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    rng = np.random.default_rng(0)
    x, scale, bias = (
        rng.standard_normal(s).astype(dtype) for s in ((2, 5, 8), (8,), (8,))
    )
    x += 1000  # where the mean of squares less the square of the mean has no digits
    want = torch.nn.functional.layer_norm(
        *(
            torch.tensor(a) if n != 1 else a
            for n, a in enumerate((x, (8,), scale, bias))
        )
    )
    got = layer_norm(jnp.asarray(x), jnp.asarray(scale), jnp.asarray(bias))
    tolerance = {"float32": 2e-4, "float64": 1e-10}[dtype]
    np.testing.assert_allclose(got, want, tolerance, tolerance)


def test_scale_of_weights_does_not_matter(x64):
    """What normalisation is for: W and U times any number change nothing."""
    cell = rj.LayerNormLSTM(6, epsilon=1e-14)
    params = cell.init(jax.random.key(0), 3)
    large = params._replace(
        kernel=9 * params.kernel, recurrent_kernel=5 * params.recurrent_kernel
    )
    xs, h = (
        jax.random.normal(jax.random.key(n), s)
        for n, s in enumerate(((4, 2, 3), (2, 6)))
    )
    carry = rj.LayerNormLSTM.Carry(h, h)
    want = rj.unroll(cell, params, xs, carry=carry)
    got = rj.unroll(cell, large, xs, carry=carry)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9)


def test_parameters():
    D, H = 3, 5
    assert count(rj.LayerNormLSTM(H), D) == 4 * H * (D + H + 1) + 8 * H + 2 * H
    assert count(rj.LayerNormLSTM(H, use_bias=False), D) == 4 * H * (D + H) + 9 * H
