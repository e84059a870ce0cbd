# SPDX-License-Identifier: Apache-2.0
"""RG-LRU against NumPy, and what its gates and its root promise."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import recurrent_jax as rj
from cells.common import compare, count, sigmoid
from cells.linear import agree
from recurrent_jax.cells._rg_lru import bounded_sqrt
from recurrent_jax.testing import check_cell

forms = pytest.mark.parametrize("complex_state", [False, True])


def gates(params, x):
    """The block-diagonal products, head by head, and their sigmoids."""
    heads = len(params.kernel)
    parts = [
        np.split(part @ kernel, 2)
        for part, kernel in zip(np.split(x, heads), params.kernel, strict=True)
    ]
    a = np.concatenate([np.concatenate(gate) for gate in zip(*parts, strict=True)])
    return np.split(sigmoid(a + params.bias), 2)


def rg_lru(params, carry, x, c=8):
    """De et al., 2024, equations 1 to 4, and the complex form of the authors' code."""
    r, i = gates(params, x)
    log_a = -c * np.logaddexp(0, params.rate) * r
    root = np.sqrt(1 - np.exp(log_a) ** 2)
    if params.phase is None:
        h = np.exp(log_a) * carry.h + root * i * x
        return (h,), h
    a = np.exp(log_a + 1j * params.phase * r)
    real, imag = np.split(x, 2)
    h = a * (carry.real + 1j * carry.imag) + root * i * (real + 1j * imag)
    return (h.real, h.imag), np.concatenate([h.real, h.imag])


@pytest.mark.mostly_slow
@forms
@pytest.mark.parametrize("heads", [1, 2])
def test_equations(heads, complex_state):
    cell = rj.RGLRU(4, heads=heads, complex_state=complex_state)
    compare(cell, rg_lru, in_features=4)


def test_power():
    cell = rj.RGLRU(3, power=2.5)
    compare(cell, lambda *step: rg_lru(*step, c=2.5))


@pytest.mark.slow
@forms
def test_methods(complex_state):
    agree(rj.RGLRU(4, heads=2, complex_state=complex_state), in_features=4)


@pytest.mark.slow
def test_complex_form_is_a_cell():
    """The generic tests have inputs of three features, too few for pairs."""
    check_cell(rj.RGLRU(4, heads=2, complex_state=True), in_features=4)


def test_init(x64):
    """Uniform in the area of a ring, before the gate and the power."""
    cell = rj.RGLRU(2_000, heads=20, complex_state=True)
    params = cell.init(jax.random.key(0), 2_000)
    radius = np.exp(-np.logaddexp(0, np.asarray(params.rate)))
    assert 0.9 < radius.min() and radius.max() < 0.999
    assert np.mean(radius**2) == pytest.approx((0.9**2 + 0.999**2) / 2, rel=0.01)
    assert 0 <= params.phase.min() and params.phase.max() < 0.1 * np.pi
    assert float(jnp.mean(params.phase)) == pytest.approx(0.05 * np.pi, rel=0.06)
    assert float(jnp.var(params.kernel)) == pytest.approx(1 / 100, rel=0.02)
    assert not jnp.any(params.bias)


@pytest.mark.slow
@pytest.mark.parametrize("narrow", ["bfloat16", "float16"])
def test_init_of_16_bits(narrow):
    params = rj.RGLRU(200, heads=10).init(jax.random.key(0), 200, narrow)
    rate = params.rate.astype("float32")
    radius = np.exp(-np.logaddexp(0, np.asarray(rate)))
    assert params.rate.dtype == narrow
    assert 0.89 < radius.min() and radius.max() < 0.9991


