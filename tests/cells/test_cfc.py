# SPDX-License-Identifier: Apache-2.0
"""CfC: Hasani et al., 2022."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import timed

import recurrent_jax as rj
from cells.common import compare, count, sigmoid

H, B = 3, 4


def backbone(p, h, x):
    def act(a):
        return 1.7159 * np.tanh(2 / 3 * a)

    b = act(p.kernel.T @ x + p.recurrent_kernel.T @ h + p.bias)
    for kernel, bias in p.layers:
        b = act(kernel.T @ b + bias)
    return np.split(p.head_kernel.T @ b + p.head_bias, 4)


def cfc(p, carry, inputs):
    """The closed form with its two gates, which add up to one."""
    (h,), (x, elapsed) = carry, inputs
    g, k, a, d = backbone(p, h, x)
    f = a * elapsed + d
    h = sigmoid(-f) * np.tanh(g) + sigmoid(f) * np.tanh(k)
    return (h,), h


def cfc_no_gate(p, carry, inputs):
    (h,), (x, elapsed) = carry, inputs
    g, k, a, d = backbone(p, h, x)
    h = np.tanh(g) + sigmoid(a * elapsed + d) * np.tanh(k)
    return (h,), h


@pytest.mark.mostly_slow
@pytest.mark.parametrize("layers", [1, 3])
def test_equations(layers):
    cell = rj.CfC(H, backbone_size=B, backbone_layers=layers)
    compare(cell, cfc, inputs=timed)


def test_equations_without_gate():
    compare(rj.CfC(H, backbone_size=B, gate=False), cfc_no_gate, inputs=timed)


def test_time_opens_the_gate(x64):
    """Long before, the first state; long after, the other; half of each between."""
    cell = rj.CfC(H, backbone_size=B)
    params = cell.init(jax.random.key(0), 2)
    only_bias = jax.tree.map(jnp.zeros_like, params)._replace(
        head_bias=jnp.repeat(jnp.array([-1.0, 2.0, 1.0, 0.0]), H)
    )
    x = rj.cells.Timed(jnp.ones((3, 2)), jnp.array([-1e3, 0.0, 1e3]))
    _, y = cell.step(only_bias, cell.initial_carry((3,)), x)
    first, last = np.tanh(-1.0), np.tanh(2.0)
    np.testing.assert_allclose(y[:, 0], [first, (first + last) / 2, last], 1e-12)


@pytest.mark.parametrize("layers", [1, 3])
def test_number_of_parameters(layers):
    cell = rj.CfC(H, backbone_size=B, backbone_layers=layers)
    deeper = (layers - 1) * (B * B + B)
    assert count(cell, 3) == (3 + H) * B + B + deeper + 4 * (B * H + H)
