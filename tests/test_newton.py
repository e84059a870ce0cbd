# SPDX-License-Identifier: Apache-2.0
"""`rj.Newton`: modes of differentiation, flags, what it refuses, and how it fails."""

import functools

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import pytest
from cases import CELLS, trial

import recurrent_jax as rj
from recurrent_jax._core.partition import row
from recurrent_jax._loop.tuning import tuning
from recurrent_jax._newton import posed
from recurrent_jax.diagnostics import newton_outlook, newton_report
from recurrent_jax.testing import LAWS, Trial

pytestmark = pytest.mark.usefixtures("strict_ranks", "small_heap")
TIME, BATCH, D = 7, 2, 3


def draw(cell, time=TIME, dtype=float, scale=1.0):
    params = cell.init(jax.random.key(0), D, dtype)
    xs = scale * jax.random.normal(jax.random.key(1), (time, BATCH, D), dtype)
    return params, xs


def close(got, want, tol=1e-10):
    one = functools.partial(np.testing.assert_allclose, rtol=tol, atol=tol)
    jax.tree.map(one, got, want)


def score(cell, params, xs, **options):
    out = rj.unroll(cell, params, xs, **options)
    return sum(jnp.sum(jnp.sin(a)) for a in jax.tree.leaves(out))


def every(cell, params, xs, both, **options):
    """Return derivatives of all modes; reverse over reverse only if `both`."""
    f = functools.partial(score, cell, **options)
    slope = jax.grad(f, (0, 1))
    tangents = jax.tree.map(jnp.cos, (params, xs))

    def along(*primals):
        pairs = zip(*map(jax.tree.leaves, (slope(*primals), tangents)), strict=True)
        return sum(jnp.vdot(a, b) for a, b in pairs)

    over = jax.jvp(slope, (params, xs), tangents)
    twice = jax.grad(along, (0, 1))(params, xs) if both else None
    many = jax.vmap(jax.grad(f, 1), (None, 1))(params, xs[:, :, None])
    return jax.jvp(f, (params, xs), tangents), over, twice, many


LSTM = rj.LSTM(2)
MODES = {
    "exact": (rj.Newton(), rj.Autodiff(), True),
    "units": (rj.Newton("units"), rj.Autodiff(), False),
    "chunks": (rj.Newton("diagonal", damping=0.5, chunk=4), rj.Autodiff(), False),
}


@functools.cache
def derivatives_of_the_loop():
    run = functools.partial(every, LSTM, *draw(LSTM), both=True)
    return jax.jit(lambda: run(method=rj.Sequential(), backward=rj.Autodiff()))()


@pytest.mark.slow
@pytest.mark.parametrize("name", MODES)
def test_every_mode_and_order(name, x64):
    method, backward, both = MODES[name]
    want = derivatives_of_the_loop()
    method = _replace(method, otherwise="nan")
    run = functools.partial(every, LSTM, *draw(LSTM), both)
    got = jax.jit(lambda: run(method=method, backward=backward))()
    close(got, want if both else (*want[:2], None, want[3]))


def _replace(method, **fields):
    return type(method)(**{**vars(method), **fields})


@pytest.mark.slow
def test_a_tree_over_time(x64, monkeypatch):
    """On devices with many cores, the linear recurrence is a tree."""
    many = tuning(())._replace(walks=False)
    monkeypatch.setattr(posed, "tuning", lambda arrays: many)
    resets = np.zeros((TIME, BATCH), bool)
    resets[3] = True
    for cell in (rj.GRU(4), rj.IndRNN(4, activation=jnp.tanh)):
        f = functools.partial(score, cell, lengths=np.array([7, 5]), resets=resets)

        def slope(method, f=f):
            return jax.jit(jax.value_and_grad(functools.partial(f, method=method)))

        args = draw(cell)
        # Another value of the method, so that no program of a walk is reused.
        got = slope(rj.Newton(max_iterations=60, otherwise="nan"))(*args)
        close(got, slope(rj.Sequential())(*args))


@pytest.mark.mostly_slow
@pytest.mark.nans
@pytest.mark.parametrize("law", ["padding", "empty", "reset", "reverse"])
def test_skipped_steps_and_resets(law, x64):
    LAWS[law](Trial(CELLS["lstm"], method=rj.Newton()))


@pytest.mark.nans
@pytest.mark.parametrize("time", [0, 1])
def test_few_steps(time, x64):
    for law in ("padding", "reset"):
        LAWS[law](Trial(CELLS["gru"], method=rj.Newton(), time=time))


