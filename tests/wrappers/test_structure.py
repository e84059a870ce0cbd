# SPDX-License-Identifier: Apache-2.0
"""What is built: stacks, residuals, learned starts and other recurrent matrices."""

import functools
import math
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import CELLS
from parity.common import Draw, assert_same, values_and_grads

import recurrent_jax as rj

T, B, D, H = 5, 3, 2, 4
KEY = jax.random.key(7)


def drawn(cell, seed=0, dtype="float64"):
    draw = Draw(dtype, seed)
    shapes = jax.eval_shape(lambda: cell.init(KEY, D))
    return draw.like(shapes), draw(T, B, D)


def same(got, want):
    assert_same(got, want, 1e-10, "float64")


WRAPPERS = [name for name in CELLS if isinstance(CELLS[name], rj.Wrapper | rj.Stack)]


@pytest.mark.parametrize("name", WRAPPERS)
def test_a_wrapper_is_a_value(name):
    cell = CELLS[name]
    names = {**vars(rj), **vars(rj.cells)}
    for twin in (eval(repr(cell), names), pickle.loads(pickle.dumps(cell))):
        assert twin == cell
        assert hash(twin) == hash(cell)
        assert repr(twin) == repr(cell)


# Stack and Residual.


@pytest.mark.slow
def test_a_stack_is_a_deep_network_in_one_loop(x64):
    cells = (rj.Elman(H), rj.GRU(3))
    stack, deep = rj.Stack(cells), rj.Deep(cells)
    params, xs = drawn(stack)
    assert jax.tree.structure(params) == jax.tree.structure(deep.init(KEY, D))
    lengths, resets = np.array([5, 2, 0]), np.arange(T * B).reshape(T, B) % 7 == 3

    def run(cell, params, xs, carry):
        options = {"lengths": lengths, "resets": resets, "reset_carry": carry}
        return rj.unroll(cell, params, xs, carry=carry, **options)

    carry = Draw("float64", 1).like(stack.initial_carry((B,)))
    args, runs = (params, xs, carry), [functools.partial(run, c) for c in (stack, deep)]
    goal = Draw("float64", 2).like(jax.eval_shape(runs[0], *args))
    same(*(values_and_grads(r, args, goal) for r in runs))


@pytest.mark.slow
def test_a_stack_steps_through_a_stream(x64):
    cell = rj.Stack((rj.LSTM(H), rj.Residual(rj.GRU(H))))
    params, xs = drawn(cell)
    carry, ys = cell.initial_carry((B,)), []
    for x in xs:
        carry, y = cell.step(params, carry, x)
        ys.append(y)
    same((carry, jnp.stack(ys)), rj.unroll(cell, params, xs))


def test_a_residual_adds_its_input(x64):
    params, xs = drawn(rj.GRU(D))
    carry, ys = rj.unroll(rj.GRU(D), params, xs)
    same(rj.unroll(rj.Residual(rj.GRU(D)), params, xs), (carry, ys + xs))


def test_the_carry_of_every_step_beside_the_output(x64):
    cell = rj.WithCarry(rj.LSTM(H))
    params, xs = drawn(cell)
    mask = np.arange(T * B).reshape(T, B) % 5 != 2
    last, (ys, carries) = rj.unroll(cell, params, xs, mask=mask)
    same((last, ys), rj.unroll(rj.LSTM(H), params, xs, mask=mask))
    carry, ones = cell.initial_carry((B,)), []
    for x, runs in zip(xs, mask, strict=True):
        new, _ = rj.LSTM(H).step(params, carry, x)
        carry = jax.tree.map(lambda a, b: jnp.where(runs[:, None], a, b), new, carry)
        ones.append(jax.tree.map(lambda a: jnp.where(runs[:, None], a, 0.0), carry))
    same(carries, jax.tree.map(lambda *s: jnp.stack(s), *ones))
    middle = jax.tree.map(lambda s: s[1], rj.unroll(cell, params, xs)[1].carry)
    rest = rj.unroll(cell, params, xs[2:], carry=middle)[1]
    same(rest, jax.tree.map(lambda s: s[2:], rj.unroll(cell, params, xs)[1]))


