# SPDX-License-Identifier: Apache-2.0
"""Diagnostics: closed forms of linear cells, finite differences, and the plots."""

import dataclasses
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import recurrent_jax as rj
from recurrent_jax import diagnostics
from recurrent_jax.initializers import Chrono, Scaled, identity, orthogonal, timescales

TIME, BATCH, D, H = 6, 2, 3, 4


def linear(kernel):
    """Return a linear Elman cell with a given recurrent kernel, and its parameters."""
    cell = rj.Elman(len(kernel), activation=lambda a: a)
    params = cell.init(jax.random.key(0), D, kernel.dtype)
    return cell, params._replace(recurrent_kernel=jnp.asarray(kernel))


def normal(*shape, seed=0, dtype=float):
    return jax.random.normal(jax.random.key(seed), shape, dtype)


def of_eigenvalues(*values):
    """Return a symmetric matrix with these eigenvalues."""
    basis, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(len(values),) * 2))
    return basis @ np.diag(values) @ basis.T


def move(carry, units, size):
    """Return a carry with a vector added to it, part by part."""
    leaves, structure = jax.tree.flatten(carry)
    parts = np.split(np.asarray(units), np.cumsum([leaf.size for leaf in leaves])[:-1])
    moved = [
        leaf + size * p.reshape(leaf.shape)
        for leaf, p in zip(leaves, parts, strict=True)
    ]
    return jax.tree.unflatten(structure, moved)


def flat(carry):
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(carry)])


def test_gradient_of_a_linear_cell(x64):
    U = np.random.default_rng(1).normal(size=(H, H))
    cell, params = linear(U)
    curve = diagnostics.gradient_by_lag(cell, params, normal(TIME, BATCH, D))
    powers = [np.linalg.matrix_power(U, k) @ np.ones(H) for k in range(1, TIME + 1)]
    expected = np.log10(np.linalg.norm(powers, axis=1))
    assert curve.shape == (TIME, BATCH)
    np.testing.assert_allclose(curve, np.stack([expected] * BATCH, 1), rtol=1e-12)


@pytest.mark.parametrize("radius", [0.5, 1.0, 2.0])
def test_decades_are_those_of_the_spectral_radius(radius):
    # 1500 steps are 450 decades, far beyond either end of float32.
    cell, params = linear(np.asarray(of_eigenvalues(radius, 0.3, 0.1), "float32"))
    curve = diagnostics.gradient_by_lag(cell, params, normal(1500, D))
    assert curve.dtype == "float32" and jnp.isfinite(curve).all()
    found = diagnostics.decades(curve)
    np.testing.assert_allclose(found, 100 * np.log10(radius), rtol=2e-3, atol=1e-3)
    per_step = diagnostics.decades(curve, steps=1)
    np.testing.assert_allclose(per_step * 100, found, rtol=1e-5, atol=1e-6)


DIFFERENTIATED = {
    "lstm": rj.LSTM(H),
    "gru": rj.GRU(H),
    "exp-rnn": rj.ExpRNN(H),
    "stack": rj.Stack((rj.LSTM(2), rj.Elman(3))),
}


@pytest.mark.mostly_slow
@pytest.mark.parametrize("name", DIFFERENTIATED)
def test_gradient_and_jacobian_agree_with_finite_differences(name, x64):
    cell, size = DIFFERENTIATED[name], 1e-5
    xs = normal(TIME, D)
    params = cell.init(jax.random.key(1), D)
    step = jax.jit(cell.step)
    carries = [cell.initial_carry()]
    for x in xs:
        carries.append(step(params, carries[-1], x)[0])

    def loss_from(t, carry):
        for x in xs[t:]:
            carry, y = step(params, carry, x)
        return float(jnp.sin(y).sum())

    units = np.eye(len(flat(carries[0])))
    curve = diagnostics.gradient_by_lag(
        cell, params, xs, loss=lambda y: jnp.sin(y).sum()
    )
    for lag in (1, 4):
        t = TIME - lag
        slopes = [
            loss_from(t, move(carries[t], unit, size))
            - loss_from(t, move(carries[t], unit, -size))
            for unit in units
        ]
        expected = np.log10(np.linalg.norm(slopes) / (2 * size))
        np.testing.assert_allclose(curve[lag - 1], expected, atol=1e-7)

    J = diagnostics.jacobians(cell, params, xs)
    for t in (0, 3):
        columns = [
            flat(step(params, move(carries[t], unit, size), xs[t])[0])
            - flat(step(params, move(carries[t], unit, -size), xs[t])[0])
            for unit in units
        ]
        np.testing.assert_allclose(J[t], np.stack(columns, 1) / (2 * size), atol=1e-8)


