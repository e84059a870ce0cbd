# SPDX-License-Identifier: Apache-2.0
"""`MixedPrecision`: products in few bits, parameters, state and sums in many."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import recurrent_jax as rj

KEY = jax.random.key(3)
STRATEGIES = [rj.Deferred(block=50), rj.Checkpointed(every=50), rj.Autodiff()]


def low(tree):
    return jax.tree.map(lambda a: a.astype(jnp.bfloat16), tree)


def drawn(cell, time=5, batch=3, features=2):
    xs = jax.random.normal(jax.random.key(4), (time, batch, features))
    return cell.init(KEY, features), xs


def test_values_are_those_of_the_equations():
    """An LSTM by hand: the two products in bfloat16, all else in float32."""
    cell = rj.MixedPrecision(rj.LSTM(4), jnp.bfloat16)
    params, xs = drawn(cell)
    W, U, b = low(params)
    h = c = jnp.zeros((3, 4))
    for x in xs:
        z, u = low(x) @ W + b[None], low(h) @ U
        gates = z.astype(jnp.float32) + u.astype(jnp.float32)
        i, f, g, o = jnp.split(gates, 4, -1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
    carry, ys = rj.unroll(cell, params, xs)
    assert {a.dtype for a in (*carry, ys)} == {jnp.dtype("float32")}
    # A sum in another order may round to the next bfloat16.
    np.testing.assert_allclose(carry.h, h, atol=2e-3)
    np.testing.assert_allclose(carry.c, c, atol=2e-3)
    exact = rj.unroll(cell.cell, params, xs)[0]
    assert np.max(np.abs(carry.h - exact.h)) > 1e-5


@pytest.mark.parametrize("backward", STRATEGIES, ids=lambda b: type(b).__name__)
def test_gradients_are_summed_in_the_dtype_of_the_parameters(backward):
    """In bfloat16, a sum of ones stops at 256."""
    cell = rj.MixedPrecision(rj.Elman(1, jax.nn.identity), jnp.bfloat16)
    params = rj.Elman.Params(jnp.zeros((1, 1)), jnp.zeros((1, 1)), jnp.zeros(1))

    def loss(params, xs):
        return rj.unroll(cell, params, xs, backward=backward)[1].sum()

    got, moved = jax.jit(jax.grad(loss, (0, 1)))(params, jnp.ones((1000, 1, 1)))
    assert {a.dtype for a in (*got, moved)} == {jnp.dtype("float32")}
    np.testing.assert_allclose(got.kernel, [[1000]], rtol=0.005)
    np.testing.assert_allclose(got.bias, [1000], rtol=0.005)


@pytest.mark.parametrize("backward", STRATEGIES, ids=lambda b: type(b).__name__)
def test_gradients_of_biases_are_summed_in_many_bits(backward):
    """Over sequences and steps: 990 is no number of bfloat16, which has 988 and 992."""
    cell = rj.MixedPrecision(rj.Elman(1, jax.nn.identity), jnp.bfloat16)
    params = rj.Elman.Params(jnp.zeros((1, 1)), jnp.zeros((1, 1)), jnp.zeros(1))

    def loss(bias, xs):
        changed = params._replace(bias=bias)
        return rj.unroll(cell, changed, xs, backward=backward)[1].sum()

    each = jax.vmap(jax.grad(loss), (None, 0))
    got = jax.jit(each)(params.bias, jnp.ones((2, 30, 33, 1)))
    np.testing.assert_array_equal(got, [[990], [990]])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["LSTM", "GRU"])
def test_biases_against_float64(name):
    """They are nearer than the kernels, whose products are rounded."""
    exact = getattr(rj, name)(8)
    cell = rj.MixedPrecision(exact, jnp.bfloat16)
    params, xs = drawn(cell, time=100, batch=8)
    weights = jax.random.normal(KEY, (100, 8, 8))

    def gradient(cell, dtype):
        def loss(params):
            ys = rj.unroll(cell, params, xs.astype(dtype))[1]
            return jnp.sum(ys * weights.astype(dtype))

        return jax.jit(jax.grad(loss))(jax.tree.map(lambda a: a.astype(dtype), params))

    with jax.enable_x64(True):
        want, got = gradient(exact, jnp.float64), gradient(cell, jnp.float32)
    for field in ("bias", "recurrent_bias")[: 1 + (name == "GRU")]:
        a, b = (np.asarray(getattr(one, field), float) for one in (got, want))
        assert np.linalg.norm(a - b) < 0.004 * np.linalg.norm(b), field


def casts(jaxpr, shape, inside=False):
    """Return for each cast to bfloat16 of an array of a shape: is it in a loop?"""
    for one in jaxpr.eqns:
        out = one.outvars[0].aval
        is_cast = one.primitive.name == "convert_element_type"
        if is_cast and out.shape == shape and out.dtype == jnp.bfloat16:
            yield inside
        for inner in jax.tree.leaves(list(one.params.values())):
            inner = getattr(inner, "jaxpr", inner)
            if hasattr(inner, "eqns"):
                yield from casts(inner, shape, inside or one.primitive.name == "scan")


@pytest.mark.slow
def test_the_program_casts_parameters_once_and_multiplies_in_few_bits():
    cell = rj.MixedPrecision(rj.LSTM(4), jnp.bfloat16)
    params, xs = drawn(cell)
    for backward in STRATEGIES:

        def loss(params, backward=backward):
            return rj.unroll(cell, params, xs, backward=backward)[1].sum()

        text = str(jax.make_jaxpr(jax.value_and_grad(loss))(params))
        dots = [line for line in text.splitlines() if "dot_general" in line]
        assert dots and all("bf16[" in line.split("=")[0] for line in dots)
    found = jax.make_jaxpr(lambda p: rj.unroll(cell, p, xs)[1])(params)
    assert list(casts(found.jaxpr, (4, 16))) == [False]


@pytest.mark.mostly_slow
@pytest.mark.parametrize(
    "cell", [rj.GRU(4, reset_after=False), rj.SLSTM(4, heads=2), rj.GatedDeltaNet(4)]
)
def test_what_a_cell_does_elsewhere_is_not_cast(cell):
    """The input is rounded alone, where a cell defines `recur` or is linear."""
    params, xs = drawn(cell)
    want, got = (
        rj.unroll(one, params, xs)[1]
        for one in (cell, rj.MixedPrecision(cell, jnp.bfloat16))
    )
    assert got.dtype == jnp.float32
    error = np.max(np.abs(got - want))
    assert 0 < error < 0.02


@pytest.mark.slow
def test_layers_modules_and_methods():
    cell = rj.MixedPrecision(rj.GRU(4), jnp.bfloat16)
    deep = rj.Deep((cell, rj.Zoneout(cell, 0.1)))
    params, xs = drawn(deep)

    def loss(params):
        return rj.unroll(deep, params, xs, key=KEY)[1].sum()

    dtypes = {a.dtype for a in jax.tree.leaves(jax.grad(loss)(params))}
    assert dtypes == {jnp.dtype("float32")}
    params = cell.init(KEY, 2)
    few = rj.unroll(cell, params, low(xs))[1]  # inputs may be rounded already
    np.testing.assert_array_equal(few, rj.unroll(cell, params, xs)[1])
    with pytest.raises(TypeError, match=r"Fused\(\) cannot run MixedPrecision"):
        rj.unroll(cell, params, xs, method=rj.Fused())


def test_in_flax():
    linen = pytest.importorskip("recurrent_jax.linen")
    cell = rj.MixedPrecision(rj.LSTM(4), jnp.bfloat16)
    params, xs = drawn(cell)
    module = linen.RNN(cell)
    variables = module.init(KEY, xs)
    made = jax.tree.leaves(module.apply(variables, xs))
    assert {a.dtype for a in made} == {jnp.dtype("float32")}
    assert {a.dtype for a in jax.tree.leaves(variables)} == {jnp.dtype("float32")}


def test_the_dtype_has_one_name():
    names = jnp.bfloat16, "bfloat16", jnp.dtype("bfloat16")
    cells = {rj.MixedPrecision(rj.LSTM(4), name) for name in names}
    (one,) = cells
    assert repr(one).endswith("compute='bfloat16')")


def test_a_stack_is_refused():
    with pytest.raises(TypeError, match="in a Stack, wrap its parts"):
        rj.MixedPrecision(rj.Stack((rj.LSTM(4),)), jnp.bfloat16)
    with pytest.raises(TypeError, match="compute must be a floating-point dtype"):
        rj.MixedPrecision(rj.LSTM(4), jnp.int32)
