# SPDX-License-Identifier: Apache-2.0
"""Gated DeltaNet and DeltaNet against NumPy, and what only they can do."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import recurrent_jax as rj
from cells.common import compare, count, sigmoid
from cells.linear import CHUNKED, agree

CELLS = [rj.DeltaNet, rj.GatedDeltaNet]
each = pytest.mark.parametrize("cell", CELLS)


def silu(a):
    return a * sigmoid(a)


def unit(a):
    return a / np.sqrt(np.sum(a**2) + 1e-6)


def delta_rule(params, carry, x, decay, most=1, phi=silu):
    """Yang et al., 2025, equation 10, head by head, with the state as (K, V)."""
    q, k, v = (
        phi(x @ kernel).reshape(len(carry.S), -1)
        for kernel in (params.query_kernel, params.key_kernel, params.value_kernel)
    )
    beta = most * sigmoid(x @ params.strength_kernel)
    after, outputs = [], []
    for n, S in enumerate(carry.S):
        key = unit(k[n])
        erase = np.eye(len(key)) - beta[n] * np.outer(key, key)
        S = erase @ (decay[n] * S) + beta[n] * np.outer(key, v[n])
        after.append(S)
        outputs.append(S.T @ unit(q[n]) / np.sqrt(len(key)))
    return (np.stack(after),), np.concatenate(outputs)


def delta_net(params, carry, x, **options):
    return delta_rule(params, carry, x, np.ones(len(carry.S)), **options)


def gated_delta_net(params, carry, x, **options):
    time_step = np.log1p(np.exp(x @ params.decay_kernel + params.decay_bias))
    decay = np.exp(-np.exp(params.log_rate) * time_step)
    return delta_rule(params, carry, x, decay, **options)


STEPS = {rj.DeltaNet: delta_net, rj.GatedDeltaNet: gated_delta_net}


@pytest.mark.mostly_slow
@each
@pytest.mark.parametrize("options", [{"heads": 2, "key_size": 3}, {"heads": 1}])
def test_equations(cell, options):
    compare(cell(4, **options), STEPS[cell])


@pytest.mark.slow
@each
def test_options(cell):
    made = cell(4, heads=2, negative_eigenvalues=True, activation=jnp.tanh)
    compare(made, lambda *step: STEPS[cell](*step, most=2, phi=np.tanh))


@pytest.mark.slow
@each
def test_methods(cell):
    agree(cell(4, heads=2, key_size=3, negative_eigenvalues=True), CHUNKED)


@each
def test_no_tree_of_steps(cell):
    cell = cell(8)
    params = cell.init(jax.random.key(0), 3)
    with pytest.raises(TypeError, match=r"Delta do not combine.* rj\.Chunked\(\)"):
        rj.unroll(cell, params, jnp.ones((5, 3)), method=rj.Associative())


@pytest.mark.mostly_slow
@each
@pytest.mark.parametrize("most", [1, 2])
def test_a_key_finds_its_last_value(cell, most, x64):
    """Without decay and with beta = 1, reading a key just written gives its value.

    With beta = 2 it gives the value turned around: twice the new minus the old.
    """
    cell = cell(4, heads=1, key_size=4, activation=jax.nn.identity)
    params = jax.tree.map(jnp.zeros_like, cell.init(jax.random.key(0), 8))
    address, content = jnp.eye(8, 4), jnp.eye(8, 4, -4)
    params = params._replace(
        query_kernel=address, key_kernel=address, value_kernel=content
    )
    if isinstance(cell, rj.GatedDeltaNet):
        params = params._replace(log_rate=jnp.full(1, -50.0))
    element = cell.project(params, jnp.zeros((3, 8)))[1]
    assert bool(jnp.all(jnp.abs(element.log_decay) < 1e-20))

    key = jnp.array([0.6, 0.8, 0, 0])
    other = jnp.array([-0.8, 0.6, 0, 0])  # at a right angle
    xs = jnp.stack(
        [
            jnp.concatenate([key, jnp.arange(4.0)]),
            jnp.concatenate([other, jnp.full(4, 9.0)]),
            jnp.concatenate([key, jnp.array([5.0, 0, 0, 1])]),
        ]
    )
    # A strength of one half of `most`, from a kernel of zeros, so double the rest.
    half = most / 2
    want = [half * xs[0, 4:], half * xs[1, 4:]]
    want.append(half * xs[2, 4:] + (1 - half) * want[0])
    cell = type(cell)(**{**vars(cell), "negative_eigenvalues": most == 2})
    ys = rj.unroll(cell, params, xs)[1]
    np.testing.assert_allclose(ys, np.stack(want) / 2, atol=1e-5)


@each
def test_parity(cell, x64):
    """With beta = 2 a step can reflect the state, so its sign is a parity."""
    cell = cell(1, heads=1, key_size=1, negative_eigenvalues=True)
    params = jax.tree.map(jnp.zeros_like, cell.init(jax.random.key(0), 1))
    params = params._replace(
        query_kernel=jnp.ones((1, 1)),
        key_kernel=jnp.ones((1, 1)),
        strength_kernel=jnp.full((1, 1), 60.0),
    )
    if isinstance(cell, rj.GatedDeltaNet):
        params = params._replace(log_rate=jnp.full(1, -50.0))
    bits = jnp.asarray(np.random.default_rng(0).integers(0, 2, 40))
    xs = jnp.where(bits == 1, 9.0, -9.0)[:, None]
    start = cell.Carry(jnp.ones((1, 1, 1)))
    S = rj.unroll(cell, params, xs, carry=start)[0].S
    assert abs(float(S[0, 0, 0])) > 0.9
    assert (float(S[0, 0, 0]) < 0) == bool(jnp.sum(bits) % 2)


def test_decays_as_they_start():
    params = rj.GatedDeltaNet(4000, heads=4000).init(jax.random.key(0), 3)
    rates = jnp.exp(params.log_rate)
    assert 0.01 <= float(rates.min()) < 0.1 and 15.9 < float(rates.max()) <= 16.01
    assert abs(float(rates.mean()) - 8) < 0.3
    step = jax.nn.softplus(params.decay_bias)
    assert bool(jnp.all((step > 0.001) & (step < 0.101)))


@pytest.mark.mostly_slow
@each
@pytest.mark.parametrize("half", [jnp.bfloat16, jnp.float16])
def test_inputs_of_zero(cell, half):
    """The key of a padded step has no direction."""
    cell = cell(8)
    for dtype in (half, jnp.float32):
        params = cell.init(jax.random.key(0), 3, dtype)

        def total(params, xs):
            return jnp.sum(rj.unroll(cell, params, xs)[1] ** 2)

        slopes = jax.jit(jax.grad(total, (0, 1)))
        grads = slopes(params, jnp.zeros((5, 2, 3), dtype))
        assert all(bool(jnp.all(jnp.isfinite(g))) for g in jax.tree.leaves(grads))


@pytest.mark.slow
@each
def test_precision(cell):
    """The triangular solve of a chunk loses few digits, even without decay."""
    cell = cell(64, heads=2, negative_eigenvalues=True)
    params = cell.init(jax.random.key(0), 16)
    if isinstance(cell, rj.GatedDeltaNet):
        params = params._replace(decay_bias=jnp.full(2, -6.0))
    xs = jax.random.normal(jax.random.key(1), (1000, 4, 16))
    got = np.asarray(rj.unroll(cell, params, xs, method=rj.Chunked())[1])
    with jax.enable_x64(True):
        exact = jax.tree.map(lambda a: jnp.asarray(a, "float64"), (params, xs))
        want = np.asarray(rj.unroll(cell, *exact, method=rj.Sequential())[1])
    assert np.max(np.abs(got - want)) < 1e-5 * np.max(np.abs(want))


def test_parameters():
    D, H, N, K = 3, 8, 2, 5
    assert count(rj.DeltaNet(H), D) == 3 * D * H + 4 * D
    assert count(rj.DeltaNet(H, N, K), D) == D * (2 * N * K + H + N)
    assert count(rj.GatedDeltaNet(H), D) == 3 * D * H + 8 * D + 8
    assert count(rj.GatedDeltaNet(H, N, K), D) == D * (2 * N * K + H + 2 * N) + 2 * N


@each
def test_heads_divide_units(cell):
    with pytest.raises(ValueError, match="heads must divide hidden_size=6, got 4"):
        cell(6)
