# SPDX-License-Identifier: Apache-2.0
"""What is drawn: dropout, zoneout and weight-drop."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from parity.common import Draw, values_and_grads

import recurrent_jax as rj

T, B, D, H = 5, 3, 2, 4
KEY = jax.random.key(7)
NESTED = rj.OutputDropout(
    rj.Zoneout(rj.InputDropout(rj.RecurrentDropout(rj.LSTM(H), 0.4), 0.4), 0.3), 0.4
)
# A cell whose output is its input, so that a mask can be read off.
COPY = rj.Elman(50, activation=jax.nn.identity, use_bias=False)
EYE = rj.Elman.Params(jnp.eye(50), jnp.zeros((50, 50)), None)


def drawn(cell, dtype="float64"):
    """Return parameters and inputs, none of them zero."""
    draw = Draw(dtype)
    shapes = jax.eval_shape(lambda: cell.init(jax.random.key(0), D))
    return draw.like(shapes), draw(T, B, D)


def close(got, want):
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-10), got, want)


def masks(cell, key=KEY, batch=40):
    """Return what is left of ones, `(time, batch, features)`."""
    return np.asarray(rj.unroll(cell, EYE, jnp.ones((T, batch, 50)), key=key)[1])


# Input and output: the mask itself.


@pytest.mark.mostly_slow
@pytest.mark.parametrize("wrap", [rj.InputDropout, rj.OutputDropout])
@pytest.mark.parametrize("rate", [0.0, 0.3])
def test_one_mask_for_a_whole_sequence(wrap, rate):
    cell = wrap(COPY, rate)
    ys = masks(cell)
    values = [0, 1 / (1 - rate)] if rate else [1]
    np.testing.assert_allclose(np.unique(ys), values, rtol=1e-6)
    assert np.all(ys == ys[0])
    deviation = np.sqrt(rate * (1 - rate) / ys[0].size)
    assert abs((ys[0] == 0).mean() - rate) <= 4 * deviation
    if rate:  # no two sequences, and no two units, are alike
        assert np.all(ys[0].std(axis=0) > 0) and np.all(ys[0].std(axis=1) > 0)
        assert not np.array_equal(ys, masks(cell, jax.random.key(8)))
    assert np.all(rj.unroll(cell, EYE, jnp.ones((T, 50)))[1] == 1)


def test_the_output_is_dropped_and_the_state_is_not():
    carry, ys = rj.unroll(rj.OutputDropout(COPY, 0.5), EYE, jnp.ones((T, 50)), key=KEY)
    assert np.all(carry.h == 1)
    assert np.any(ys == 0)


def test_a_higher_cell_of_a_stack_draws_for_what_it_reads():
    cell = rj.Stack((COPY, rj.InputDropout(COPY, 0.3), rj.OutputDropout(COPY, 0.3)))
    ones = jnp.ones((T, 40, 50))
    ys = np.asarray(rj.unroll(cell, (EYE,) * 3, ones, key=KEY)[1])
    assert np.all(ys == ys[0])
    np.testing.assert_allclose(np.unique(ys), [0, 1 / 0.7**2], rtol=1e-6)
    assert (ys[0] > 0).mean() == pytest.approx(0.7**2, abs=0.06)
    assert np.all(rj.unroll(cell, (EYE,) * 3, ones)[1] == 1)


def test_the_input_goes_around_what_is_dropped():
    cell = rj.Residual(rj.InputDropout(COPY, 0.5))
    assert set(np.unique(masks(cell))) == {1.0, 3.0}  # 1, and 0 or 1 / 0.5


# Recurrent dropout.


def test_recurrent_dropout_is_a_loop_over_a_masked_state(x64):
    """The equations once more, from the paper: tied weights, one mask."""
    cell = rj.RecurrentDropout(rj.LSTM(H), 0.5)
    params, xs = drawn(cell)
    mask = np.asarray(cell.sample(KEY, xs, (T, B), "float64").noise.h)
    assert np.all(mask == mask[0]) and set(np.unique(mask)) == {0, 2}
    h, c, want = np.zeros((B, H)), np.zeros((B, H)), []
    for t in range(T):
        gates = xs[t] @ params.kernel + (mask[0] * h) @ params.recurrent_kernel
        i, f, g, o = np.split(gates + params.bias, 4, axis=-1)
        i, f, o = (1 / (1 + np.exp(-a)) for a in (i, f, o))
        c = f * c + i * np.tanh(g)
        h = o * np.tanh(c)
        want.append(h)
    carry, ys = rj.unroll(cell, params, xs, key=KEY)
    close((ys, carry), (np.stack(want), rj.LSTM.Carry(h, c)))


@pytest.mark.mostly_slow
@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_recurrent_dropout_is_that_of_keras_with_tied_masks(kind):
    keras = pytest.importorskip("keras", reason="Keras is an optional oracle")
    cell = rj.RecurrentDropout(getattr(rj, kind)(H), 0.5)
    params, xs = drawn(cell, "float32")
    noise = cell.sample(KEY, xs, (T, B), "float32").noise
    theirs = getattr(keras.layers, f"{kind}Cell")(
        H, recurrent_dropout=0.5, implementation=1
    )
    theirs.build((B, D))
    if kind == "GRU":  # its gates stand as z, r, n, and its bias has two rows
        order = np.r_[H : 2 * H, :H, 2 * H : 3 * H]
        zero = np.zeros(2 * H, "float32")
        second = np.concatenate([zero, params.recurrent_bias])
        bias = np.stack([params.bias[order], second])
        weights = params.kernel[:, order], params.recurrent_kernel[:, order], bias
    else:
        weights = params[:3]
    theirs.set_weights(weights)
    theirs._recurrent_dropout_mask = [jnp.asarray(noise.h[0])] * 4
    state, want = [jnp.zeros((B, H))] * (2 if kind == "LSTM" else 1), []
    for t in range(T):
        y, state = theirs(xs[t], state, training=True)
        want.append(np.asarray(y))
    _, ys = rj.unroll(cell, params, xs, key=KEY)
    np.testing.assert_allclose(ys, np.stack(want), 1e-5, 1e-5)


@pytest.mark.parametrize(
    "inside",
    [rj.GRU(H, reset_after=False), rj.Stack((rj.GRU(H), rj.GRU(H)))],
    ids=["reset_before", "stack"],
)
def test_recurrent_dropout_refuses_what_it_cannot_mask(inside):
    cell = rj.RecurrentDropout(inside, 0.5)
    params = cell.init(KEY, D)
    with pytest.raises(ValueError, match="^RecurrentDropout: .* outside of feedback"):
        rj.unroll(cell, params, jnp.ones((T, D)), key=KEY)
    rj.unroll(cell, params, jnp.ones((T, D)))  # nothing to mask


# Zoneout.


def test_zoneout_keeps_or_takes_exactly(x64):
    rates = rj.LSTM.Carry(h=0.3, c=0.6)
    cell = rj.Zoneout(rj.LSTM(H), rates)
    params, xs = drawn(cell)
    stays = cell.sample(KEY, xs, (T, B), "float64").noise
    carry, want = cell.initial_carry((B,)), []
    for t in range(T):
        after, _ = rj.LSTM(H).step(params, carry, xs[t])
        carry = rj.LSTM.Carry(
            *(
                np.where(s[t] > 0, a, b)
                for s, a, b in zip(stays, carry, after, strict=True)
            )
        )
        want.append(carry.h)
    got, ys = rj.unroll(cell, params, xs, key=KEY)
    close((got, ys), (carry, np.stack(want)))


def test_zoneout_draws_each_step_and_part_at_its_own_rate():
    cell = rj.Zoneout(rj.LSTM(50), rj.LSTM.Carry(h=0.3, c=0.6))
    xs = jnp.zeros((20, 30, D))
    stays = cell.sample(KEY, xs, (20, 30), "float32").noise
    for part, rate in zip(stays, (0.3, 0.6), strict=True):
        assert part.shape == (20, 30, 50)
        assert set(np.unique(part)) == {0, 1}
        deviation = np.sqrt(rate * (1 - rate) / part.size)
        assert abs(part.mean() - rate) < 4 * deviation
        alike = (part[1:] == part[:-1]).mean()  # anew at every step
        assert alike == pytest.approx(rate**2 + (1 - rate) ** 2, abs=0.02)
    assert rj.Zoneout(rj.GRU(H), 0.0).sample(KEY, xs, (20, 30)).noise.h is None


def test_zoneout_in_evaluation_is_the_mean_over_draws(x64):
    cell = rj.Zoneout(rj.LSTM(H), 0.3)
    params, xs = drawn(cell)
    start = Draw("float64", 1).like(cell.initial_carry((B,)))
    run = functools.partial(rj.unroll, cell, params, xs[:1], carry=start)
    want, _ = run()
    keys = jax.random.split(KEY, 4000)
    draws = jax.jit(jax.vmap(lambda key: run(key=key)[0]))(keys)
    after, _ = rj.unroll(cell.cell, params, xs[:1], carry=start)
    for got, mean, old, new in zip(draws, want, start, after, strict=True):
        error = np.sqrt(0.3 * 0.7 / 4000) * np.abs(new - old)
        assert np.all(np.abs(got.mean(0) - mean) < 5 * error + 1e-12)
        close(mean, 0.3 * old + 0.7 * new)


def test_zoneout_takes_one_rate_or_one_for_each_part():
    params = rj.LSTM(H).init(KEY, D)
    xs = jnp.ones((T, D))
    one, each = (
        rj.unroll(rj.Zoneout(rj.LSTM(H), rate), params, xs)
        for rate in (0.2, (0.2, 0.2))
    )
    assert all(map(np.array_equal, jax.tree.leaves(one), jax.tree.leaves(each)))


# All of them together.


def test_without_a_key_only_zoneout_acts(x64):
    params, xs = drawn(NESTED)
    plain = rj.Zoneout(rj.LSTM(H), 0.3)
    close(rj.unroll(NESTED, params, xs), rj.unroll(plain, params, xs))


@pytest.mark.slow
def test_the_same_key_gives_the_same_draws_in_any_strategy(x64):
    params, xs = drawn(NESTED)

    def run(backward, key, params, xs):
        return rj.unroll(NESTED, params, xs, key=key, backward=backward)

    plain, deferred = (
        functools.partial(run, b) for b in (rj.Autodiff(), rj.Deferred(block=2))
    )
    goal = Draw("float64", 3).like(jax.eval_shape(plain, KEY, params, xs))
    want = values_and_grads(functools.partial(plain, KEY), (params, xs), goal)
    got = values_and_grads(functools.partial(deferred, KEY), (params, xs), goal)
    close(got, want)
    close(plain(KEY, params, xs), want[0])  # and outside of jit
    assert not np.allclose(plain(jax.random.key(8), params, xs)[1], want[0][1])


@pytest.mark.slow
def test_the_same_keys_draw_the_same_under_vmap():
    xs = jnp.ones((T, B, D))

    def draw(key):
        return NESTED.sample(key, xs, (T, B), "float32")

    keys = jax.random.split(KEY, 2)
    each = jax.tree.map(lambda *a: jnp.stack(a), *map(draw, keys))
    both = jax.vmap(draw)(keys)
    assert all(map(np.array_equal, jax.tree.leaves(both), jax.tree.leaves(each)))


@pytest.mark.slow
def test_wrappers_nest_in_any_order():
    wraps = (rj.InputDropout, rj.OutputDropout, rj.RecurrentDropout, rj.Zoneout)
    for order in itertools.permutations(wraps):
        cell = rj.GRU(H)
        if order.index(rj.Zoneout) > order.index(rj.OutputDropout):
            continue  # refused
        for wrap in order:
            cell = wrap(cell, 0.1)

        def run(params, xs, cell=cell):
            return rj.unroll(cell, params, xs, key=KEY)

        shapes = jax.eval_shape(lambda cell=cell: cell.init(KEY, D))
        carry, ys = jax.eval_shape(run, shapes, jnp.ones((T, B, D)))
        assert (carry.h.shape, ys.shape) == ((B, H), (T, B, H))


@pytest.mark.parametrize(
    "inside",
    [
        rj.OutputDropout(rj.GRU(H), 0.1),
        rj.InputDropout(rj.Residual(rj.GRU(H)), 0.1),
        rj.Stack((rj.GRU(H), rj.Residual(rj.GRU(H)))),
    ],
    ids=["output_dropout", "residual", "top_of_a_stack"],
)
def test_zoneout_refuses_what_makes_another_output_of_the_state(inside):
    with pytest.raises(TypeError, match="^Zoneout: .* goes outside"):
        rj.Zoneout(inside, 0.1)


@pytest.mark.nans
def test_padding_changes_nothing_that_is_drawn(x64):
    params, xs = drawn(NESTED)
    lengths = np.array([3, 0, 5])

    def run(params, xs):
        return rj.unroll(NESTED, params, xs, lengths=lengths, key=KEY)

    valid = np.arange(T)[:, None] < lengths
    goal = Draw("float64", 3).like(jax.eval_shape(run, params, xs))
    clean = values_and_grads(run, (params, xs), goal)
    spoilt = np.where(valid[..., None], xs, np.nan)
    close(values_and_grads(run, (params, spoilt), goal), clean)


# Weight-drop.


@pytest.mark.slow
def test_weight_drop_drops_recurrent_weights_alone():
    params = rj.LSTM(60).init(KEY, D)
    dropped = rj.weight_drop(params, KEY, 0.3)
    U, kept = np.asarray(dropped.recurrent_kernel), params.recurrent_kernel
    deviation = np.sqrt(0.3 * 0.7 / U.size)
    assert abs((U == 0).mean() - 0.3) < 4 * deviation
    np.testing.assert_allclose(U[U != 0], (kept / 0.7)[U != 0], rtol=1e-6)
    assert dropped.kernel is params.kernel and dropped.bias is params.bias
    again = jax.jit(rj.weight_drop, static_argnums=2)(params, KEY, 0.3)
    np.testing.assert_allclose(again.recurrent_kernel, U, rtol=1e-6)


def test_weight_drop_finds_weights_wherever_they_are():
    network = rj.Deep((rj.Bidirectional(rj.GRU(H)), rj.LearnedCarry(rj.LSTM(H))))
    params = network.init(KEY, D)
    dropped = rj.weight_drop(params, KEY, 0.5)
    changed = {
        jax.tree_util.keystr(path)
        for (path, a), b in zip(
            jax.tree.leaves_with_path(params), jax.tree.leaves(dropped), strict=True
        )
        if not np.array_equal(a, b)
    }
    assert changed == {
        "[0].forward.recurrent_kernel",
        "[0].backward.recurrent_kernel",
        "[1].cell.recurrent_kernel",
    }
    only = rj.weight_drop(params, KEY, 0.5, names=("kernel",))
    assert np.any(only[0].forward.kernel == 0)
    assert only[0].forward.recurrent_kernel is params[0].forward.recurrent_kernel


def test_a_dropped_weight_has_no_gradient():
    cell = rj.Elman(H)
    params = cell.init(KEY, D)

    def loss(params):
        dropped = rj.weight_drop(params, KEY, 0.5)
        return rj.unroll(cell, dropped, jnp.ones((T, D)))[1].sum()

    zero = rj.weight_drop(params, KEY, 0.5).recurrent_kernel == 0
    assert 0 < zero.sum() < zero.size
    assert np.array_equal(jax.grad(loss)(params).recurrent_kernel == 0, zero)
