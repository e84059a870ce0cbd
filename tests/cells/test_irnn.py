# SPDX-License-Identifier: Apache-2.0
"""IRNN against its equation in NumPy, and against PyTorch's ReLU network."""

import jax
import numpy as np
import pytest

import recurrent_jax as rj
from cells.common import compare, count


def irnn(p, state, x):
    h = np.maximum(0, x @ p.kernel + state.h @ p.recurrent_kernel + p.bias)
    return (h,), h


def test_equations():
    compare(rj.IRNN(3), irnn)


@pytest.mark.parametrize("use_bias", [True, False])
def test_count(use_bias):
    D, H = 3, 5
    assert count(rj.IRNN(H, use_bias=use_bias), D) == H * (D + H + use_bias)


def test_starts_from_the_identity_and_small_inputs():
    params = rj.IRNN(200).init(jax.random.key(0), in_features=100)
    np.testing.assert_array_equal(params.recurrent_kernel, np.eye(200))
    assert np.std(params.kernel) == pytest.approx(0.001, rel=0.03)
    assert not np.any(params.bias)


def test_a_state_is_kept_for_a_thousand_steps():
    cell = rj.IRNN(4)
    params = cell.init(jax.random.key(0), in_features=2)
    start = cell.initial_carry()._replace(h=np.arange(4, dtype="float32"))
    final, _ = rj.unroll(cell, params, np.zeros((1000, 2), "float32"), carry=start)
    np.testing.assert_array_equal(final.h, start.h)


def test_params_and_carry_are_those_of_elman():
    relu = rj.Elman(3, activation=jax.nn.relu)
    params = rj.IRNN(3).init(jax.random.key(0), in_features=2)
    xs = jax.random.normal(jax.random.key(1), (4, 2))
    loop = rj.Sequential()  # bit for bit
    for got, want in zip(
        jax.tree.leaves(rj.unroll(rj.IRNN(3), params, xs, method=loop)),
        jax.tree.leaves(rj.unroll(relu, params, xs, method=loop)),
        strict=True,
    ):
        np.testing.assert_array_equal(got, want)
