# SPDX-License-Identifier: Apache-2.0
"""`method=`: which is chosen, what each refuses, and every mode of differentiation."""

import dataclasses
import functools
import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import recurrent_jax as rj
from recurrent_jax._loop.tuning import tuning
from recurrent_jax.methods._default import chosen
from recurrent_jax.wrappers import Wrapper

pytestmark = pytest.mark.usefixtures("strict_ranks", "small_heap")
METHODS = [rj.Associative(), rj.Chunked(3), rj.Chunked()]
STRATEGIES = [rj.Autodiff(), rj.Checkpointed(every=4), rj.Checkpointed(levels=2)]
TIME, BATCH, D = 11, 3, 4


def draw(cell):
    params = cell.init(jax.random.key(0), D)
    return params, jax.random.normal(jax.random.key(1), (TIME, BATCH, D))


def close(got, want, tol=1e-10):
    one = functools.partial(np.testing.assert_allclose, rtol=tol, atol=tol)
    jax.tree.map(one, got, want)


def score(cell, params, xs, **options):
    out = rj.unroll(cell, params, xs, **options)
    return sum(jnp.sum(jnp.sin(a)) for a in jax.tree.leaves(out))


def method_of(cell, **options):
    """Return the method that `unroll` chooses."""
    seen = []

    @dataclasses.dataclass(frozen=True)
    class Look:
        steps = options.pop("steps")

        def run(self, loop, carry):
            seen.append(loop.method)
            return rj.Autodiff().run(loop, carry)

    rj.unroll(cell, *draw(cell), backward=Look())
    return seen[0]


def test_the_default_follows_from_the_cell_and_the_strategy():
    assert method_of(rj.LRU(4), steps=False) == rj.Chunked()
    assert method_of(rj.LRU(4), steps=True) == rj.Sequential()
    assert method_of(rj.GRU(4), steps=False) == rj.Sequential()


