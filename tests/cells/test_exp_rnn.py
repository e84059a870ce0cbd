# SPDX-License-Identifier: Apache-2.0
"""The expRNN against its equations in NumPy, and its kernel for what it promises."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import recurrent_jax as rj
from cells.common import compare, count
from recurrent_jax._core.skew import exp_skew

HENAFF = rj.initializers.Uniform(-np.pi, np.pi)


def rotation(skew, H):
    """Return exp(A) by the eigenvectors of the Hermitian matrix -iA."""
    A, entries = np.zeros((H, H)), iter(skew)
    for i in range(H):
        for j in range(i + 1, H):
            A[i, j] = next(entries)
            A[j, i] = -A[i, j]
    angles, V = np.linalg.eigh(-1j * A)
    return ((V * np.exp(1j * angles)) @ V.conj().T).real


def exp_rnn(p, state, x):
    a = x @ p.kernel + state.h @ rotation(p.skew, state.h.size)
    h = np.sign(a) * np.maximum(0, np.abs(a) + p.offset)
    return (h,), h


@pytest.mark.mostly_slow
@pytest.mark.parametrize("hidden_size", [1, 4, 5])
def test_equations(hidden_size):
    compare(rj.ExpRNN(hidden_size), exp_rnn)


def test_count():
    D, H = 3, 5
    assert count(rj.ExpRNN(H), D) == H * (D + 1) + H * (H - 1) // 2


@pytest.mark.mostly_slow
@pytest.mark.parametrize(
    "dtype, tolerance", [("float64", 1e-13), ("float32", 1e-5), ("bfloat16", 1e-2)]
)
@pytest.mark.parametrize("hidden_size", [6, 7])
def test_the_kernel_is_orthogonal_for_any_parameters(
    hidden_size, dtype, tolerance, x64
):
    cell = rj.ExpRNN(hidden_size)
    params = cell.init(jax.random.key(0), 2, dtype)
    skew = 3 * jax.random.normal(jax.random.key(1), params.skew.shape, dtype)
    U = cell.prepare(params._replace(skew=skew)).recurrent_kernel
    assert U.dtype == dtype
    U = np.asarray(U, "float64")
    np.testing.assert_allclose(U @ U.T, np.eye(hidden_size), atol=tolerance)
    assert np.linalg.det(U) == pytest.approx(1, abs=10 * tolerance)


@pytest.mark.slow
@pytest.mark.parametrize("init", [None, HENAFF])
def test_angles_of_the_first_kernel_are_those_drawn(init, x64):
    cell = rj.ExpRNN(400) if init is None else rj.ExpRNN(400, angle_init=init)
    params = cell.init(jax.random.key(0), in_features=1)
    U = np.asarray(cell.prepare(params).recurrent_kernel)
    # Blocks of two rows and two columns on the diagonal, each a rotation.
    blocks = np.array([U[k : k + 2, k : k + 2] for k in range(0, 400, 2)])
    angles = np.arctan2(blocks[:, 0, 1], blocks[:, 0, 0])
    if init is None:
        u = -2 * np.arctan(angles)
        assert 0 <= u.min() < 0.05 and 1.52 < u.max() <= np.pi / 2
        assert u.mean() == pytest.approx(np.pi / 4, abs=0.1)
    else:
        assert -np.pi <= angles.min() < -3 and 3 < angles.max() <= np.pi
    assert np.count_nonzero(params.skew) == 200


@pytest.mark.slow
def test_a_state_keeps_its_length_where_there_is_no_offset(x64):
    cell = rj.ExpRNN(8)
    params = cell.init(jax.random.key(0), in_features=1)._replace(offset=jnp.zeros(8))
    start = rj.ExpRNN.Carry(jax.random.normal(jax.random.key(1), (8,)))
    final, _ = rj.unroll(cell, params, jnp.zeros((1000, 1)), carry=start)
    length = float(jnp.linalg.norm(start.h))
    assert float(jnp.linalg.norm(final.h)) == pytest.approx(length)


class EveryStep(rj.ExpRNN):
    """The cell as it would be without `prepare`."""

    def prepare(self, params):
        return params

    def feedback(self, params, carry):
        return rj.ExpRNN.feedback(self, rj.ExpRNN.prepare(self, params), carry)


def loops(jaxpr):
    """Return the bodies of all loops over time, as text."""
    for eqn in jaxpr.eqns:
        for inner in jax.tree.leaves(
            list(eqn.params.values()), is_leaf=lambda p: hasattr(p, "eqns")
        ):
            inner = getattr(inner, "jaxpr", inner)
            if hasattr(inner, "eqns"):
                if eqn.primitive.name == "scan":
                    yield str(inner)
                yield from loops(inner)


@pytest.mark.parametrize("cell, in_loop", [(rj.ExpRNN(5), False), (EveryStep(5), True)])
def test_the_exponential_is_taken_once_and_not_in_the_loop(cell, in_loop):
    params = cell.init(jax.random.key(0), in_features=2)

    def run(params):
        return rj.unroll(cell, params, jnp.ones((7, 2)))

    bodies = list(loops(jax.make_jaxpr(run)(params).jaxpr))
    assert any("dot_general" in body for body in bodies)
    assert any("exp2" in body for body in bodies) == in_loop  # the scale of A


def skew(A):
    return A - A.T


@pytest.mark.parametrize("scale", [0, 0.02, 0.3, 30])
def test_the_exponential_and_its_derivatives_are_those_of_jax(scale, x64):
    A, dA, dU = scale * jax.random.normal(jax.random.key(0), (3, 9, 9))
    dA, dU = dA + 1, dU + 1

    def derivatives(exp):
        def run(A):
            return exp(skew(A))

        def pull(A):
            return jax.vjp(run, A)[1](dU)[0]

        return run(A), jax.jvp(run, (A,), (dA,))[1], jax.jvp(pull, (A,), (dA,))

    got, want = derivatives(exp_skew), derivatives(jax.scipy.linalg.expm)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-11 * np.abs(b).max())


@pytest.mark.parametrize("scale", [0.1, 1, 100])
def test_the_exponential_is_orthogonal_to_the_precision_of_its_type(scale):
    A = skew(scale * jax.random.normal(jax.random.key(0), (128, 128)))
    U = np.asarray(exp_skew(A), float)
    assert np.abs(U @ U.T - np.eye(128)).max() < 1e-6


def test_an_exponential_out_of_reach_is_not_a_number():
    assert np.all(np.isnan(exp_skew(skew(1e6 * jnp.tri(4)))))


@pytest.mark.parametrize(
    "cell", [rj.ExpRNN(5), rj.Structured(rj.Elman(5), rj.operators.Orthogonal())]
)
def test_several_at_once_solve_no_equations(cell):
    """On a CPU, JAX 0.10 may never return from LAPACK where a `vmap` calls it."""

    def loss(params):
        return jnp.sum(rj.unroll(cell, params, jnp.ones((7, 2)))[1])

    params = jax.vmap(lambda key: cell.init(key, 2))(
        jax.random.split(jax.random.key(0))
    )
    text = jax.jit(jax.vmap(jax.grad(loss))).lower(params).as_text()
    assert "dot_general" in text and "lapack" not in text