@pytest.mark.slow
def test_precisions():
    for dtype, tol in {"float32": 1e-5, "bfloat16": 0.05, "float16": 0.01}.items():
        cell = rj.IndRNN(4, activation=jnp.tanh)
        params, xs = draw(cell, dtype=dtype)
        method = rj.Newton(otherwise="nan")
        got = rj.unroll(cell, params, xs, method=method)[1]
        want = rj.unroll(cell, params, xs, method=rj.Sequential())[1]
        assert got.dtype == dtype
        np.testing.assert_allclose(*(a.astype("float32") for a in (got, want)), tol)


@pytest.mark.slow
def test_truncated_and_befores(x64):
    cell = rj.GRU(3)

    def run(method):
        cut = rj.Truncated(3, 5)
        f = functools.partial(score, cell, method=method, backward=cut)
        return jax.jit(jax.value_and_grad(f))(*draw(cell))

    close(run(rj.Newton(chunk=4, otherwise="nan")), run(rj.Sequential()))


# Groups are found for these, and Newton's method relies on them.
GROUPS = {
    "indrnn": 1,
    "diagonal_gru": 1,
    "forward_fill": 2,
    "diagonal_lstm": 2,
    "min_gru": 1,
    "min_lstm": 1,
    "rg_lru": 1,
    "lru": 2,
    "ffm": 2,
    "cfc_no_gate": 4,
    "delta_net": 4,
    "gated_delta_net": 6,
    "ret_net": 1,
    "mamba2": 1,
    "slstm": 8,
    "gru": 4,
    "lstm": 8,
}


@pytest.mark.mostly_slow
@pytest.mark.parametrize("name", GROUPS)
def test_groups_do_not_read_each_other(name, x64):
    """What is read from the jaxpr is what the numbers of the Jacobian say."""
    one = trial(name, batch_shape=())
    x = jax.tree.map(lambda a: a[0], one.xs)
    params = one.cell.prepare(one.params)
    found = []

    class Look:
        steps = False

        def run(self, loop, carry):
            found.append(rj.Newton("exact").partition(loop))
            return rj.Autodiff().run(loop._replace(method=rj.Sequential()), carry)

    rj.unroll(one.cell, one.params, one.xs, method=rj.Newton(), backward=Look())
    (partition,) = found
    assert partition.exact and partition.size == GROUPS[name]
    flat, back = jax.flatten_util.ravel_pytree(one.carry)

    @jax.jacfwd
    def jacobian(vector):
        z = one.cell.project(params, x)
        after = one.cell.recur(params, back(vector), z)[0]
        return jax.flatten_util.ravel_pytree(after)[0]

    J = np.array(jacobian(flat + 0.1))
    inside = np.zeros_like(J, bool)
    for group in map(list, partition.index):
        inside[np.ix_(group, group)] = True
    assert not J[~inside].any()
    assert sorted(sum(map(list, partition.index), [])) == list(range(len(J)))


def test_rows_have_no_leading_axes():
    with pytest.raises(ValueError, match="leading axes"):
        row(jnp.ones(3), 2)


WIDE = rj.initializers.Scaled(rj.initializers.orthogonal, 3.0)
CHAOS = rj.Elman(8, recurrent_kernel_init=WIDE)


def of_chaos(**fields):
    params, xs = draw(CHAOS, time=40, scale=0.1)
    method = rj.Newton(max_iterations=10, **fields)
    return rj.unroll(CHAOS, params, xs, method=method)[1]


def test_a_chaotic_cell_gets_the_result_of_the_loop(x64):
    params, xs = draw(CHAOS, time=40, scale=0.1)
    close(of_chaos(), rj.unroll(CHAOS, params, xs)[1], 1e-6)


@pytest.mark.nans
def test_a_chaotic_cell_gets_nan_if_asked():
    ys = of_chaos(otherwise="nan")
    assert np.isfinite(ys[0]).all() and np.isnan(ys[1:]).all()


@pytest.mark.slow
@pytest.mark.nans
def test_a_chaotic_cell_raises_if_asked():
    with pytest.raises(jax.errors.JaxRuntimeError, match="not converged in 10 iter"):
        jax.block_until_ready(of_chaos(otherwise="raise"))
    calm = rj.GRU(3)
    params, xs = draw(calm)
    got = rj.unroll(calm, params, xs, method=rj.Newton(otherwise="raise"))
    close(got, rj.unroll(calm, params, xs), 1e-5)


