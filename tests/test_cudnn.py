# SPDX-License-Identifier: Apache-2.0
"""`CuDNN` with JAX's description of cuDNN in the place of cuDNN."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from devices import GPU, place
from jax.experimental import rnn

import recurrent_jax as rj
from recurrent_jax.methods import Flags, Loop, _cudnn

TIME, BATCH, D, H = 6, 4, 3, 5


def described(xs, h, c, weights, lengths, *sizes):
    """Return what cuDNN computes, from the flat weights that it takes."""
    D, H, layers, _, bidirectional = sizes
    assert lengths.dtype == "int32" and xs.shape[0] == lengths.shape[0]
    arrays = rnn.unpack_lstm_weights(weights, D, H, layers, bidirectional)
    return rnn.lstm_ref(xs, h, c, *arrays, lengths, *sizes)


@pytest.fixture
def seen(monkeypatch):
    """Put the description in the place of cuDNN; return the weights that it got."""
    found = []

    def lstm(xs, h, c, weights, *rest):
        found.append(weights)
        return described(xs, h, c, weights, *rest)

    monkeypatch.setattr(rnn, "lstm", lstm)
    monkeypatch.setattr(_cudnn, "kind_of", lambda arrays: GPU)
    return found


def draw(cell, batch=(BATCH,)):
    rng = np.random.default_rng(0)
    like = jax.eval_shape(lambda: cell.init(jax.random.key(0), D, "float32"))
    like = like, jax.ShapeDtypeStruct((TIME, *batch, D), "float32")
    like = *like, cell.initial_carry(batch)
    return jax.tree.map(
        lambda a: jnp.asarray(rng.normal(size=a.shape), "float32"), like
    )


LENGTHS = np.array([6, 2, 0, 3])
MASK = np.random.default_rng(2).random((TIME, BATCH)) < 0.6
HOW = {
    "lengths": {"lengths": LENGTHS},
    "reversed": {"reverse": True},
    "both reversed": {"mask": MASK, "lengths": LENGTHS, "reverse": True},
}


@pytest.mark.mostly_slow
@pytest.mark.parametrize("how", HOW)
def test_values_and_gradients_are_those_of_the_loop(how, seen):
    cell = rj.LSTM(H, use_bias=how != "reversed")

    @functools.partial(jax.jit, static_argnums=0)
    @functools.partial(jax.value_and_grad, argnums=1, has_aux=True)
    def run(method, given):
        params, xs, carry = given
        out = rj.unroll(cell, params, xs, carry=carry, method=method, **HOW[how])
        leaves = jax.tree.leaves(out)
        return sum(jnp.sum(jnp.sin(a * (2 + i))) for i, a in enumerate(leaves)), out

    given = draw(cell)
    got, want = (run(method, given) for method in (rj.CuDNN(), rj.Sequential()))
    close = functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-5)
    jax.tree.map(close, got, want)


@pytest.mark.parametrize("how", HOW)
def test_nothing_of_a_skipped_step_passes(how, seen):
    cell = rj.LSTM(H)
    params, xs, _ = draw(cell)
    reads = HOW[how].get("mask", np.ones((TIME, BATCH), bool))
    if "lengths" in HOW[how]:
        reads = reads & (np.arange(TIME)[:, None] < LENGTHS)

    @jax.jit
    @functools.partial(jax.value_and_grad, argnums=(0, 1))
    def run(params, xs):
        carry, ys = rj.unroll(cell, params, xs, method=rj.CuDNN(), **HOW[how])
        return jnp.sum(carry.c) + jnp.sum(ys**2)

    filled = (jnp.where(reads[..., None], xs, fill) for fill in (0.0, jnp.nan))
    want, got = (run(params, xs) for xs in filled)
    jax.tree.map(np.testing.assert_array_equal, got, want)


@pytest.mark.slow
@pytest.mark.parametrize("backward", [rj.Checkpointed(2), rj.Truncated(4)], ids=repr)
def test_with_other_strategies(backward, seen):
    cell = rj.LSTM(H)
    params, xs, _ = draw(cell)

    @functools.partial(jax.jit, static_argnums=0)
    def gradient(method):
        def loss(params):
            how = {"method": method, "backward": backward}
            return jnp.sum(jnp.sin(rj.unroll(cell, params, xs, **how)[1]))

        return jax.grad(loss)(params)

    got, want = gradient(rj.CuDNN()), gradient(rj.Sequential())
    jax.tree.map(functools.partial(np.testing.assert_allclose, atol=1e-5), got, want)


def test_several_batch_axes_and_batch_major(seen):
    cell = rj.LSTM(H)
    params, xs, carry = draw(cell, (2, 2))
    xs = jnp.moveaxis(xs, 0, 2)
    run = functools.partial(rj.unroll, cell, params, xs, time_axis=2, carry=carry)
    got, want = run(method=rj.CuDNN()), run(method=rj.Sequential())
    jax.tree.map(functools.partial(np.testing.assert_allclose, atol=1e-6), got, want)


def test_the_weights_are_those_of_the_converter(seen):
    cell = rj.LSTM(H)
    params, xs, _ = draw(cell)
    loop = Loop(cell, params, xs, Flags(None, None), None, False, (BATCH,), 0, None)
    rj.CuDNN().run(loop, cell.initial_carry((BATCH,)))
    np.testing.assert_array_equal(seen[0], rj.convert.to_cudnn(cell, params))


@pytest.mark.parametrize("batch, time", [((0,), TIME), ((BATCH,), 0)])
def test_nothing_to_run(batch, time, seen):
    cell = rj.LSTM(H)
    params, xs, _ = draw(cell, batch)
    _, ys = rj.unroll(cell, params, xs[:time], method=rj.CuDNN())
    assert ys.shape == (time, *batch, H) and not seen


RESETS = np.zeros((TIME, BATCH), bool)
REFUSED = [
    (rj.GRU(H), GPU, "float32", {}, "JAX calls cuDNN for an LSTM, and not for GRU"),
    (rj.Zoneout(rj.LSTM(H), 0.1), GPU, "float32", {}, "Zoneout changes the step"),
    (rj.LSTM(H, activation=jax.nn.relu), GPU, "float32", {}, "activation=.*relu"),
    (rj.LSTM(H), GPU, "bfloat16", {}, "for float32, and the arrays are bfloat16"),
    (rj.LSTM(H), "cpu", "float32", {}, "GPU of NVIDIA, and the arrays are on 'cpu'"),
    (rj.LSTM(H), GPU, "float32", {"resets": RESETS}, "cuDNN has no resets"),
]


@pytest.mark.parametrize("cell, kind, dtype, how, reason", REFUSED)
def test_refused(cell, kind, dtype, how, reason):
    params = jax.eval_shape(lambda: cell.init(jax.random.key(0), D))
    xs = jax.ShapeDtypeStruct((TIME, BATCH, D), "float32")
    run = functools.partial(rj.unroll, cell, method=rj.CuDNN(), **how)
    with pytest.raises(TypeError, match=rf"CuDNN\(\) cannot run .*{reason}") as error:
        jax.eval_shape(run, *place((params, xs), kind, dtype))
    assert str(error.value).endswith("; rj.Sequential() runs every cell")
