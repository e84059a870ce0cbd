# SPDX-License-Identifier: Apache-2.0
"""`rj.online`: against back-propagation, a product of Jacobians in NumPy, and means."""

import functools

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import recurrent_jax as rj
from recurrent_jax.online._influence import Dense, Grouped

pytestmark = pytest.mark.usefixtures("strict_ranks", "small_heap")
TIME, BATCH, D = 6, 2, 3
RNG = np.random.default_rng(0)
VALID = RNG.random((TIME, BATCH)) < 0.8
RESETS = RNG.random((TIME, BATCH)) < 0.3
INDRNN = rj.IndRNN(3, activation=jnp.tanh)


def draw(cell):
    params = cell.init(jax.random.key(0), D)
    params = jax.tree.map(lambda a: a + 0.1, params)
    xs = jax.random.normal(jax.random.key(1), (TIME, BATCH, D))
    ys = jax.eval_shape(lambda: rj.unroll(cell, params, xs)[1])
    return params, xs, jax.random.normal(jax.random.key(2), ys.shape)


def online(learner, params, xs, ws, flags, key=None):
    """Return the sum of the gradients of all steps, and the outputs."""

    def body(state, now):
        x, w, valid, reset = now
        state, y = learner.step(params, state, x, valid=valid, reset=reset)
        return state, (learner.gradient(state, w), y)

    start = learner.init(params, xs[0], key=key)
    _, (slopes, ys) = jax.lax.scan(body, start, (xs, ws, *flags))
    return jax.tree.map(lambda a: a.sum(0), slopes), ys


def through_time(cell, params, xs, ws, flags):
    def loss(params):
        ys = rj.unroll(cell, params, xs, mask=flags[0], resets=flags[1])[1]
        return jnp.sum(ys * ws), ys

    return jax.grad(loss, has_aux=True)(params)


def close(got, want, tol=1e-10):
    one = functools.partial(np.testing.assert_allclose, rtol=tol, atol=tol)
    jax.tree.map(one, got, want)


STACK = rj.Stack((rj.IndRNN(2, activation=jnp.tanh), rj.Residual(rj.Elman(2))))
EXACT = {
    "gru": (rj.GRU(2), rj.online.RTRL, Dense),
    "indrnn": (INDRNN, rj.online.RTRL, Grouped),
    "indrnn_snap": (INDRNN, rj.online.SnAp1, Grouped),
    "diagonal_gru": (rj.DiagonalGRU(2), rj.online.RTRL, Grouped),
    "lru": (rj.LRU(2), rj.online.RTRL, Grouped),
    "stack": (STACK, rj.online.RTRL, Dense),
    "learned_carry": (rj.LearnedCarry(INDRNN), rj.online.RTRL, Grouped),
    "snap_2": (rj.Elman(2), rj.online.SnAp2, Dense),
}


@pytest.mark.mostly_slow
@pytest.mark.parametrize("name", EXACT)
def test_exact_learners_are_back_propagation(name, x64):
    cell, learner, form = EXACT[name]
    learner = learner(cell)
    args = *draw(cell), (VALID, RESETS)
    assert isinstance(learner._influence(args[0], args[1][0]), form)
    got = jax.jit(functools.partial(online, learner))(*args)
    close(got, jax.jit(functools.partial(through_time, cell))(*args))


