# SPDX-License-Identifier: Apache-2.0
"""Labels, decay and rates by label, and the optimiser that is made of them."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import recurrent_jax as rj
from recurrent_jax import training
from recurrent_jax.training import adamw, clipping, decayed, labels, relative_rates

CELL = rj.LSTM(3)


def params(cell=CELL):
    return cell.init(jax.random.key(0), 2)


def gradient(like, scale=1.0):
    leaves, tree = jax.tree.flatten(like)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    draws = [
        scale * jax.random.normal(k, leaf.shape)
        for k, leaf in zip(keys, leaves, strict=True)
    ]
    return jax.tree.unflatten(tree, draws)


def updates(transform, like, scales=(1.0,), **extra):
    """Return the updates of several gradients, one after another."""
    memory, every = transform.init(like), []
    transform = optax.with_extra_args_support(transform)
    with jax.numpy_dtype_promotion("standard"):
        for scale in scales:
            update, memory = transform.update(
                gradient(like, scale), memory, like, **extra
            )
            every.append(update)
    return every


def equal(one, other):
    jax.tree.map(np.testing.assert_array_equal, one, other)


def close(one, other):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), one, other)


def test_labels_go_by_names():
    got = labels(params(rj.GRU(3)))
    assert got == rj.GRU.Params("kernel", "recurrent_kernel", "bias", "bias")
    bare = labels(params(rj.Elman(3, use_bias=False)))
    assert bare == rj.Elman.Params("kernel", "recurrent_kernel", None)
    assert labels(params(rj.PeepholeLSTM(3))).peephole == "other"
    assert labels({"head": {"kernel": 0, "bias": 0}, "table": (0,)}) == {
        "head": {"kernel": "kernel", "bias": "bias"},
        "table": ("other",),
    }
    assert labels(jnp.ones(3)) == "other"
    assert labels({"recurrent_scale": 0, "recurrent_bias": 0}) == {
        "recurrent_scale": "other",
        "recurrent_bias": "bias",
    }


def test_networks_are_labelled_to_the_leaves():
    network = rj.Deep((rj.Bidirectional(rj.LSTM(2)), rj.GRU(2)))
    both, gru = labels(params(network))
    assert both.forward == both.backward == rj.LSTM.Params(*LSTM)
    assert gru == rj.GRU.Params(*LSTM, "bias")


LSTM = ("kernel", "recurrent_kernel", "bias")


@pytest.mark.slow
def test_an_ensemble_keeps_its_labels():
    stacked = jax.vmap(lambda k: CELL.init(k, 2))(jax.random.split(jax.random.key(0)))
    assert stacked.bias.ndim == 2
    assert not decayed(stacked).bias


@pytest.mark.slow
def test_decay_is_of_kernels_alone():
    network = rj.Deep((rj.PeepholeLSTM(3), rj.LSTM(3)))
    weights = jax.tree.map(jnp.ones_like, params(network))
    still = jax.tree.map(jnp.zeros_like, weights)
    transform = adamw(0.1, weight_decay=0.5, max_norm=None)
    with jax.numpy_dtype_promotion("standard"):
        update, _ = transform.update(still, transform.init(weights), weights)
    for layer in update:
        np.testing.assert_allclose(layer.kernel, -0.05, rtol=1e-6)
        np.testing.assert_allclose(layer.recurrent_kernel, -0.05, rtol=1e-6)
        assert not layer.bias.any()
    assert not update[0].peephole.any()


def test_rates_scale_what_adam_returns():
    rates = {"recurrent_kernel": 0.25, "bias": 0.0}
    one = updates(optax.adam(0.1), params())[0]
    two = updates(optax.chain(optax.adam(0.1), relative_rates(rates)), params())[0]
    np.testing.assert_allclose(two.kernel, one.kernel)
    np.testing.assert_allclose(two.recurrent_kernel, 0.25 * one.recurrent_kernel)
    assert one.bias.any() and not two.bias.any()


def test_rates_leave_absent_parts_alone():
    bare = params(rj.LSTM(3, use_bias=False))
    assert updates(relative_rates({"bias": 0.0}), bare)[0].bias is None


def test_adamw_is_a_chain_of_optax():
    schedule = optax.warmup_cosine_decay_schedule(0.0, 0.1, 2, 8)
    rates = {"recurrent_kernel": 0.5}
    ours = adamw(schedule, weight_decay=0.1, max_norm=0.5, max_value=0.1, rates=rates)
    scale = {k: optax.scale(rates.get(k, 1.0)) for k in LSTM}
    theirs = optax.chain(
        optax.clip_by_global_norm(0.5),
        optax.clip(0.1),
        optax.adamw(schedule, weight_decay=0.1, mask=rj.LSTM.Params(True, True, False)),
        optax.partition(scale, rj.LSTM.Params(*LSTM)),
    )
    scales = (1.0, 10.0, 0.1)
    equal(updates(ours, params(), scales), updates(theirs, params(), scales))


@pytest.mark.nans
def test_updates_that_are_not_finite_are_skipped_so_often():
    scales = (1.0, np.nan, np.inf, 1.0)
    ours = updates(adamw(0.1, skip=2), params(), scales)
    without = updates(adamw(0.1), params(), (1.0, 1.0))
    close(ours[0], without[0])
    for skipped in ours[1:3]:
        assert not any(leaf.any() for leaf in jax.tree.leaves(skipped))
    close(ours[3], without[1])
    let_through = updates(adamw(0.1, skip=1), params(), scales)[2]
    assert np.isnan(let_through.kernel).any()


def test_the_rate_falls_where_the_loss_stays():
    plateau = optax.contrib.reduce_on_plateau(factor=0.5, patience=2)
    optimizer = adamw(0.1, plateau=plateau, skip=1)

    def loss(theta, carry, value, key):
        # A loss that the parameters do not lower, and a gradient that stays.
        return value + theta - jax.lax.stop_gradient(theta), None

    state = training.init_state(jnp.zeros(()), optimizer, key=jax.random.key(0))
    run = jax.jit(
        functools.partial(training.train_step, loss=loss, optimizer=optimizer)
    )
    moves = []
    for _ in range(8):
        after, _ = run(state, jnp.ones(()))
        moves.append(float(after.params - state.params))
        state = after
    relative = np.array(moves) / moves[0]
    np.testing.assert_allclose(
        relative, [1, 1, 0.5, 0.5, 0.25, 0.25, 0.125, 0.125], rtol=1e-3
    )


@pytest.mark.slow
def test_the_ratio_bounds_each_unit_by_its_weights():
    weights = params()
    for scale in (1e-4, 1e3):
        update = updates(clipping(max_ratio=0.1), weights, (scale,))[0]
        slope = gradient(weights, scale)
        for name in ("kernel", "recurrent_kernel"):
            w, g, u = (np.asarray(getattr(x, name)) for x in (weights, slope, update))
            norms = [np.linalg.norm(x, axis=0) for x in (w, g, u)]
            bound = 0.1 * np.maximum(norms[0], 1e-3)
            np.testing.assert_allclose(norms[2], np.minimum(norms[1], bound), rtol=1e-5)
            cosine = (g * u).sum(0) / norms[1] / norms[2]
            np.testing.assert_allclose(cosine, 1, rtol=1e-5)


@pytest.mark.parametrize(
    "mistake, text",
    [
        (lambda: relative_rates({"weights": 0.1}), "must be by the labels"),
        (lambda: relative_rates({"bias": -0.1}), "rates['bias'] must be at least 0"),
        (lambda: relative_rates({"bias": np.nan}), "must be at least 0, got nan"),
        (lambda: adamw(0.1, weight_decay=-1.0), "weight_decay must be at least 0"),
        (lambda: adamw(0.1, skip=-1), "skip must be at least 0"),
        (lambda: adamw(0.1, max_ratio=0.0), "max_ratio must be above 0"),
    ],
)
def test_what_does_not_fit_is_refused(mistake, text):
    with pytest.raises(ValueError) as error:
        mistake()
    assert text in str(error.value)