@pytest.mark.slow
def test_a_batch_is_its_sequences_one_by_one(x64):
    cell, xs = rj.LSTM(H), normal(TIME, 2, 1, D)
    params = cell.init(jax.random.key(1), D)
    carry = rj.LSTM.Carry(normal(2, 1, H, seed=2), normal(2, 1, H, seed=3))
    for function in (
        diagnostics.gradient_by_lag,
        diagnostics.singular_values,
        diagnostics.lyapunov_exponents,
    ):
        together = function(cell, params, xs, carry=carry)
        one = jax.tree.map(lambda c: c[1, 0], carry)
        alone = function(cell, params, xs[:, 1, 0], carry=one)
        batch = 0 if function is diagnostics.lyapunov_exponents else 1
        mine = jnp.moveaxis(together, (batch, batch + 1), (0, 1))[1, 0]
        np.testing.assert_allclose(mine, alone, rtol=1e-9, atol=1e-12)


def test_singular_values_of_a_linear_cell(x64):
    U = np.random.default_rng(1).normal(size=(H, H))
    cell, params = linear(U)
    values = diagnostics.singular_values(cell, params, normal(TIME, BATCH, D))
    assert values.shape == (TIME, BATCH, H)
    expected = np.broadcast_to(np.linalg.svd(U)[1], values.shape)
    np.testing.assert_allclose(values, expected, rtol=1e-10)


def test_lyapunov_exponents_of_a_linear_cell(x64):
    moduli = (3.0, 1.1, 0.8, 0.2)
    cell, params = linear(of_eigenvalues(3.0, -1.1, 0.8, -0.2))
    xs = normal(300, D)
    found = diagnostics.lyapunov_exponents(cell, params, xs, burn_in=150)
    np.testing.assert_allclose(found, np.log(moduli), atol=1e-8)
    two = diagnostics.lyapunov_exponents(cell, params, xs, burn_in=150, count=2)
    np.testing.assert_allclose(two, np.log(moduli[:2]), atol=1e-8)


def test_lyapunov_exponents_add_to_the_shrinking_of_volume(x64):
    cell, xs = rj.GRU(H), normal(30, BATCH, D)
    params = cell.init(jax.random.key(1), D)
    exponents = diagnostics.lyapunov_exponents(cell, params, xs)
    volume = jnp.linalg.slogdet(diagnostics.jacobians(cell, params, xs))[1].mean(0)
    np.testing.assert_allclose(exponents.sum(-1), volume, rtol=1e-10)
    assert (jnp.diff(exponents, axis=-1) <= 0).all()


def test_a_dead_unit_ends_the_gradient():
    cell = rj.Elman(2, activation=jax.nn.relu)
    params = cell.init(jax.random.key(0), 1)._replace(bias=jnp.full(2, -9.0))
    curve = diagnostics.gradient_by_lag(cell, params, jnp.zeros((5, 1)))
    assert (curve == -jnp.inf).all() and diagnostics.decades(curve) == -jnp.inf


NAMED = [rj.LSTM(H), rj.PeepholeLSTM(H), rj.MultiplicativeLSTM(H), rj.GRU(H)]


@pytest.mark.parametrize("cell", NAMED, ids=lambda cell: type(cell).__name__)
def test_gates_have_their_names(cell):
    params = cell.init(jax.random.key(0), D)
    order = "ifgo" if "LSTM" in type(cell).__name__ else "rzn"
    xs = normal(TIME, BATCH, D)
    before = diagnostics.gates(cell, params, xs)
    assert all(gate.shape == (TIME, BATCH, H) for gate in before.values())
    for name in before:
        start = order.index(name) * H
        bias = params.bias.at[start : start + H].set(50.0)
        opened = diagnostics.gates(cell, params._replace(bias=bias), xs)
        assert [n for n in opened if (opened[n] == 1).all()] == [name]


def test_gates_are_those_of_the_equations(x64):
    cell, xs = rj.GRU(H), normal(TIME, D)
    params = cell.init(jax.random.key(1), D)
    _, ys = rj.unroll(cell, params, xs)
    h = jnp.concatenate([jnp.zeros((1, H)), ys[:-1]])
    a = xs @ params.kernel + h @ params.recurrent_kernel
    found = diagnostics.gates(cell, params, xs)
    np.testing.assert_allclose(found["r"], jax.nn.sigmoid(a[:, :H]), rtol=1e-12)
    np.testing.assert_allclose(found["z"], jax.nn.sigmoid(a[:, H : 2 * H]), rtol=1e-12)


def test_gates_of_a_cell_that_is_not_known_by_name():
    @dataclasses.dataclass(frozen=True)
    class Mine(rj.GRU):
        pass

    cell = Mine(H)
    found = diagnostics.gates(cell, cell.init(jax.random.key(0), D), normal(TIME, D))
    assert list(found) == ["gate_0", "gate_1"]


def test_saturation_counts():
    gate = jnp.array([[0.05, 0.5, 0.95], [0.05, 0.5, 0.5], [0.2, 0.01, 0.95]])
    shut, opened = diagnostics.saturation(gate)
    np.testing.assert_allclose(shut, [2 / 3, 1 / 3, 0], rtol=1e-6)
    np.testing.assert_allclose(opened, [0, 0, 2 / 3], rtol=1e-6)
    wide = diagnostics.saturation(gate, margin=0.3)
    np.testing.assert_allclose(wide.shut, [1, 1 / 3, 0], rtol=1e-6)