@pytest.mark.parametrize(
    "cell",
    [rj.S4D(4, state_size=32), rj.Mamba(4), rj.KDA(64, heads=1), rj.RWKV7(64, heads=1)],
    ids=lambda cell: type(cell).__name__,
)
def test_wide_states_are_computed_again_where_they_would_take_long_to_keep(cell):
    D = cell.hidden_size
    params = jax.eval_shape(lambda: cell.init(jax.random.key(0), D))
    carry = jax.eval_shape(lambda: cell.initial_carry((8,)))
    a_step = sum(a.size * a.dtype.itemsize for a in jax.tree.leaves(carry))
    most = tuning(()).remake_bytes
    for time, strategy in (
        (int(most) // a_step - 1, rj.Deferred()),
        (int(most) // a_step + 1, rj.Checkpointed()),
    ):
        xs = jax.ShapeDtypeStruct((time, 8, D), jnp.float32)
        assert chosen(cell, params, xs, time) == (rj.Sequential(), strategy)
        # If the user chooses one of them, the other follows from it.
        asked = chosen(cell, params, xs, time, method=rj.Sequential())
        assert asked == (rj.Sequential(), rj.Deferred())
        asked = chosen(cell, params, xs, time, backward=rj.Autodiff())
        assert asked[1] == rj.Autodiff()
    narrow = rj.MinGRU(4)
    params = jax.eval_shape(lambda: narrow.init(jax.random.key(0), 4))
    xs = jax.ShapeDtypeStruct((10**7, 4), jnp.float32)
    assert chosen(narrow, params, xs, 10**7) == (rj.Sequential(), rj.Deferred())


@pytest.mark.slow
@pytest.mark.parametrize(
    "cell",
    [
        rj.S4D(4),
        rj.Residual(rj.Mamba(4)),
        rj.KDA(64, heads=1),
        rj.Deep((rj.RWKV7(64, heads=1), rj.MinGRU(4))),
    ],
    ids=lambda cell: type(cell).__name__,
)
def test_the_default_of_wide_states_is_exact(cell, monkeypatch, x64):
    least = tuning(())._replace(remake_bytes=1)
    monkeypatch.setattr("recurrent_jax.methods._default.tuning", lambda _: least)
    monkeypatch.setattr("recurrent_jax.backward._checkpointed._least", lambda _: 1)
    params, xs = draw(cell)
    options = {
        "lengths": jnp.array([TIME, 4, 0]),
        "resets": jnp.arange(TIME)[:, None] == jnp.array([[3, 2, 1]]),
        "reverse": True,
    }

    def run(p, x, **more):
        return score(cell, p, x, **options, **more)

    slope = jax.jit(jax.value_and_grad(run, (0, 1)))
    # The derivative is that of blocks.
    assert "_derived" in str(jax.make_jaxpr(run)(params, xs))
    plain = functools.partial(run, method=rj.Sequential(), backward=rj.Autodiff())
    want = jax.jit(jax.value_and_grad(plain, (0, 1)))(params, xs)
    close(slope(params, xs), want)
    turned = jax.jit(jax.jacfwd(lambda x: jax.grad(run, 1)(params, x).sum()))(xs)
    close(turned, jax.jit(jax.grad(lambda x: jax.grad(plain, 1)(params, x).sum()))(xs))


@pytest.mark.mostly_slow
@pytest.mark.parametrize("backward", STRATEGIES, ids=repr)
@pytest.mark.parametrize("method", METHODS, ids=repr)
def test_every_mode_and_order(method, backward, x64):
    modes_agree(rj.LRU(4), method, backward)


@pytest.mark.slow
def test_every_mode_and_order_of_a_matrix(x64):
    """A loop computes the values, and chunks compute the derivatives."""
    modes_agree(rj.GatedDeltaNet(4, heads=2), rj.Chunked(), rj.Autodiff())


def test_a_cpu_computes_values_of_a_matrix_in_a_loop():
    """The same bits, unless the state is rounded to 16 bits at each step of a loop."""
    for dtype, same in ((jnp.float32, True), (jnp.bfloat16, False)):
        cell = rj.Mamba2(4, heads=2)
        params = cell.init(jax.random.key(0), D, dtype)
        xs = jax.random.normal(jax.random.key(1), (TIME, BATCH, D), dtype)
        _, one = rj.unroll(cell, params, xs, method=rj.Chunked())
        _, two = rj.unroll(cell, params, xs, method=rj.Sequential())
        assert bool(jnp.all(one == two)) is same


def modes_agree(cell, method, backward):
    """Compare both modes of differentiation, second orders and `vmap` with the loop."""
    params, xs = draw(cell)
    tangents = jax.tree.map(jnp.cos, (params, xs))

    def every(**options):
        f = functools.partial(score, cell, **options)
        slope = jax.grad(f, (0, 1))

        def along(*primals):
            return sum(
                jnp.vdot(a, b)
                for a, b in zip(
                    *map(jax.tree.leaves, (slope(*primals), tangents)), strict=True
                )
            )

        forward = jax.jvp(f, (params, xs), tangents)
        over = jax.jvp(slope, (params, xs), tangents)
        many = jax.vmap(f, (None, 1))(params, xs[:, :, None])
        return forward, over, jax.grad(along, (0, 1))(params, xs), many

    want = jax.jit(lambda: every(method=rj.Sequential(), backward=rj.Autodiff()))()
    close(jax.jit(lambda: every(method=method, backward=backward))(), want)


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS, ids=repr)
def test_truncated_is_that_of_the_loop(method, x64):
    cell = rj.LRU(4)
    params, xs = draw(cell)
    slope = jax.jit(jax.grad(functools.partial(score, cell), (0, 1)))

    def run(method):
        f = functools.partial(score, cell, method=method, backward=rj.Truncated(3, 5))
        return jax.jit(jax.grad(f, (0, 1)))(params, xs)

    got = run(method)
    close(got, run(rj.Sequential()))
    assert not np.allclose(got[0].nu, slope(params, xs)[0].nu)


@pytest.mark.parametrize("backward", [rj.Deferred(), rj.ClippedBackward(1.0)], ids=repr)
@pytest.mark.parametrize("method", METHODS[:2], ids=repr)
def test_a_strategy_that_takes_the_steps_itself_is_refused(method, backward):
    cell = rj.LRU(4)
    with pytest.raises(TypeError, match="takes the steps itself.*rj.Sequential"):
        rj.unroll(cell, *draw(cell), method=method, backward=backward)


@dataclasses.dataclass(frozen=True)
class Halved(Wrapper):
    """A wrapper that changes the step."""

    def update(self, params, carry, z, u):
        carry, y = super().update(params, carry, z, u)
        return jax.tree.map(lambda a: a / 2, carry), y


@dataclasses.dataclass(frozen=True)
class Overridden(rj.LRU):
    """A linear cell whose recurrence is replaced."""

    def recur(self, params, carry, z):
        carry, y = super().recur(params, carry, z)
        return carry, -y


@pytest.mark.parametrize(
    "cell", [rj.GRU(4), Halved(rj.LRU(4)), Overridden(4)], ids=repr
)
def test_a_cell_that_is_not_linear_is_refused_by_name(cell):
    params, xs = draw(cell)
    for method in METHODS:
        with pytest.raises(TypeError, match="cannot run .* not linear.*rj.Sequential"):
            rj.unroll(cell, params, xs, method=method)
    close(
        rj.unroll(cell, params, xs)[1],
        rj.unroll(cell, params, xs, method=rj.Sequential())[1],
        1e-6,
    )


WRAPPED = [
    rj.Residual(rj.LRU(4)),
    rj.InputDropout(rj.OutputDropout(rj.LRU(4), 0.4), 0.3),
    rj.OutputDropout(rj.Residual(rj.LRU(4)), 0.4),
    rj.LearnedCarry(rj.LRU(4)),
    rj.Deep((rj.LRU(4), rj.Residual(rj.LRU(4)))),
    rj.Bidirectional(rj.LRU(2)),
]


@pytest.mark.mostly_slow
@pytest.mark.parametrize("cell", WRAPPED, ids=repr)
def test_wrappers_and_networks(cell, x64):
    params, xs = draw(cell)
    options = {"lengths": jnp.array([TIME, 4, 0]), "key": jax.random.key(2)}

    def run(method):
        f = functools.partial(score, cell, method=method, **options)
        return jax.jit(jax.value_and_grad(f, (0, 1)))(params, xs)

    want = run(rj.Sequential())
    for method in METHODS:
        close(run(method), want)


@pytest.mark.parametrize("method", METHODS, ids=repr)
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_layouts_and_batch_ranks(method, axis, x64):
    cell = rj.LRU(4)
    params = cell.init(jax.random.key(0), D)
    xs = jax.random.normal(jax.random.key(1), (2, 3, TIME, D))
    xs = jnp.moveaxis(xs, 2, axis)
    run = functools.partial(rj.unroll, cell, params, xs, time_axis=axis)
    close(run(method=method), run(method=rj.Sequential()))


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS, ids=repr)
def test_a_hundred_thousand_steps(method):
    """In float32, of states that hardly decay, against float64."""
    cell = rj.LRU(2, min_radius=0.99, max_radius=0.9999)
    with jax.enable_x64(True):
        params = cell.init(jax.random.key(0), 1, "float64")
        xs = jax.random.normal(jax.random.key(1), (100_000, 1), "float64")
        want = rj.unroll(cell, params, xs, method=rj.Sequential())[1]
        low = jax.tree.map(lambda a: a.astype("float32"), (params, xs))
        got = rj.unroll(cell, *low, method=method)[1]
    want, got = np.asarray(want), np.asarray(got)
    assert np.abs(got - want).max() < 1e-3 * np.abs(want).max()


