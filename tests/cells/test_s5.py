# SPDX-License-Identifier: Apache-2.0
"""S5 against complex NumPy, and against the real equation that it diagonalises."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import recurrent_jax as rj
from cells.common import compare, count
from cells.linear import agree

forms = pytest.mark.parametrize("discretization", ["zoh", "bilinear"])


def joined(pair):
    return np.asarray(pair.real) + 1j * np.asarray(pair.imag)


def s5(params, carry, x, discretization="zoh", scale=1.0):
    """Smith et al., 2023, equations 4 to 6, and their appendix on discretisation."""
    step = scale * np.exp(params.log_step)
    lam, B = joined(params.eigenvalue), joined(params.kernel).T
    if discretization == "zoh":
        decay = np.exp(lam * step)
        B = ((decay - 1) / lam)[:, None] * B
    else:
        decay = (1 + step / 2 * lam) / (1 - step / 2 * lam)
        B = (step / (1 - step / 2 * lam))[:, None] * B
    s = decay * joined(carry) + B @ x
    y = 2 * (joined(params.output_kernel).T @ s).real
    if params.skip is not None:
        y = y + params.skip * x
    return (s.real, s.imag), y


@pytest.mark.mostly_slow
@forms
@pytest.mark.parametrize("hidden", [3, 4])
def test_equations(hidden, discretization):
    """With three inputs: three outputs have a skip connection, four have none."""
    cell = rj.S5(hidden, state_size=2, discretization=discretization)
    compare(cell, lambda *step: s5(*step, discretization))


def test_step_scale():
    compare(rj.S5(4, step_scale=30), lambda *step: s5(*step, scale=30))


@pytest.mark.slow
@forms
def test_methods(discretization):
    agree(rj.S5(3, state_size=4, blocks=2, discretization=discretization))


def normal_legendre(size):
    """The HiPPO-LegS matrix of Gu et al., 2020, plus its term of rank one."""
    A, low_rank = np.zeros((size, size)), np.sqrt(np.arange(size) + 0.5)
    for n in range(size):
        for k in range(n):
            A[n, k] = -np.sqrt(2 * n + 1) * np.sqrt(2 * k + 1)
        A[n, n] = -(n + 1)
    return A + np.outer(low_rank, low_rank)


def exponential(A):
    """exp(A) from its series."""
    halved, term, total = A / 2**10, np.eye(len(A)), np.eye(len(A))
    for n in range(1, 20):
        term = term @ halved / n
        total = total + term
    return np.linalg.matrix_power(total, 2**10)


def test_the_real_equation(x64):
    """With one step size, S5 solves s' = A s + B x, y = C s with real matrices."""
    N, D, H, step = 4, 3, 5, 0.3
    cell = rj.S5(H, state_size=N)
    params = cell.init(jax.random.key(0), D)
    A = normal_legendre(2 * N)
    rng = np.random.default_rng(0)
    B, C = rng.normal(size=(2 * N, D)), rng.normal(size=(H, 2 * N))
    values, V = np.linalg.eig(A)
    V = V[:, order := np.argsort(values.imag)][:, N:]
    np.testing.assert_allclose(joined(params.eigenvalue), values[order][N:], rtol=1e-9)
    pair = rj.scans.Complex
    params = params._replace(
        log_step=jnp.full(N, np.log(step)),
        kernel=pair((V.conj().T @ B).real.T, (V.conj().T @ B).imag.T),
        output_kernel=pair((C @ V).real.T, (C @ V).imag.T),
    )
    xs = rng.normal(size=(30, D))
    decay = exponential(A * step)
    take = np.linalg.solve(A, (decay - np.eye(2 * N)) @ B)
    s, want = np.zeros(2 * N), []
    for x in xs:
        s = decay @ s + take @ x
        want.append(C @ s)
    np.testing.assert_allclose(rj.unroll(cell, params, xs)[1], want, rtol=1e-8)