@pytest.mark.nans
def test_a_nan_in_the_input():
    """It reaches what it reaches in the loop, or all of its sequence."""
    cell = rj.GRU(3)
    params, xs = draw(cell)
    xs = xs.at[3, 1].set(jnp.nan)
    want = np.asarray(rj.unroll(cell, params, xs)[1])
    got = rj.unroll(cell, params, xs, method=rj.Newton())[1]
    np.testing.assert_allclose(got, want, 1e-5)
    assert np.isnan(want[3:, 1]).all() and np.isfinite(want[:, 0]).all()
    other = rj.unroll(cell, params, xs, method=rj.Newton(otherwise="nan"))[1]
    np.testing.assert_allclose(other[:, 0], want[:, 0], 1e-5)
    assert np.isnan(other[3:, 1]).all()


@pytest.mark.nans
def test_a_tolerance_that_cannot_be_met():
    cell = rj.GRU(3)
    params, xs = draw(cell)
    want = rj.unroll(cell, params, xs)[1]
    method = rj.Newton(tolerance=1e-30, max_iterations=3)
    close(rj.unroll(cell, params, xs, method=method)[1], want, 1e-6)
    nan = rj.unroll(cell, params, xs, method=_replace(method, otherwise="nan"))[1]
    assert np.isnan(nan[-1]).any()


def test_what_is_refused_says_why():
    cell = rj.BatchNormLSTM(3)
    with pytest.raises(TypeError, match=r"int32 numbers in \.step.*rj.Sequential"):
        rj.unroll(cell, *draw(cell), method=rj.Newton())
    with pytest.raises(TypeError, match="takes the steps itself"):
        rj.unroll(LSTM, *draw(LSTM), method=rj.Newton(), backward=rj.Deferred())


@pytest.mark.slow
def test_a_sharded_batch():
    mesh = jax.make_mesh((1,), ("data",))
    over = jax.sharding.PartitionSpec(None, "data")
    cell = rj.GRU(4)
    params, xs = draw(cell)

    def run(params, xs):
        return rj.unroll(cell, params, xs, method=rj.Newton())[1]

    mapped = jax.shard_map(run, mesh=mesh, in_specs=(None, over), out_specs=over)
    split = jax.device_put(xs, jax.sharding.NamedSharding(mesh, over))
    close(mapped(params, split), run(params, xs), 1e-6)


@pytest.mark.slow
@pytest.mark.nans
def test_the_report_and_the_outlook():
    calm = rj.GRU(3)
    params, xs = draw(calm, time=40)
    report = newton_report(calm, params, xs, lengths=np.array([40, 9]))
    assert report.iterations.shape == (1,) and report.residuals.shape == (1, 64)
    steps = int(report.iterations[0])
    assert report.converged.all() and steps < 12
    residuals = np.asarray(report.residuals[0])
    assert np.isfinite(residuals[:steps]).all() and np.isnan(residuals[steps:]).all()
    assert residuals[steps - 1] < 1e-5 < residuals[0]
    method = rj.Newton(chunk=16)
    parts = newton_report(calm, params, xs, method=method)
    assert parts.iterations.shape == (3,) and parts.converged.shape == (3, BATCH)

    outlook = newton_outlook(calm, params, xs)
    assert outlook.converges and outlook.exponent < 0
    assert f"{outlook.exponent:.3f} nats" in outlook.sentence
    wild, xs = draw(CHAOS, time=100, scale=0.1)
    assert not newton_outlook(CHAOS, wild, xs).converges
    method = rj.Newton(max_iterations=10)
    assert not newton_report(CHAOS, wild, xs, method=method).converged.any()


def test_wrong_calls_of_the_report():
    cell = rj.GRU(3)
    params, xs = draw(cell)
    with pytest.raises(TypeError, match="method must be an rj.Newton, got Sequential"):
        newton_report(cell, params, xs, method=rj.Sequential())
    with pytest.raises(TypeError, match="backward has no meaning here"):
        newton_report(cell, params, xs, backward=rj.Autodiff())
    with pytest.raises(ValueError, match="needs at least one step"):
        newton_report(cell, params, xs[:0])


def test_a_nan_has_not_converged():
    cell = rj.GRU(4)
    params = cell.init(jax.random.key(0), 3)
    xs = jax.random.normal(jax.random.key(1), (7, 5, 3)).at[3, 2, 1].set(jnp.nan)
    found = newton_report(cell, params, xs).converged
    np.testing.assert_array_equal(found, [[True, True, False, True, True]])
    with pytest.raises(Exception, match="not converged"):
        jax.block_until_ready(
            rj.unroll(cell, params, xs, method=rj.Newton(otherwise="raise"))
        )
    _, ys = rj.unroll(cell, params, xs, method=rj.Newton())
    _, want = rj.unroll(cell, params, xs, method=rj.Sequential())
    np.testing.assert_allclose(ys, want, atol=1e-5)