def test_a_chunk_keeps_its_first_state_alone():
    """The memory of a gradient beyond input and output grows with T / size."""
    cell = rj.LRU(4, state_size=256)
    params = cell.init(jax.random.key(0), 1)

    def kept(method, time=2048):
        xs = jax.ShapeDtypeStruct((time, 1), "float32")
        f = jax.grad(lambda p, x: rj.unroll(cell, p, x, method=method)[1].sum())
        stats = jax.jit(f).lower(params, xs).compile().memory_analysis()
        return stats.temp_size_in_bytes

    assert kept(rj.Chunked(64)) < 0.25 * kept(rj.Chunked(2048))


def test_streamed_and_in_parts(x64):
    cell = rj.LRU(4)
    params, xs = draw(cell)
    want, ys = rj.unroll(cell, params, xs)
    carry, early = rj.unroll(cell, params, xs[:4], method=rj.Associative())
    carry, late = rj.unroll(cell, params, xs[4:], carry=carry)
    close((carry, jnp.concatenate([early, late])), (want, ys))
    carry = cell.initial_carry((BATCH,))
    for t in range(TIME):
        carry, y = cell.step(params, carry, xs[t])
        close(y, ys[t])


@pytest.mark.slow
def test_a_sharded_batch():
    """The scan over time needs no communication between sequences."""
    mesh = jax.make_mesh((1,), ("data",))
    over = jax.sharding.PartitionSpec(None, "data")
    cell = rj.LRU(4)
    params, xs = draw(cell)
    split = jax.device_put(xs, jax.sharding.NamedSharding(mesh, over))
    for method in METHODS:

        def run(params, xs, method=method):
            return rj.unroll(cell, params, xs, method=method)[1]

        mapped = jax.shard_map(run, mesh=mesh, in_specs=(None, over), out_specs=over)
        close(mapped(params, split), run(params, xs), 1e-6)
        close(jax.jit(run)(params, split), run(params, xs), 1e-6)