@pytest.mark.slow
def test_memory_is_the_span_that_chrono_draws(x64):
    cell = timescales(Chrono(200), rj.LSTM(64))
    params = cell.init(jax.random.key(0), 1)
    zero = jnp.zeros_like(params.recurrent_kernel)
    gates = diagnostics.gates(
        cell, params._replace(recurrent_kernel=zero), jnp.zeros((5, 1))
    )
    spans = diagnostics.effective_memory(gates["f"])
    expected = 1 + jnp.exp(params.bias[64:128])
    np.testing.assert_allclose(spans, expected, rtol=1e-9)
    assert spans.min() > 2 and 150 < spans.max() < 200
    assert diagnostics.effective_memory(jnp.zeros((3, 1))) == 1
    assert diagnostics.effective_memory(jnp.ones((3, 1))) == jnp.inf


@pytest.fixture(scope="module")
def compared():
    cells = {
        "half": rj.Elman(H, recurrent_kernel_init=Scaled(identity, 0.5)),
        "whole": rj.Elman(H, recurrent_kernel_init=orthogonal),
    }
    xs = jnp.zeros((40, BATCH, D))
    return diagnostics.compare(cells, xs, key=jax.random.key(0), count=9)


def test_comparison_tells_initialisations_apart(compared):
    # At rest tanh is linear: slopes and exponents are those of the kernels.
    half, whole = compared["half"], compared["whole"]
    np.testing.assert_allclose(half.decades, 100 * np.log10(0.5), rtol=1e-4)
    np.testing.assert_allclose(whole.decades, 0, atol=1e-3)
    np.testing.assert_allclose(half.exponents, np.full((BATCH, H), np.log(0.5)), 1e-4)
    np.testing.assert_allclose(whole.exponents, np.zeros((BATCH, H)), atol=1e-5)


def test_plots_draw_what_they_are_given(compared, tmp_path):
    figure = diagnostics.plot_comparison(compared)
    left, _ = figure.axes
    line = next(a for a in left.lines if a.get_label().startswith("half"))
    assert "\N{MINUS SIGN}30.1" in line.get_label()
    np.testing.assert_allclose(line.get_ydata(), compared["half"].gradient.mean(1))
    figure.savefig(tmp_path / "comparison.png", dpi=30)
    spans = diagnostics.plot_memory({"a": jnp.array([9.0, 2.0, 4.0])})
    assert list(spans.lines[0].get_ydata()) == [2, 4, 9]
    values = jnp.array([[[3.0, 2.0, 1.0]], [[6.0, 4.0, 0.0]]])
    drawn = diagnostics.plot_singular_values(values)
    assert [list(a.get_ydata()) for a in drawn.lines[1:]] == [[3, 6], [2, 4], [1, 0]]
    dots = diagnostics.plot_gates({"f": jnp.array([[0.0, 1.0], [0.0, 0.5]])})
    assert dots.collections[0].get_offsets().tolist() == [[1, 0], [0, 0.5]]
    mine = diagnostics.plot_exponents({"a": jnp.array([0.0, -1.0])}, axes=spans)
    assert mine is spans


def test_plots_say_what_they_need(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match="plots need Matplotlib: pip install"):
        diagnostics.plot_memory({"a": jnp.ones(3)})


def test_a_network_has_no_step():
    network = rj.Deep((rj.Elman(2),))
    params = network.init(jax.random.key(0), D)
    with pytest.raises(TypeError, match="jacobians: cell must be a recurrent_jax.Cell"):
        diagnostics.jacobians(network, params, jnp.zeros((TIME, D)))


def test_a_summary_counts_what_init_makes():
    network = rj.Deep((rj.Bidirectional(rj.GRU(3)), rj.LSTM(4)))
    params = jax.eval_shape(lambda: network.init(jax.random.key(0), 2))
    found = diagnostics.summary(network, in_features=2)
    leaves = jax.tree.leaves(params)
    assert found.size == sum(leaf.size for leaf in leaves)
    assert found.bytes == 4 * found.size
    assert found.rows == diagnostics.summary(params).rows
    assert found.rows[0] == ("0.forward.kernel", "float32", (2, 9), 18, 72)
    assert [row.shape for row in found.rows] == [leaf.shape for leaf in leaves]
    lines = repr(found).splitlines()
    assert lines[0] == f"{network!r}, in_features=2"
    assert len(lines) == len(leaves) + 2 and lines[-1].startswith("total ")
    assert lines[-1].endswith(f" {found.size:,}")
    low = diagnostics.summary(jax.numpy.zeros(3, "bfloat16"))
    assert low.rows == (("value", "bfloat16", (3,), 3, 6),)
    assert diagnostics.summary(()).size == 0


def test_a_network_without_a_step_names_what_has_one():
    with pytest.raises(AttributeError, match="streaming.step steps a Deep"):
        rj.Deep((rj.GRU(3),)).step  # noqa: B018
    assert not hasattr(rj.Bidirectional(rj.GRU(3)), "recur")
