# SPDX-License-Identifier: Apache-2.0
"""Clipping: what it computes, and that it mends an exploding gradient."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import recurrent_jax as rj
from recurrent_jax.training import clipping

TIME = 50
# h' = w h + x, one number, without a bias: the gradient of h_T is a power of w.
LINE = rj.Elman(1, activation=jax.nn.identity, use_bias=False)
START = rj.Elman.Carry(jnp.ones(1))


def params(w):
    return rj.Elman.Params(jnp.ones((1, 1)), jnp.full((1, 1), w), None)


@jax.jit
def end(w, h=1.0):
    """Return h after all steps, from `h` and with inputs of zero."""
    carry = rj.Elman.Carry(jnp.reshape(h, (1,)))
    return rj.unroll(LINE, params(w), jnp.zeros((TIME, 1)), carry=carry)[0].h[0]


@pytest.mark.parametrize("w", [2.0, 0.5])
def test_the_gradient_of_a_line_is_a_power_of_its_weight(w, x64):
    # Both derivatives are exact: d h_T / d h_0 = w^T and d h_T / d w = T w^(T - 1).
    to_weight, to_start = jax.grad(end, argnums=(0, 1))(w, 1.0)
    assert float(to_start) == w**TIME
    assert float(to_weight) == TIME * w ** (TIME - 1)


def test_what_explodes_and_what_vanishes():
    exploding, vanishing = (float(jax.grad(end)(w)) for w in (2.0, 0.5))
    assert exploding == pytest.approx(50 * 2.0**49) and exploding > 1e16
    assert vanishing == pytest.approx(50 * 0.5**49) and vanishing < 1e-13


def loss(w, target):
    # Not squared: the square of that gradient's norm would be beyond float32, and what
    # is divided by an infinite norm is zero.
    return jnp.abs(end(w) - target)


@functools.partial(jax.jit, static_argnames=("transform", "steps"))
def descend(transform, w, target, steps=300):
    """Return all weights and losses on the way."""

    def step(state, _):
        w, memory = state
        value, gradient = jax.value_and_grad(loss)(w, target)
        update, memory = transform.update(gradient, memory, w)
        return (optax.apply_updates(w, update), memory), (w, value)

    w = jnp.asarray(w)
    return jax.lax.scan(step, (w, transform.init(w)), length=steps)[1]


@pytest.mark.nans
def test_plain_descent_leaves_an_exploding_gradient_for_good():
    weights, losses = descend(optax.sgd(0.01), 2.0, target=2.0)
    assert abs(weights[1]) > 1e14
    assert not np.isfinite(losses[-1])


@pytest.mark.parametrize("bounds", [{"max_norm": 1.0}, {"max_value": 1.0}, None])
def test_clipped_descent_reaches_the_target(bounds):
    clip = clipping(**bounds) if bounds else clipping(max_norm=1.0, max_value=0.5)
    rate = optax.cosine_decay_schedule(0.02, 300)
    # Schedules count in integers and compute in floats.
    with jax.numpy_dtype_promotion("standard"):
        weights, losses = descend(optax.chain(clip, optax.sgd(rate)), 2.0, target=2.0)
    assert np.all(np.isfinite(losses))
    assert losses[0] > 1e15
    assert losses[-1] < 0.01
    assert weights[-1] == pytest.approx(2.0 ** (1 / TIME), rel=1e-3)


def test_plain_descent_stalls_where_the_gradient_vanishes():
    weights, losses = descend(optax.sgd(0.01), 0.5, target=2.0)
    assert weights[-1] == 0.5
    assert losses[-1] == losses[0]


def test_clipping_does_not_help_against_a_vanishing_gradient():
    transform = optax.chain(clipping(max_norm=1.0, max_value=0.5), optax.sgd(0.01))
    weights, _ = descend(transform, 0.5, target=2.0)
    assert weights[-1] == 0.5


def gradients(scale):
    keys = jax.random.split(jax.random.key(0), 3)
    shapes = ((2, 16), (4, 16), (16,))
    return rj.LSTM.Params(
        *(scale * jax.random.normal(k, s) for k, s in zip(keys, shapes, strict=True))
    )


BOTH = {"max_norm": 2.0, "max_value": 0.3}
CHAINS = {
    "norm": ({"max_norm": 2.0}, [optax.clip_by_global_norm(2.0)]),
    "value": ({"max_value": 0.3}, [optax.clip(0.3)]),
    "both": (BOTH, [optax.clip_by_global_norm(2.0), optax.clip(0.3)]),
    "neither": ({}, [optax.identity()]),
}


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
@pytest.mark.parametrize("bounds, chain", CHAINS.values(), ids=CHAINS.keys())
def test_clipping_is_a_chain_of_optax(bounds, chain, scale):
    gradient = gradients(scale)
    ours, theirs = (
        transform.update(gradient, transform.init(gradient))[0]
        for transform in (clipping(**bounds), optax.chain(*chain))
    )
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)


def test_the_norm_comes_before_the_value():
    gradient = {"w": jnp.array([30.0, 40.0])}

    def update(*steps):
        transform = optax.chain(*steps)
        return transform.update(gradient, transform.init(gradient))[0]["w"]

    by_norm, by_value = optax.clip_by_global_norm(5.0), optax.clip(3.5)
    ours = update(clipping(max_norm=5.0, max_value=3.5))
    np.testing.assert_allclose(ours, [3.0, 3.5], rtol=1e-6)
    np.testing.assert_array_equal(ours, update(by_norm, by_value))
    # The other way about, nothing is left of the direction.
    np.testing.assert_allclose(update(by_value, by_norm), [3.5, 3.5], rtol=1e-6)


def test_small_gradients_pass_unchanged():
    gradient = gradients(1e-3)
    transform = clipping(**BOTH)
    update, _ = transform.update(gradient, transform.init(gradient))
    jax.tree.map(np.testing.assert_array_equal, update, gradient)


@pytest.mark.parametrize("name", ["max_norm", "max_value"])
@pytest.mark.parametrize("bound", [0, -1.0, float("inf"), float("nan")])
def test_a_bound_that_bounds_nothing_is_refused(name, bound):
    wanted = f"^clipping: {name} must be (above 0|a finite number), got"
    with pytest.raises(ValueError, match=wanted):
        clipping(**{name: bound})


def test_both_clippings_and_adam_train_an_lstm():
    cell = rj.LSTM(8)
    keys = jax.random.split(jax.random.key(0), 3)
    xs = jax.random.normal(keys[0], (12, 16, 1))
    targets = jnp.cumsum(xs[..., 0], axis=0) > 0
    weights = cell.init(keys[1], 1), jax.random.normal(keys[2], (8,)) / 8
    transform = optax.chain(clipping(max_norm=1.0, max_value=0.1), optax.adam(0.02))

    def loss(weights):
        ys = rj.unroll(cell, weights[0], xs)[1] @ weights[1]
        return optax.sigmoid_binary_cross_entropy(ys, targets.astype(ys.dtype)).mean()

    @jax.jit
    def train(weights):
        def step(state, _):
            weights, memory = state
            value, gradient = jax.value_and_grad(loss)(weights)
            update, memory = transform.update(gradient, memory, weights)
            return (optax.apply_updates(weights, update), memory), value

        return jax.lax.scan(step, (weights, transform.init(weights)), length=100)[1]

    # Adam counts its steps in integers and raises floats to their power.
    with jax.numpy_dtype_promotion("standard"):
        losses = np.asarray(train(weights))
    assert np.all(np.isfinite(losses))
    assert losses[-1] < 0.5 * losses[0]