_SHARDED = """
import jax, jax.numpy as jnp, numpy as np
import recurrent_jax as rj
from jax.sharding import NamedSharding, PartitionSpec as P

assert jax.device_count() == 8
mesh = jax.make_mesh((8,), ("b",), axis_types=(jax.sharding.AxisType.Auto,))
xs = jax.random.normal(jax.random.key(1), (6, 8, 3))
resets = jax.random.bernoulli(jax.random.key(2), 0.2, (6, 8))
lengths = jnp.arange(8) % 7
for cell, method in [
    (rj.LRU(4), rj.Chunked(size=3)),
    (rj.LRU(4), rj.Associative()),
    (rj.GatedDeltaNet(4, heads=2), rj.Chunked(size=3)),
]:

    def loss(params, xs, lengths, resets):
        flags = {"lengths": lengths, "resets": resets}
        ys = rj.unroll(cell, params, xs, method=method, **flags)[1]
        return jnp.sum(jnp.sin(ys)), ys

    step = jax.jit(jax.value_and_grad(loss, (0, 1), has_aux=True))
    params = cell.init(jax.random.key(0), in_features=3)
    want = step(params, xs, lengths, resets)
    place = lambda a, *axes: jax.device_put(a, NamedSharding(mesh, P(*axes)))
    whole = jax.tree.map(place, params)
    split = place(xs, None, "b"), place(lengths, "b"), place(resets, None, "b")
    got = step(whole, *split)
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    jax.tree.map(close, got, want)
    text = step.lower(whole, *split).compile().as_text()
    assert "all-gather" not in text and "all-to-all" not in text, (cell, method)
    assert "collective-permute" not in text and "all-reduce" in text
print("sharded as whole")
"""


@pytest.mark.newest
def test_a_batch_on_several_devices_equals_a_whole_one():
    """Parameters have one gradient on all devices. Nothing else is exchanged."""
    flags = os.environ.get("XLA_FLAGS", "")
    flags += " --xla_force_host_platform_device_count=8"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", _SHARDED],
        env={**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "sharded as whole\n", done.stderr[-3000:]
