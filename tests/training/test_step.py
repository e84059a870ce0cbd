# SPDX-License-Identifier: Apache-2.0
"""A step of training, and truncated back-propagation over streams."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import recurrent_jax as rj
from recurrent_jax import training
from recurrent_jax.training import (
    count_chunks,
    cut_streams,
    init_state,
    take_chunk,
    train_chunk,
    train_step,
)

CELL = rj.GRU(3)


def params():
    return CELL.init(jax.random.key(0), 1)


def noisy(params, carry, batch, key):
    """A loss that reads everything that a loss can read."""
    noise = jax.random.normal(key, batch.shape)
    carry, ys = rj.unroll(CELL, params, batch + noise, carry=carry)
    return jnp.mean(ys**2), carry


def close(one, other, rtol=1e-12):
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=1e-14), one, other
    )


def test_a_step_is_what_one_would_write_by_hand(x64):
    optimizer = optax.adam(0.1)
    carry = CELL.initial_carry((2,))
    state = init_state(params(), optimizer, key=jax.random.key(1), carry=carry)
    batches = jax.random.normal(jax.random.key(2), (4, 5, 2, 1))
    run = jax.jit(functools.partial(train_step, loss=noisy, optimizer=optimizer))
    theta, memory = params(), optimizer.init(params())
    by_hand = jax.jit(jax.value_and_grad(noisy, has_aux=True))
    for n, batch in enumerate(batches):
        state, metrics = run(state, batch)
        key = jax.random.fold_in(jax.random.key(1), n)
        (value, carry), gradient = by_hand(theta, carry, batch, key)
        with jax.numpy_dtype_promotion("standard"):
            updates, memory = optimizer.update(gradient, memory, theta)
        theta = optax.apply_updates(theta, updates)
        close(metrics.loss, value)
        squares = sum(jnp.sum(g**2) for g in jax.tree.leaves(gradient))
        close(metrics.gradient_norm, jnp.sqrt(squares))
    close(state.params, theta)
    close(state.carry, carry)
    close(state.opt_state, memory)
    assert int(state.step) == 4


def test_many_steps_in_one_scan(x64):
    optimizer = training.adamw(0.1, weight_decay=0.1, skip=2)
    state = init_state(
        params(), optimizer, key=jax.random.key(1), carry=CELL.initial_carry((2,))
    )
    run = functools.partial(train_step, loss=noisy, optimizer=optimizer)
    batches = jax.random.normal(jax.random.key(2), (4, 5, 2, 1))
    together, metrics = jax.jit(lambda s: jax.lax.scan(run, s, batches))(state)
    assert metrics.loss.shape == (4,)
    one = jax.jit(run)
    for batch in batches:
        state, _ = one(state, batch)
    close(together._replace(key=0), state._replace(key=0))


def test_no_gradient_flows_through_the_carry_that_is_kept():
    def start(carry):
        state = init_state(params(), optax.sgd(0.0), key=jax.random.key(1), carry=carry)
        after, _ = train_step(
            state, jnp.ones((2, 2, 1)), loss=noisy, optimizer=optax.sgd(0.0)
        )
        return after.carry.h.sum()

    gradient = jax.jit(jax.grad(start))(rj.GRU.Carry(jnp.ones((2, 3))))
    assert not gradient.h.any()


@pytest.mark.parametrize(
    "loss, text",
    [
        (lambda p, c, b, k: p.bias.sum(), "must return (value, carry)"),
        (lambda p, c, b, k: (p.bias, c), "got (float32[9]"),
        (lambda p, c, b, k: (p.bias.sum(), p), "returned another carry than it took"),
        (lambda p, c, b, k: (p.bias.sum(), rj.GRU.Carry(c.h[:1])), "float32[1,3]"),
    ],
)
def test_a_loss_of_another_kind_is_refused(loss, text):
    optimizer = optax.sgd(0.1)
    state = init_state(
        params(), optimizer, key=jax.random.key(1), carry=CELL.initial_carry((2,))
    )
    with pytest.raises(TypeError) as error:
        train_step(state, None, loss=loss, optimizer=optimizer)
    assert str(error.value).startswith("train_step: loss ") and text in str(error.value)


def test_streams_and_chunks_are_the_sequence_in_order():
    text = jnp.arange(50)
    data = cut_streams(text, 3)
    assert data.T.tolist() == [list(range(k * 16, k * 16 + 16)) for k in range(3)]
    assert count_chunks(data, 5) == 3
    pieces = [take_chunk(data, n, length=5) for n in range(6)]
    one = jnp.concatenate([piece.inputs for piece in pieces[:3]])
    two = jnp.concatenate([piece.targets for piece in pieces[:3]])
    np.testing.assert_array_equal(one, data[:15])
    np.testing.assert_array_equal(two, data[1:16])
    assert [bool(piece.fresh) for piece in pieces] == [True, False, False] * 2
    for piece, again in zip(pieces[:3], pieces[3:], strict=True):
        np.testing.assert_array_equal(piece.inputs, again.inputs)


def test_streams_of_features_keep_them():
    series = jax.random.normal(jax.random.key(0), (23, 4))
    data = cut_streams(series, 2)
    assert data.shape == (11, 2, 4)
    np.testing.assert_array_equal(data[:, 1], series[11:22])


@pytest.mark.parametrize(
    "mistake, text",
    [
        (lambda: cut_streams(jnp.arange(5), 3), "int32[5] is too short for 3 streams"),
        (lambda: cut_streams(jnp.ones(()), 1), "of 1 or more axes, got float32[]"),
        (lambda: cut_streams(jnp.arange(5), 0), "count must be at least 1"),
        (lambda: count_chunks(jnp.ones((5, 2)), 5), "too short for a chunk of 5"),
        (
            lambda: take_chunk(jnp.ones((5, 2)), 0, length=0),
            "length must be at least 1",
        ),
    ],
)
def test_streams_that_are_too_short(mistake, text):
    with pytest.raises(ValueError) as error:
        mistake()
    assert text in str(error.value)


def last(params, carry, piece, key):
    carry, ys = rj.unroll(CELL, params, piece.inputs, carry=carry)
    return jnp.mean((ys[..., :1] - piece.targets) ** 2), carry


def test_chunks_are_one_long_run_with_the_gradient_cut(x64):
    # A rate of nothing: all losses and gradients are of the same parameters.
    data = cut_streams(jax.random.normal(jax.random.key(3), (44, 1)), 2)  # 22 steps
    fresh = CELL.initial_carry((2,))
    gradients = optax.trace(1.0, False)  # adds them up
    optimizer = optax.chain(gradients, optax.scale(0.0))
    state = init_state(params(), optimizer, key=jax.random.key(1), carry=fresh)
    run = jax.jit(
        functools.partial(
            train_chunk, length=7, fresh=fresh, loss=last, optimizer=optimizer
        )
    )
    losses = []
    for _ in range(3):
        state, metrics = run(state, data)
        losses.append(metrics.loss)

    def whole(params):
        carry, ys = rj.unroll(CELL, params, data[:-1], backward=rj.Truncated(7))
        return jnp.mean((ys[..., :1] - data[1:]) ** 2), carry

    both = jax.jit(jax.value_and_grad(whole, has_aux=True))
    (value, carry), gradient = both(params())
    close(state.carry, carry)
    close(np.mean(losses), value)
    summed = state.opt_state[0].trace
    close(jax.tree.map(lambda g: g / 3, summed), gradient, rtol=1e-10)
    # The next epoch starts afresh.
    again, metrics = run(state, data)
    close(metrics.loss, losses[0])


def test_the_gradient_is_not_that_of_the_full_run(x64):
    """The test above would not notice a gradient that is not cut."""
    data = jax.random.normal(jax.random.key(3), (22, 2, 1))

    def whole(params, backward):
        _, ys = rj.unroll(CELL, params, data[:-1], backward=backward)
        return jnp.mean((ys[..., :1] - data[1:]) ** 2)

    cut, full = (
        jax.jit(jax.grad(whole), static_argnums=1)(params(), backward)
        for backward in (rj.Truncated(7), rj.Autodiff())
    )
    assert float(jnp.abs(cut.recurrent_kernel - full.recurrent_kernel).max()) > 1e-6


def test_deep_networks_carry_their_states_on():
    network = rj.Deep((rj.LSTM(3), rj.GRU(2)))
    weights, fresh = network.init(jax.random.key(0), 1), network.initial_carry((2,))
    data = cut_streams(jnp.sin(jnp.arange(40.0))[:, None], 2)
    optimizer = training.adamw(0.01, weight_decay=0.1, rates={"recurrent_kernel": 0.1})

    def loss(params, carry, piece, key):
        carry, ys = rj.unroll(network, params, piece.inputs, carry=carry, key=key)
        return jnp.mean((ys[..., :1] - piece.targets) ** 2), carry

    state = init_state(weights, optimizer, key=jax.random.key(1), carry=fresh)
    run = functools.partial(
        train_chunk, length=4, fresh=fresh, loss=loss, optimizer=optimizer
    )
    state, metrics = jax.jit(
        lambda s: jax.lax.scan(lambda s, _: run(s, data), s, length=16)
    )(state)
    assert metrics.loss[-4:].mean() < metrics.loss[:4].mean()


def test_several_small_steps_know_the_loss():
    inner = optax.chain(optax.sgd(0.1), optax.contrib.reduce_on_plateau())
    optimizer, params = optax.MultiSteps(inner, 2), {"w": jnp.ones(3)}

    def loss(params, carry, batch, key):
        return (params["w"] ** 2).sum(), None

    state = training.init_state(params, optimizer, key=jax.random.key(0))
    for _ in range(2):
        state, _ = training.train_step(state, None, loss=loss, optimizer=optimizer)
    np.testing.assert_allclose(state.params["w"], 0.8)
