# SPDX-License-Identifier: Apache-2.0
"""Activations: their functions, and that they are values."""

import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import recurrent_jax as rj
from recurrent_jax.activations import (
    Affine,
    Clipped,
    Elu,
    HardSigmoid,
    LeakyRelu,
    ScaledTanh,
    ThresholdedRelu,
)

# As the table of ONNX's recurrent operators defines them, and their derivatives.
FUNCTIONS = {
    Affine(0.7, -0.3): (lambda x: 0.7 * x - 0.3, lambda x: 0.7),
    ScaledTanh(1.5, 0.4): (
        lambda x: 1.5 * np.tanh(0.4 * x),
        lambda x: 1.5 * 0.4 / np.cosh(0.4 * x) ** 2,
    ),
    HardSigmoid(0.3, 0.4): (
        lambda x: min(max(0.3 * x + 0.4, 0.0), 1.0),
        lambda x: 0.3 if 0 < 0.3 * x + 0.4 < 1 else 0.0,
    ),
    LeakyRelu(0.2): (
        lambda x: x if x >= 0 else 0.2 * x,
        lambda x: 1.0 if x >= 0 else 0.2,
    ),
    ThresholdedRelu(0.8): (
        lambda x: x if x >= 0.8 else 0.0,
        lambda x: float(x >= 0.8),
    ),
    Elu(1.3): (
        lambda x: x if x >= 0 else 1.3 * (np.exp(x) - 1),
        lambda x: 1.0 if x >= 0 else 1.3 * np.exp(x),
    ),
    Clipped(jnp.tanh, 1.5): (
        lambda x: np.tanh(min(max(x, -1.5), 1.5)),
        lambda x: 1 / np.cosh(x) ** 2 if abs(x) < 1.5 else 0.0,
    ),
}
each = pytest.mark.parametrize("activation", FUNCTIONS, ids=repr)

# On both sides of every kink and on none; the last two are where exp overflows.
POINTS = [-3.1, -1.6, -0.7, -0.1, 0.1, 0.7, 0.9, 1.6, 3.1, -800.0, 800.0]


@each
def test_function(activation, x64):
    value, slope = FUNCTIONS[activation]
    xs = jnp.array(POINTS)
    with np.errstate(over="ignore"):  # cosh(800)
        want, slopes = [value(x) for x in POINTS], [slope(x) for x in POINTS]
    np.testing.assert_allclose(activation(xs), want, rtol=1e-12, atol=1e-12)
    got = jax.vmap(jax.grad(activation))(xs)
    np.testing.assert_allclose(got, slopes, rtol=1e-12, atol=1e-12)


@each
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_keeps_dtype(activation, dtype):
    assert activation(jnp.ones(3, dtype)).dtype == dtype


@each
def test_is_a_value(activation):
    """It prints as code that builds it, pickles and hashes, alone and in a cell."""
    code = repr(activation)
    scope = {"recurrent_jax": rj, "jax": jax}
    assert eval(code, scope) == activation
    cell = rj.Elman(4, activation=activation)
    assert repr(cell) == f"Elman(hidden_size=4, activation={code})"
    for value in (activation, cell):
        twin = pickle.loads(pickle.dumps(value))
        assert twin == value and hash(twin) == hash(value)


def test_equal_values_are_compiled_once():
    traces = []

    def count(cell, params, xs):
        traces.append(cell)
        return rj.unroll(cell, params, xs)

    counted = jax.jit(count, static_argnums=0)
    params = rj.Elman(4).init(jax.random.key(0), 3)
    for _ in range(2):
        counted(rj.Elman(4, activation=Elu(0.5)), params, jnp.ones((2, 3)))
    assert len(traces) == 1
    counted(rj.Elman(4, activation=Elu(0.6)), params, jnp.ones((2, 3)))
    assert len(traces) == 2


def test_integers_print_and_pickle():
    """A whole number has no dot in it, which once made it look like a function."""
    cell = rj.Elman(4, activation=Elu(2))
    assert pickle.loads(pickle.dumps(cell)) == cell
    cell = rj.Elman(4, kernel_init=rj.initializers.TruncatedNormal(1))
    assert pickle.loads(pickle.dumps(cell)) == cell


@pytest.mark.parametrize("bound", [0.0, -1.0, float("inf"), float("nan")])
def test_bound(bound):
    with pytest.raises(ValueError, match="Clipped: bound must be (above 0|a finite)"):
        Clipped(jnp.tanh, bound)


def test_no_bound():
    with pytest.raises(TypeError, match="pass the activation itself"):
        Clipped(jnp.tanh, None)


def test_an_array_is_no_field():
    with pytest.raises(TypeError, match="does not hash"):
        rj.Elman(4, activation=Elu(jnp.ones(3)))
