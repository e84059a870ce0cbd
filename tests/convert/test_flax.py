# SPDX-License-Identifier: Apache-2.0
"""Flax, live: stacks, both directions, cells of odd trees; trained there and here."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from parity.common import Draw

import recurrent_jax as rj
from convert.common import run, same_bits
from recurrent_jax.convert import from_linen, from_nnx, to_linen, to_nnx

XS = Draw("float32")(4, 5, 3)  # batch first
LENGTHS = jnp.array([5, 2, 1, 4])
# Overwritten, and quicker than orthogonal.
ZEROS = {"recurrent_kernel_init": nn.initializers.zeros}


def linen(module, xs=XS, seed=0):
    """Return drawn variables."""
    shapes = jax.eval_shape(module.init, jax.random.key(0), xs)
    return Draw("float32", seed).like(shapes)


def check_linen(module, xs=XS, **settings):
    variables = linen(module, xs)
    network, params = from_linen(variables, **settings)
    got = run(network, params, xs, time_axis=1)
    want = jax.jit(module.apply)(variables, xs)
    np.testing.assert_allclose(got, want, 1e-5, 1e-5)
    return network, params, variables


CELLS = {
    "residual": (nn.SimpleCell(4, residual=True, **ZEROS), {"residual": True}),
    "mgu": (nn.MGUCell(4, **ZEROS), {}),
    "mgu_no_reset": (nn.MGUCell(4, reset_gate=False, **ZEROS), {}),
    "lstm_activations": (
        nn.LSTMCell(4, gate_fn=jax.nn.hard_sigmoid, activation_fn=jax.nn.relu, **ZEROS),
        {"gate_fn": jax.nn.hard_sigmoid, "activation_fn": jax.nn.relu},
    ),
}


@pytest.mark.mostly_slow
@pytest.mark.parametrize("name", CELLS)
def test_linen_cell(name):
    cell, settings = CELLS[name]
    network, params, variables = check_linen(nn.RNN(cell), **settings)
    again = to_linen(network, params)["params"]
    same_bits({"cell": again}, variables["params"])


def test_linen_convolutional():
    module = nn.RNN(nn.ConvLSTMCell(2, (2, 3)))
    images = Draw("float32")(2, 3, 5, 6, 2)
    check_linen(module, images, spatial_shape=(5, 6))


def stack():
    bidirectional = nn.Bidirectional(
        nn.RNN(nn.GRUCell(4, **ZEROS)), nn.RNN(nn.GRUCell(4, **ZEROS))
    )
    return nn.Sequential([bidirectional, nn.RNN(nn.OptimizedLSTMCell(3, **ZEROS))])


@pytest.mark.slow
def test_linen_bidirectional_with_lengths():
    module = stack().layers[0]
    variables = linen(module)
    network, params = from_linen(variables)
    got = run(network, params, XS, lengths=LENGTHS, time_axis=1)
    want = module.apply(variables, XS, seq_lengths=LENGTHS)
    valid = np.arange(5) < np.asarray(LENGTHS)[:, None]
    np.testing.assert_allclose(got, np.where(valid[..., None], want, 0), 1e-5, 1e-5)


@pytest.mark.slow
def test_linen_trained_there_trained_here_and_returned():
    module, optimizer, target = stack(), optax.adam(0.01), 0.3
    variables = linen(module)

    def descend(run, weights, steps=4):
        def loss(weights):
            ys = run(weights)
            return jnp.mean((ys - target) ** 2), ys

        @jax.jit
        def step(weights, state):
            (value, ys), grads = jax.value_and_grad(loss, has_aux=True)(weights)
            with jax.numpy_dtype_promotion("standard"):
                updates, state = optimizer.update(grads, state)
            return optax.apply_updates(weights, updates), state, value, ys

        state, values, seen = optimizer.init(weights), [], []
        for _ in range(steps):
            weights, state, value, ys = step(weights, state)
            values.append(float(value))
            seen.append(ys)
        assert values[-1] < 0.99 * values[0]
        return weights, seen

    variables, _ = descend(lambda v: module.apply(v, XS), variables)
    network, params = from_linen(variables)
    assert network == rj.Deep((rj.Bidirectional(rj.GRU(4)), rj.LSTM(3)))

    params, seen = descend(lambda p: rj.unroll(network, p, XS, time_axis=1)[1], params)
    start = module.apply(variables, XS)
    np.testing.assert_allclose(seen[0], start, 1e-5, 1e-5)
    back = to_linen(network, params)
    assert jax.tree.structure(back) == jax.tree.structure(variables)
    again = run(network, params, XS, time_axis=1)
    np.testing.assert_allclose(module.apply(back, XS), again, 1e-5, 1e-5)
    same_bits(from_linen(back)[1], params)


@pytest.mark.parametrize("optimized", [False, True])
def test_nnx_stack(optimized):
    lstm = nnx.OptimizedLSTMCell if optimized else nnx.LSTMCell
    zeros = {"recurrent_kernel_init": nnx.initializers.zeros, "rngs": nnx.Rngs(0)}
    module = nnx.Sequential(
        nnx.Bidirectional(
            nnx.RNN(nnx.GRUCell(3, 4, **zeros)), nnx.RNN(nnx.GRUCell(3, 4, **zeros))
        ),
        nnx.RNN(lstm(8, 3, **zeros)),
    )
    graph, state = nnx.split(module)
    tree = nnx.to_pure_dict(nnx.state(module, nnx.Param))
    tree = Draw("float32").like(tree)
    network, params = from_nnx(tree)
    assert network == rj.Deep((rj.Bidirectional(rj.GRU(4)), rj.LSTM(3)))
    got = run(network, params, XS, time_axis=1)

    written = to_nnx(network, params, optimized=optimized)
    nnx.replace_by_pure_dict(state, written)
    same_bits(nnx.to_pure_dict(nnx.state(nnx.merge(graph, state), nnx.Param)), tree)
    want = nnx.merge(graph, state)(XS)
    np.testing.assert_allclose(got, want, 1e-5, 1e-5)
