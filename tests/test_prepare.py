# SPDX-License-Identifier: Apache-2.0
"""`Cell.prepare`: once a sequence, under the derivative, and before all of a step."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import recurrent_jax as rj

SEEN = []


@dataclasses.dataclass(frozen=True)
class Squared(rj.Elman):
    """An Elman network that squares what it stores, where the steps can see it."""

    def prepare(self, params):
        SEEN.append("prepare")
        return jax.tree.map(jnp.square, params)

    def initial_carry(self, batch_shape=(), dtype=float, params=None):
        SEEN.append(params)
        return super().initial_carry(batch_shape, dtype, params)


@pytest.fixture
def problem(x64):
    cell = Squared(3)
    params = cell.init(jax.random.key(0), in_features=2)
    return cell, params, jax.random.normal(jax.random.key(1), (6, 4, 2))


@pytest.mark.mostly_slow
@pytest.mark.parametrize(
    "backward",
    [
        rj.Autodiff(),
        rj.Deferred(block=4),
        rj.Checkpointed(every=2),
        rj.Truncated(6),
        rj.ClippedBackward(1e9),
    ],
    ids=lambda b: type(b).__name__,
)
def test_values_and_gradients_are_those_of_prepared_params(problem, backward):
    cell, params, xs = problem

    def prepared(params, xs):
        params = jax.tree.map(jnp.square, params)
        return rj.unroll(rj.Elman(3), params, xs, backward=backward)

    def stored(params, xs):
        return rj.unroll(cell, params, xs, backward=backward)

    def score(run):
        return lambda *args: sum(
            jnp.sum(jnp.sin(a)) for a in jax.tree.leaves(run(*args))
        )

    for take in (lambda run: run, lambda run: jax.grad(score(run), (0, 1))):
        got, want = (jax.jit(take(run))(params, xs) for run in (stored, prepared))
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, atol=1e-12), got, want
        )


def test_once_a_sequence_whatever_its_length(problem):
    cell, params, xs = problem
    SEEN.clear()
    jax.eval_shape(lambda p: rj.unroll(cell, p, xs, resets=xs[..., 0] > 0), params)
    assert SEEN.count("prepare") == 1


def test_a_learned_start_sees_params_as_they_are_stored(problem):
    cell, params, xs = problem
    SEEN.clear()
    with jax.disable_jit():  # so that there are values to compare
        rj.unroll(cell, params, xs)
    starts = [seen for seen in SEEN if seen != "prepare"]
    assert starts
    for stored in starts:
        np.testing.assert_array_equal(stored.kernel, params.kernel)


def test_a_step_prepares(problem):
    cell, params, xs = problem
    carry = rj.Elman.Carry(jnp.ones((4, 3)))
    squared = jax.tree.map(jnp.square, params)
    _, got = cell.step(params, carry, xs[0])
    _, want = rj.Elman(3).step(squared, carry, xs[0])
    np.testing.assert_allclose(got, want, atol=1e-12)