@pytest.mark.slow
def test_what_is_exact_for_one_layer_and_for_a_stack(x64):
    """Of diagonal cells, whose units have one number or two."""
    one = rj.DiagonalGRU(2)
    stack = rj.Stack((one, one))

    def numbers(learner):
        params, xs, _ = draw(learner.cell)
        kept = jax.eval_shape(learner.init, params, xs[0]).memory
        P = sum(leaf.size for leaf in jax.tree.leaves(params))
        return sum(leaf.size for leaf in jax.tree.leaves(kept)) / BATCH / P

    def error(learner):
        args = *draw(learner.cell), (None, None)
        got, want = (
            jax.flatten_util.ravel_pytree(jax.jit(run)(*args)[0])[0]
            for run in (
                functools.partial(online, learner),
                functools.partial(through_time, learner.cell),
            )
        )
        return jnp.linalg.norm(got - want) / jnp.linalg.norm(want)

    RTRL, SnAp1, EProp = rj.online.RTRL, rj.online.SnAp1, rj.online.EProp
    assert numbers(RTRL(one)) == numbers(SnAp1(one)) == 1
    assert numbers(RTRL(stack)) == numbers(SnAp1(stack)) == 4  # S
    # RTRL of both cells, dense and in groups, is tested above.
    assert error(SnAp1(stack)) < 1e-10
    two = rj.DiagonalLSTM(2)
    assert error(SnAp1(two)) < 1e-10
    assert error(SnAp1(rj.Stack((two, two)))) > 1e-4
    assert error(EProp(stack)) > 1e-3


@pytest.mark.slow
def test_a_product_of_jacobians_in_numpy(x64):
    """RTRL, SnAp1 and e-prop of an Elman network, written out."""
    cell = rj.Elman(3)
    params, xs, ws = draw(cell)
    W, U, b = (np.asarray(p) for p in (params[0], params[1], params[2]))

    def influence(keep, local):
        dU, total = np.zeros((BATCH, 3, 3, 3)), np.zeros((3, 3))
        h = np.zeros((BATCH, 3))
        for x, w in zip(np.asarray(xs), np.asarray(ws), strict=True):
            after = np.tanh(x @ W + h @ U + b)
            slope = 1 - after**2
            J = slope[:, :, None] * U.T
            direct = np.einsum("bi,bj,ik->bijk", slope, h, np.eye(3))
            through = np.einsum("bil,bljk->bijk", J, dU)
            total += np.einsum("bi,bijk->jk", w, through + direct)
            dU = keep * (direct if local else through + direct)
            h = after
        return total

    own = np.broadcast_to(np.eye(3)[:, None], (3, 3, 3))
    flags = None, None
    for learner, want in (
        (rj.online.RTRL, influence(1, False)),
        (rj.online.SnAp1, influence(own, False)),
        (rj.online.EProp, influence(1, True)),
    ):
        got = jax.jit(functools.partial(online, learner(cell)))(params, xs, ws, flags)
        close(got[0].recurrent_kernel, want)


@pytest.mark.slow
def test_the_mask_of_a_sparse_kernel(x64):
    """SnAp2 of a cycle of units reaches the next unit and no further."""
    cell = rj.Elman(4, use_bias=False)
    params = cell.init(jax.random.key(0), D)
    params = params._replace(recurrent_kernel=jnp.roll(jnp.eye(4), 1, axis=1) / 2)
    mask = rj.online.SnAp2(cell).init(params, jnp.ones(D)).fixed
    want = np.eye(4) + np.roll(np.eye(4), 1, axis=1)
    np.testing.assert_array_equal(mask.kernel[:, 0], want.T > 0)


UNBIASED = {
    "uoro": rj.online.UORO(rj.GRU(2)),
    "uoro_start": rj.online.UORO(rj.LearnedCarry(rj.Elman(2))),
    "kf_rtrl": rj.online.KFRTRL(rj.LSTM(2)),
    "kf_rtrl_plain": rj.online.KFRTRL(rj.Elman(2, use_bias=False)),
}


def draws_of(learner, args, count=4000):
    """Return the gradients for many keys, and that of back-propagation, flat."""
    want = jax.jit(functools.partial(through_time, learner.cell))(*args)[0]
    run = jax.jit(jax.vmap(lambda key: online(learner, *args, key)[0]))
    draws = run(jax.random.split(jax.random.key(3), count))
    flat = [np.reshape(d, (count, -1)) for d in jax.tree.leaves(draws)]
    return np.concatenate(flat, 1), np.asarray(jax.flatten_util.ravel_pytree(want)[0])