@pytest.mark.mostly_slow
@forms
@pytest.mark.parametrize("rate", [-1e4, -30.0, 1e4])
def test_extreme_rates(rate, complex_state, dtype):
    """A state that never decays, or at once, and no gradient that is NaN."""
    cell = rj.RGLRU(4, complex_state=complex_state)
    params = cell.init(jax.random.key(0), 4, dtype)
    params = params._replace(rate=jnp.full_like(params.rate, rate))
    xs = jax.random.normal(jax.random.key(1), (9, 4), dtype)
    one = jax.tree.map(jnp.ones_like, cell.initial_carry((), dtype))

    def last(params, xs):
        return rj.unroll(cell, params, xs, carry=one)[1][-1]

    if rate == -1e4 and not complex_state:
        np.testing.assert_array_equal(last(params, xs), np.ones(4))

    def slopes(params, xs):
        grads = jax.grad(lambda *args: last(*args).sum(), (0, 1))(params, xs)
        return sum(jnp.sum(g) for g in jax.tree.leaves(grads))

    second = jax.jit(jax.value_and_grad(slopes, (0, 1)))
    leaves = jax.tree.leaves(second(params, xs))
    assert all(bool(jnp.all(jnp.isfinite(a))) for a in leaves)


def test_the_root_near_one(x64):
    """1 - a^2 keeps its digits where a is almost 1."""
    cell = rj.RGLRU(3)
    params = cell.init(jax.random.key(0), 3)._replace(rate=jnp.full(3, -20.0))
    x = np.array([0.3, -1.0, 2.0])
    _, y = cell.step(params, cell.initial_carry(), jnp.asarray(x))
    r, i = gates(jax.tree.map(np.asarray, params), x)
    # The softplus of -20 is e^-20 to nine digits: 1 - a^2 is 16 r e^-20.
    np.testing.assert_allclose(y, np.sqrt(16 * r * np.exp(-20)) * i * x, rtol=1e-7)


def test_the_bound_of_the_root(dtype):
    at = jnp.array([0.0, 1e-9, 4.0], dtype)
    slopes = jax.vmap(jax.grad(bounded_sqrt))(at)
    np.testing.assert_allclose(slopes, [1000, 1000, 0.25], rtol=1e-6)
    np.testing.assert_array_equal(bounded_sqrt(at), jnp.sqrt(at))


def test_the_variance_of_the_input_is_kept(x64):
    """With open gates, in the long run."""
    cell = rj.RGLRU(50)
    params = cell.init(jax.random.key(0), 50)
    params = params._replace(bias=jnp.full(100, 20.0))
    xs = jax.random.normal(jax.random.key(1), (6_000, 50))
    ys = rj.unroll(cell, params, xs)[1]
    assert float(jnp.var(ys[1000:])) == pytest.approx(1, rel=0.1)


@forms
def test_zoneout_reads_the_state(complex_state):
    """The output follows from the carry in both forms."""
    cell = rj.RGLRU(4, complex_state=complex_state)
    params = cell.init(jax.random.key(0), 4)
    xs = jax.random.normal(jax.random.key(1), (6, 4))
    carry, ys = rj.unroll(rj.Zoneout(cell, 0.5), params, xs)
    np.testing.assert_array_equal(np.concatenate(carry), ys[-1])


def test_parameters():
    D, N = 12, 3
    assert count(rj.RGLRU(D), D) == D * (2 * D + 3)
    assert count(rj.RGLRU(D, heads=N), D) == D * (2 * D // N + 3)
    pairs = rj.RGLRU(D, heads=N, complex_state=True)
    assert count(pairs, D) == D * (D // N + 2)


def test_errors():
    with pytest.raises(ValueError, match="in_features must be hidden_size=4.* got 3"):
        rj.RGLRU(4).init(jax.random.key(0), 3)
    with pytest.raises(ValueError, match="heads must divide .* states, 4, got 3"):
        rj.RGLRU(4, heads=3)
    with pytest.raises(ValueError, match="heads must divide .* states, 2, got 4"):
        rj.RGLRU(4, heads=4, complex_state=True)
    with pytest.raises(ValueError, match="needs an even hidden_size.* got 3"):
        rj.RGLRU(3, complex_state=True)
    for low, high in ((0.9, 0.9), (0.9, 1.0)):
        with pytest.raises(ValueError, match=f"got min_radius={low} and .*={high}"):
            rj.RGLRU(4, min_radius=low, max_radius=high)