def test_what_is_done_to_a_carry_is_recorded():
    cell = rj.WithCarry(rj.GRU(H))
    zoned = rj.Zoneout(cell, 0.5)
    params, xs = drawn(cell, dtype="float32")
    last, (ys, carries) = rj.unroll(zoned, params, xs)
    want, hs = rj.unroll(rj.Zoneout(rj.GRU(H), 0.5), params, xs)
    for got in (last.h, carries.h[-1]):
        np.testing.assert_array_equal(got, want.h)
    np.testing.assert_array_equal(ys, hs)
    assert not rj.WithCarry(rj.LRU(H)).linear


def test_stacks_of_stacks_and_images():
    image = rj.ConvLSTM(2, spatial_shape=(3, 4))
    inner = rj.Stack((rj.Residual(image), rj.OutputDropout(image, 0.5)))
    cell = rj.Stack((image, inner))
    params = jax.eval_shape(lambda: cell.init(KEY, in_features=3))
    xs = jnp.ones((T, B, 3, 4, 3))
    _, ys = jax.eval_shape(lambda p: rj.unroll(cell, p, xs, key=KEY), params)
    assert ys.shape == (T, B, 3, 4, 2)


@pytest.mark.parametrize("kind", [rj.Stack, rj.Deep])
def test_irregular_time_reaches_the_lowest_cell(kind):
    cell = kind((rj.TimeAwareLSTM(H), rj.OutputDropout(rj.GRU(3), 0.5)))
    xs = rj.cells.Timed(jnp.ones((T, B, D)), jnp.ones((T, B)))
    params = jax.eval_shape(lambda: cell.init(KEY, D))
    _, ys = jax.eval_shape(lambda p: rj.unroll(cell, p, xs, key=KEY), params)
    assert ys.shape == (T, B, 3)


# LearnedCarry.


def test_a_learned_start_is_where_runs_and_resets_begin(x64):
    cell = rj.LearnedCarry(rj.LSTM(H))
    params, xs = drawn(cell)
    start = jax.tree.map(lambda s: jnp.broadcast_to(s, (B, H)), params.carry)
    resets = np.zeros((T, B), bool)
    resets[2] = True
    _, ys = rj.unroll(cell, params, xs, resets=resets)
    for part in (slice(0, 2), slice(2, T)):
        same(ys[part], rj.unroll(rj.LSTM(H), params.cell, xs[part], carry=start)[1])
    given = rj.LSTM(H).initial_carry((B,))
    want = rj.unroll(rj.LSTM(H), params.cell, xs, carry=given)
    same(rj.unroll(cell, params, xs, carry=given), want)


def test_the_gradient_of_a_start_adds_up_all_starts(x64):
    cell = rj.LearnedCarry(rj.GRU(H))
    params, xs = drawn(cell)
    resets = np.zeros((T, B), bool)
    resets[3, 1] = True

    def loss(carry, fresh):
        options = {"carry": carry, "resets": resets, "reset_carry": fresh}
        _, ys = rj.unroll(rj.GRU(H), params.cell, xs, **options)
        return jnp.sum(ys**2)

    def learned(params):
        return jnp.sum(rj.unroll(cell, params, xs, resets=resets)[1] ** 2)

    start = jax.tree.map(lambda s: jnp.broadcast_to(s, (B, H)), params.carry)
    carry, fresh = jax.grad(loss, (0, 1))(start, start)
    same(jax.grad(learned)(params).carry.h, carry.h.sum(0) + fresh.h.sum(0))


def test_a_fresh_learned_start_is_the_usual_one():
    params = rj.LearnedCarry(rj.LSTM(H)).init(KEY, D)
    assert not any(np.any(part) for part in params.carry)
    plain = rj.LSTM(H).init(KEY, D)
    assert all(
        map(np.array_equal, jax.tree.leaves(params.cell), jax.tree.leaves(plain))
    )


# Structured.


OPERATORS = {
    "block_diagonal": (rj.operators.BlockDiagonal(3), 6 * 2),
    "low_rank": (rj.operators.LowRank(2), 2 * 6 * 2),
    "diagonal": (rj.operators.Diagonal(), 6),
    "orthogonal": (rj.operators.Orthogonal(), 36),
    "masked": (rj.operators.Masked(rj.operators.RandomWiring(0.5), excitatory=0.5), 36),
}