@pytest.mark.mostly_slow
@pytest.mark.parametrize("name", UNBIASED)
def test_the_mean_is_that_of_back_propagation(name, x64):
    """Within its standard error, number by number."""
    learner = UNBIASED[name]
    # A reset leaves few of the signs of KF-RTRL, which are two for each step.
    flags = (VALID, RESETS) if name.startswith("uoro") else (VALID, None)
    draws, want = draws_of(learner, (*draw(learner.cell), flags))
    error = draws.std(0) / np.sqrt(len(draws)) + 1e-12
    z = (draws.mean(0) - want) / error
    assert np.abs(z).max() < 4.5  # standard errors; about 40 numbers
    assert 0.5 < np.sqrt(np.mean(z**2)) < 1.6


@pytest.mark.slow
def test_kf_rtrl_is_less_noisy_than_uoro(x64):
    cell = rj.Elman(3)
    args = *draw(cell), (None, None)
    noise = []
    for learner in (rj.online.KFRTRL(cell), rj.online.UORO(cell)):
        draws, want = draws_of(learner, args, count=500)
        noise.append(np.mean((draws - want[None]) ** 2))
    assert noise[0] < 0.5 * noise[1]


def test_learning_online_with_optax():
    """One update at each step, in one `lax.scan`."""
    cell, time = rj.GRU(4), 400
    learner, optimiser = rj.online.RTRL(cell), optax.adam(0.02)
    params = cell.init(jax.random.key(0), 1)
    xs = jax.random.normal(jax.random.key(1), (time, 1))
    target = jnp.concatenate([jnp.zeros((1, 1)), jnp.tanh(xs[:-1])])

    def body(now, pair):
        params, moments, state = now
        x, want = pair
        state, y = learner.step(params, state, x)
        error = y[:1] - want
        slope = jnp.zeros_like(y).at[:1].set(2 * error)
        updates, moments = optimiser.update(learner.gradient(state, slope), moments)
        params = optax.apply_updates(params, updates)
        return (params, moments, state), jnp.sum(error**2)

    start = params, optimiser.init(params), learner.init(params, xs[0])
    with jax.numpy_dtype_promotion("standard"):  # as Optax needs it
        losses = jax.jit(lambda: jax.lax.scan(body, start, (xs, target))[1])()
    assert losses[-100:].mean() < 0.5 * losses[:100].mean()


def test_wrong_calls():
    cell = rj.GRU(2)
    params, xs, ws = draw(cell)
    learner = rj.online.RTRL(cell)
    state = learner.init(params, xs[0])
    with pytest.raises(TypeError, match="RTRL: cell is the class GRU"):
        rj.online.RTRL(rj.GRU)
    with pytest.raises(ValueError, match=r"UORO\.init: key is None"):
        rj.online.UORO(cell).init(params, xs[0])
    with pytest.raises(TypeError, match=r"KFRTRL\.init: params of cell GRU.*UORO"):
        rj.online.KFRTRL(cell).init(params, xs[0], key=jax.random.key(0))
    with pytest.raises(TypeError, match="EProp: cell LRU.*SnAp1"):
        rj.online.EProp(rj.LRU(2))
    with pytest.raises(TypeError, match="state must be an OnlineState"):
        learner.step(params, xs[0], state)
    with pytest.raises(TypeError, match=r"RTRL\.step: valid must be bool"):
        learner.step(params, state, xs[0], valid=jnp.ones(BATCH))
    with pytest.raises(ValueError, match=r"reset must be bool of the batch shape"):
        learner.step(params, state, xs[0], reset=jnp.ones(3, bool))
    with pytest.raises(ValueError, match="cotangent must be like the output"):
        learner.gradient(state, jnp.ones(2))
    with pytest.raises(TypeError, match=r"RTRL\.step: state.carry must be"):
        learner.step(params, state, xs[0, :1])
    with pytest.raises(TypeError, match=r"RTRL\.step: state.memory must be"):
        learner.step(params, state._replace(memory=state.carry), xs[0])
    with pytest.raises(TypeError, match=r"RTRL\.gradient: state must be an OnlineS"):
        learner.gradient(state.carry, ws[0])
