# SPDX-License-Identifier: Apache-2.0
"""The residual Elman network against NumPy and Flax."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import recurrent_jax as rj
from cells.common import compare, count


def residual(p, state, x, phi=lambda a: np.maximum(0, a)):
    b = 0 if p.bias is None else p.bias
    h = phi(x @ p.kernel + state.h @ p.recurrent_kernel + state.h + b)
    return (h,), h


def test_equations():
    compare(rj.ResidualElman(3), residual)
    compare(
        rj.ResidualElman(3, activation=jnp.tanh, use_bias=False),
        lambda p, s, x: residual(p, s, x, phi=np.tanh),
    )


def test_flax(x64):
    linen = pytest.importorskip("flax.linen")
    cell = rj.ResidualElman(3, activation=jnp.tanh)
    params = cell.init(jax.random.key(0), in_features=2)
    xs = jax.random.normal(jax.random.key(1), (5, 4, 2))
    peer = linen.SimpleCell(3, residual=True)

    def ours(params, xs):
        return rj.unroll(cell, params, xs)[1]

    def flax(params, xs):
        weights = {
            "i": {"kernel": params.kernel, "bias": params.bias},
            "h": {"kernel": params.recurrent_kernel},
        }
        h, ys = jnp.zeros((4, 3)), []
        for x in xs:
            h, y = peer.apply({"params": weights}, h, x)
            ys.append(y)
        return jnp.stack(ys)

    def pulled(run, params, xs):
        values, pull = jax.vjp(run, params, xs)
        return (values, *pull(jnp.cos(values)))

    got, want = (
        jax.jit(pulled, static_argnums=0)(run, params, xs) for run in (ours, flax)
    )
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-12), got, want)


@pytest.mark.parametrize("use_bias", [True, False])
def test_count(use_bias):
    D, H = 3, 5
    assert count(rj.ResidualElman(H, use_bias=use_bias), D) == H * (D + H + use_bias)