def matrices(cell, params):
    U = cell.prepare(params).recurrent_kernel
    return np.asarray(U).reshape(6, -1, 6).swapaxes(0, 1)


def holds(name, U):
    if name == "block_diagonal":
        off = np.kron(np.eye(3), np.ones((2, 2))) == 0
        return np.all(U[off] == 0) and np.all(U[~off] != 0)
    if name == "low_rank":
        return np.linalg.matrix_rank(U) == 2
    if name == "diagonal":
        return np.all(U == np.diag(np.diag(U)))
    if name == "orthogonal":
        return np.allclose(U @ U.T, np.eye(6), atol=1e-12) and np.linalg.det(U) > 0
    wired = rj.operators.RandomWiring(0.5)(6, 6)
    signs = np.where(np.arange(6)[:, None] < 3, 1, -1)
    return np.array_equal(np.sign(U), signs * wired)


@pytest.mark.slow
@pytest.mark.parametrize("name", OPERATORS)
@pytest.mark.parametrize("inside", [rj.Elman(6), rj.LSTM(6)], ids=["elman", "lstm"])
def test_a_structure_holds_at_first_and_after_any_change(name, inside, x64):
    operator, numbers = OPERATORS[name]
    cell = rj.Structured(inside, operator)
    fresh = cell.init(KEY, D)
    stored = jax.tree.leaves(fresh.recurrent_kernel)
    gates = 4 if isinstance(inside, rj.LSTM) else 1
    assert sum(math.prod(a.shape) for a in stored) == gates * numbers
    for params in (fresh, drawn(cell)[0]):
        U = matrices(cell, params)
        assert len(U) == gates
        assert all(holds(name, gate) for gate in U)
    if gates > 1:  # each gate is drawn by itself
        assert not np.allclose(matrices(cell, fresh)[0], matrices(cell, fresh)[1])


@pytest.mark.parametrize("name", OPERATORS)
def test_a_structured_cell_is_the_cell_with_that_matrix(name, x64):
    cell = rj.Structured(rj.Elman(6), OPERATORS[name][0])
    params, xs = drawn(cell)
    same(rj.unroll(cell, params, xs), rj.unroll(cell.cell, cell.prepare(params), xs))


def test_what_is_not_wired_has_no_gradient(x64):
    wiring = rj.operators.RandomWiring(0.5, seed=1)
    cell = rj.Structured(rj.Elman(6), rj.operators.Masked(wiring))
    params, xs = drawn(cell)
    loss = jax.grad(lambda p: jnp.sum(rj.unroll(cell, p, xs)[1]))
    gradient = loss(params).recurrent_kernel[0]
    assert np.array_equal(gradient != 0, wiring(6, 6))


@pytest.mark.parametrize("excitatory", [None, 0.8])
def test_a_masked_matrix_starts_at_a_scale_that_keeps_signals(excitatory):
    operator = rj.operators.Masked(rj.operators.RandomWiring(0.3), excitatory)
    U = np.asarray(operator.dense(operator.init(KEY, 100)))
    np.testing.assert_allclose((U**2).sum() / 100, 1, rtol=1e-5)
    largest = np.abs(np.linalg.eigvals(U)).max()
    assert 0.7 < largest < 1.6  # inhibition balances: no eigenvalue far out
    assert rj.operators.RandomWiring(0.3)(100, 100).mean() == pytest.approx(
        0.3, abs=0.02
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", OPERATORS)
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_structures_in_half_precision(name, dtype):
    cell = rj.Structured(rj.GRU(6), OPERATORS[name][0])
    params = cell.init(KEY, D, jnp.dtype(dtype))
    leaves = jax.tree.leaves((params, cell.prepare(params)))
    assert {str(leaf.dtype) for leaf in leaves} == {dtype}


def test_structures_combine_with_other_wrappers(x64):
    cell = rj.Zoneout(
        rj.RecurrentDropout(rj.Structured(rj.GRU(H), rj.operators.Orthogonal()), 0.3),
        0.1,
    )
    learned = rj.LearnedCarry(cell)
    params, xs = drawn(learned)
    with jax.numpy_rank_promotion("raise"):
        carry, ys = rj.unroll(learned, params, xs, key=KEY)
    assert np.all(np.isfinite(ys))