@pytest.mark.slow
def test_init_in_eigenvectors(x64):
    """Of each block, B and C are real and complex draws of the right variance."""
    N, J = 300, 3
    cell = rj.S5(40, state_size=N, blocks=J, min_step=0.01, max_step=0.02)
    params = jax.tree.map(np.asarray, cell.init(jax.random.key(0), 50))
    lam = joined(params.eigenvalue)
    np.testing.assert_array_equal(lam, np.tile(lam[: N // J], J))
    np.testing.assert_array_equal(lam.real, -0.5)
    assert np.all(lam.imag > 0)
    assert 0.01 <= np.exp(params.log_step.min())
    assert np.exp(params.log_step.max()) <= 0.02
    assert np.mean(params.log_step) == pytest.approx(np.log(0.01 * 0.02) / 2, rel=0.01)
    assert params.skip is None
    # The product with half of the eigenvectors has half of the sum of squares.
    B, C = joined(params.kernel), joined(params.output_kernel)
    assert np.mean(np.abs(B) ** 2) == pytest.approx(1 / 50, rel=0.05)
    assert np.mean(np.abs(C) ** 2) == pytest.approx(2 / (2 * N), rel=0.05)


@pytest.mark.slow
@pytest.mark.parametrize("narrow", ["bfloat16", "float16"])
def test_many_states_in_16_bits(narrow):
    """The square of the greatest eigenvalue is no number of float16."""
    cell = rj.S5(3, state_size=64)
    params = cell.init(jax.random.key(0), 3, narrow)
    assert float(jnp.max(params.eigenvalue.imag)) > 256
    prepared = cell.prepare(params)
    leaves = jax.tree.leaves((params, prepared))
    assert all(a.dtype == narrow and bool(jnp.all(jnp.isfinite(a))) for a in leaves)
    wide = jax.tree.map(lambda a: a.astype("float32"), params)
    want = cell.prepare(wide)
    for a, b in zip(jax.tree.leaves(prepared), jax.tree.leaves(want), strict=True):
        np.testing.assert_allclose(a.astype("float32"), b, rtol=0.01, atol=1e-4)


@pytest.mark.slow
@forms
@pytest.mark.parametrize("real", [-1e3, 0.0, 7.0])
def test_no_state_grows(real, discretization):
    cell = rj.S5(3, discretization=discretization)
    params = cell.init(jax.random.key(0), 3)
    values = params.eigenvalue._replace(real=jnp.full(3, real))
    params = params._replace(eigenvalue=values)
    assert np.all(np.abs(joined(cell.prepare(params).decay)) <= 1 + 1e-6)

    def total(params):
        return jnp.sum(rj.unroll(cell, params, jnp.ones((9, 3)))[1])

    grads = jax.jit(jax.grad(total))(params)
    assert all(bool(jnp.all(jnp.isfinite(g))) for g in jax.tree.leaves(grads))


def test_init_of_many_keys(x64):
    """The eigenvectors are constants, which jit and vmap leave alone."""
    cell = rj.S5(3, state_size=4, blocks=2)
    keys = jax.random.split(jax.random.key(0), 2)
    many = jax.jit(jax.vmap(lambda key: cell.init(key, 3)))(keys)
    one = cell.init(keys[1], 3)
    for a, b in zip(jax.tree.leaves(many), jax.tree.leaves(one), strict=True):
        np.testing.assert_allclose(a[1], b, rtol=1e-12, atol=1e-14)


def test_parameters():
    D, H, N = 3, 5, 7
    assert count(rj.S5(H), D) == 3 * H + 2 * H * (D + H)
    assert count(rj.S5(H, state_size=N), D) == 3 * N + 2 * N * (D + H)
    assert count(rj.S5(D, state_size=N), D) == 3 * N + 4 * N * D + D


def test_errors():
    with pytest.raises(ValueError, match="blocks must divide .* states, 4, got 3"):
        rj.S5(4, blocks=3)
    with pytest.raises(ValueError, match=r"min_step must be at most max_step=0.1"):
        rj.S5(4, min_step=1.0)
    with pytest.raises(ValueError, match="discretization must be"):
        rj.S5(4, discretization="euler")
