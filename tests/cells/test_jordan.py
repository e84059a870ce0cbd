# SPDX-License-Identifier: Apache-2.0
"""The Jordan network against its equations in NumPy."""

import jax
import numpy as np
import pytest

import recurrent_jax as rj
from cells.common import compare, count, sigmoid


def jordan(p, state, x, decay=0.0, phi=sigmoid, psi=sigmoid):
    b = 0 if p.bias is None else p.bias
    c = 0 if p.output_bias is None else p.output_bias
    h = phi(x @ p.kernel + state.s @ p.recurrent_kernel + b)
    y = psi(h @ p.output_kernel + c)
    return (decay * state.s + y,), y


def test_equations():
    compare(rj.Jordan(3), jordan)


def test_equations_with_a_trace_and_other_units():
    cell = rj.Jordan(
        4,
        output_size=2,
        decay=0.7,
        activation=jax.numpy.tanh,
        output_activation=jax.nn.identity,
        use_bias=False,
    )
    compare(
        cell, lambda p, s, x: jordan(p, s, x, decay=0.7, phi=np.tanh, psi=lambda a: a)
    )


@pytest.mark.parametrize("use_bias", [True, False])
def test_count(use_bias):
    D, H, Y = 3, 5, 2
    cell = rj.Jordan(H, output_size=Y, use_bias=use_bias)
    assert count(cell, D) == H * (D + 2 * Y + use_bias) + Y * use_bias


def test_output_size_must_be_positive():
    with pytest.raises(ValueError, match="Jordan: output_size must be at least 1"):
        rj.Jordan(4, output_size=0)
