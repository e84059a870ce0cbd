# SPDX-License-Identifier: Apache-2.0
"""`ParallelBackward` against back-propagation written out, in all modes and orders."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import recurrent_jax as rj

TIME, BATCH, D, H = 9, 3, 2, 4
CELLS = {
    "indrnn": rj.IndRNN(H),
    "diagonal_gru": rj.DiagonalGRU(H),
    "diagonal_lstm": rj.DiagonalLSTM(H),
    "slstm": rj.SLSTM(H, heads=2),
    "gru": rj.GRU(H),  # one block, of all numbers
}


def draw(cell):
    keys = jax.random.split(jax.random.key(0), 3)
    params = cell.init(keys[0], D)
    xs = jax.random.normal(keys[1], (TIME, BATCH, D))
    carry = cell.initial_carry((BATCH,))
    carry = jax.tree.map(lambda a: jax.random.normal(keys[2], a.shape) ** 2, carry)
    return params, xs, carry


def score(cell, params, xs, carry, **options):
    rng = np.random.default_rng(0)
    flags = {
        "lengths": jnp.array([TIME, 4, 0]),
        "mask": rng.random((TIME, BATCH)) < 0.8,
        "resets": rng.random((TIME, BATCH)) < 0.3,
        "reset_carry": jax.tree.map(lambda a: a / 2, carry),
    }
    out = rj.unroll(cell, params, xs, carry=carry, **flags, **options)
    return sum(jnp.sum(jnp.sin(a)) for a in jax.tree.leaves(out)), out


def close(got, want, tol=1e-10):
    one = functools.partial(np.testing.assert_allclose, rtol=tol, atol=tol)
    jax.tree.map(one, got, want)


@pytest.mark.mostly_slow
@pytest.mark.parametrize("name, block", [(name, None) for name in CELLS] + [("gru", 4)])
@pytest.mark.parametrize("reverse", [False, True])
def test_values_and_gradients_are_those_of_autodiff(name, block, reverse, x64):
    cell = CELLS[name]
    given = draw(cell)

    def run(backward):
        of = functools.partial(score, cell, reverse=reverse, backward=backward)
        return jax.jit(jax.value_and_grad(of, (0, 1, 2), has_aux=True))(*given)

    close(run(rj.ParallelBackward(block)), run(rj.Autodiff()))


@pytest.mark.slow
def test_every_mode_and_order(x64):
    cell = CELLS["diagonal_lstm"]
    params, xs, carry = draw(cell)

    def every(backward):
        def f(params, xs):
            return score(cell, params, xs, carry, backward=backward)[0]

        slope = jax.grad(f, (0, 1))
        tangents = jax.tree.map(jnp.cos, (params, xs))

        def along(*primals):
            pairs = zip(*map(jax.tree.leaves, (slope(*primals), tangents)), strict=True)
            return sum(jnp.vdot(a, b) for a, b in pairs)

        return (
            jax.jvp(f, (params, xs), tangents),
            jax.jvp(slope, (params, xs), tangents),
            jax.grad(along, (0, 1))(params, xs),
            jax.vmap(slope, (None, 0))(params, jnp.stack([xs, 2 * xs])),
        )

    close(*(jax.jit(lambda b=b: every(b))() for b in (rj.ParallelBackward(), None)))


@dataclasses.dataclass(frozen=True)
class Leaky(rj.Cell):
    """A cell of a user, of public names."""

    hidden_size: int

    Carry = rj.cells.HiddenCarry

    def init(self, key, in_features, dtype=float):
        return jax.random.normal(key, (in_features, self.hidden_size), dtype)

    def project(self, params, x):
        return x @ params

    def recur(self, params, carry, z):
        h = jnp.tanh(carry.h / 2 + z)
        return rj.cells.HiddenCarry(h), h


NETWORKS = [
    rj.Deep((rj.DiagonalGRU(H), rj.Residual(rj.IndRNN(H)))),
    rj.Bidirectional(rj.LearnedCarry(rj.DiagonalLSTM(H))),
    rj.OutputDropout(rj.IndRNN(H), 0.4),
    Leaky(H),
]


@pytest.mark.slow
@pytest.mark.parametrize("network", NETWORKS, ids=lambda n: type(n).__name__)
def test_networks_wrappers_layouts_and_ranks(network, x64):
    params = network.init(jax.random.key(0), D)
    xs = jax.random.normal(jax.random.key(1), (2, TIME, BATCH, D))
    lengths = jnp.array([[TIME, 4, 0], [1, 2, 3]])
    options = {"time_axis": 1, "lengths": lengths, "key": jax.random.key(2)}

    def run(backward):
        def loss(params, xs):
            out = rj.unroll(network, params, xs, backward=backward, **options)
            return sum(jnp.sum(jnp.sin(a)) for a in jax.tree.leaves(out))

        return jax.jit(jax.value_and_grad(loss, (0, 1)))(params, xs)

    close(run(rj.ParallelBackward(4)), run(None))


@pytest.mark.parametrize("shape", [(0, 2), (3, 0)])
def test_no_steps_or_no_sequences(shape):
    cell = CELLS["indrnn"]
    params = cell.init(jax.random.key(0), D)
    options = {"backward": rj.ParallelBackward()}
    _, ys = rj.unroll(cell, params, jnp.ones((*shape, D)), **options)
    assert ys.shape == (*shape, H)


def loops(jaxpr):
    """Return how many loops over the steps a jaxpr has."""
    return str(jaxpr).count(f"length={TIME}")


def test_the_backward_pass_is_no_loop_over_the_steps(monkeypatch):
    """With a tree, the only loop left is that of the forward pass."""
    from recurrent_jax._newton import posed

    cell = CELLS["indrnn"]
    params, xs, carry = draw(cell)

    def gradient(backward):
        def loss(params):
            return rj.unroll(cell, params, xs, carry=carry, backward=backward)[1].sum()

        return jax.make_jaxpr(jax.grad(loss))(params)

    assert loops(gradient(rj.Autodiff())) == 2
    monkeypatch.setattr(posed, "Walk", posed.Tree)
    assert loops(gradient(rj.ParallelBackward())) == 1


@pytest.mark.parametrize(
    "cell, says",
    [
        (rj.GRU(40), "40 numbers of its state read each other, and at most 32 may"),
        (rj.BatchNormLSTM(3, max_steps=4), "its carry has int32 numbers"),
    ],
)
def test_what_it_refuses(cell, says):
    params = cell.init(jax.random.key(0), D)
    with pytest.raises(TypeError, match=rf"cannot run .*{says}.*rj\.Deferred\(\)"):
        rj.unroll(cell, params, jnp.ones((3, 2, D)), backward=rj.ParallelBackward())


def test_it_needs_steps():
    cell = rj.IndRNN(3)
    params = cell.init(jax.random.key(0), D)
    options = {"method": rj.Newton(), "backward": rj.ParallelBackward()}
    with pytest.raises(TypeError, match=r"needs method=rj\.Sequential\(\)"):
        rj.unroll(cell, params, jnp.ones((3, 2, D)), **options)
