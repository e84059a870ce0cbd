# SPDX-License-Identifier: Apache-2.0
"""`Sharded(time=...)`: the steps of a linear cell over the devices of a mesh."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import CELLS
from cells.linear import agree
from jax.sharding import AxisType
from test_scans import Any as OfKind
from test_sharded import eight_devices

import recurrent_jax as rj
from recurrent_jax.methods._linear import at_once, element_of
from recurrent_jax.methods._shares import longer
from recurrent_jax.scans import Across, Diagonal, Tree, Walk

pytestmark = pytest.mark.usefixtures("strict_ranks", "small_heap")
KEY = jax.random.key(0)


@dataclasses.dataclass(frozen=True)
class Parts:
    """The shares of time side by side on one device, by `vmap` with a named axis."""

    count: int
    order: object = Walk()

    backward = rj.Autodiff()
    steps = False

    def refuses(self, loop):
        return None

    def run(self, loop, carry):
        steps = loop.time
        loop = longer(loop, -steps % self.count)
        element = element_of(loop)
        chunk = None if isinstance(element, Diagonal) else 2
        across = Across("time", loop.reverse)

        def one(xs, flags):
            part = loop._replace(xs=xs, flags=flags)
            return at_once(part, carry, self.order, chunk, across)

        def cut(a):
            return a.reshape(self.count, -1, *a.shape[1:])

        parts = jax.tree.map(cut, (loop.xs, loop.flags))
        final, ys = jax.vmap(one, axis_name="time")(*parts)
        ys = jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:])[:steps], ys)
        return jax.tree.map(lambda a: a[0], final), ys


KINDS = {kind: OfKind(kind) for kind in ("outer_channels", "delta", "stabilised")}
KINDS |= {name: CELLS[name] for name in ("lru", "min_gru", "mixed_precision_linear")}


@pytest.mark.newest
@pytest.mark.parametrize("name", ["delta", "lru", *sorted({*KINDS} - {"delta", "lru"})])
def test_shares_of_time_are_the_sequence(name):
    """Values and gradients against the loop, of 11 steps in shares of four."""
    agree(KINDS[name], [Parts(3)])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["lru", "outer_channels", "stabilised"])
def test_shares_in_every_order(name):
    """Also by a tree, without flags, and with more shares than steps."""
    agree(KINDS[name], [Parts(3, Tree()), Parts(7)], thorough=True, time=5)


@pytest.mark.newest
@pytest.mark.nans
@pytest.mark.parametrize("name", ["lru", "delta"])
def test_nothing_passes_a_reset_from_another_share(name):
    """A NaN in the first share: the steps before a reset in the second have it."""
    cell = KINDS[name]
    params = cell.init(KEY, 3)
    xs = jax.random.normal(KEY, (9, 3)).at[1].set(jnp.nan)
    resets = jnp.arange(9) == 5
    outs = [
        rj.unroll(cell, params, xs, resets=resets, method=method)
        for method in (Parts(3), None)
    ]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, 1e-4, 1e-6), *outs)
    assert np.isnan(outs[0][1][1:5]).any(1).all()
    assert np.isfinite(outs[0][1][5:]).all()
    assert all(np.isfinite(a).all() for a in jax.tree.leaves(outs[0][0]))


@pytest.fixture
def mesh():
    axes = (AxisType.Auto,) * 2
    return jax.make_mesh((1, 1), ("data", "steps"), axis_types=axes)


def test_what_cannot_be_shared_is_refused(mesh):
    def run(cell, axis="steps", **options):
        params, method = cell.init(KEY, 2), rj.Sharded(time=axis)
        with jax.set_mesh(mesh):
            xs = jnp.ones((3, 4, 2))
            return rj.unroll(cell, params, xs, method=method, **options)

    with pytest.raises(
        TypeError, match=r"not linear .*Sharded\(batch=...\) runs every"
    ):
        run(rj.LSTM(4))
    with pytest.raises(TypeError, match="no mesh axis 'rows', only"):
        run(rj.LRU(4), "rows")
    with pytest.raises(TypeError, match="takes the steps itself"):
        run(rj.LRU(4), backward=rj.Deferred())
    with pytest.raises(ValueError, match="no cell can share both units and time"):
        rj.Sharded(units="data", time="steps")
    with pytest.raises(ValueError, match="each axis shares one thing"):
        rj.Sharded(batch="steps", time="steps")

    def inside(xs):
        cell = rj.LRU(4)
        method = rj.Sharded(time="steps")
        return rj.unroll(cell, cell.init(KEY, 2), xs, method=method)[1]

    row = jax.sharding.PartitionSpec(None, "data")
    given = {"mesh": mesh, "in_specs": row, "out_specs": row, "axis_names": {"data"}}
    with pytest.raises(TypeError, match="does not run over the axis 'steps'"):
        jax.jit(jax.shard_map(inside, **given))(jnp.ones((3, 4, 2)))


def test_no_steps_and_no_sequences(mesh):
    cell = rj.LRU(4)
    params = cell.init(KEY, 2)
    with jax.set_mesh(mesh):
        for shape in ((0, 3, 2), (5, 0, 2)):
            carry, ys = rj.unroll(
                cell, params, jnp.ones(shape), method=rj.Sharded(time="steps")
            )
            assert ys.shape == (*shape[:2], 4) and carry.real.shape[0] == shape[1]


@pytest.mark.slow
def test_modes_and_strategies(mesh, x64):
    """On a mesh of one device: both modes, second derivatives, vmap, windows."""
    cell, method = rj.LRU(3, state_size=2), rj.Sharded(time="steps", batch="data")
    params = cell.init(KEY, 2)
    xs = jax.random.normal(KEY, (4, 3, 2))

    def run(method, backward=None):
        def loss(params, xs):
            out = rj.unroll(cell, params, xs, method=method, backward=backward)
            return sum(jnp.sum(jnp.sin(a)) for a in jax.tree.leaves(out))

        return loss

    def bend(loss):
        return lambda p, x: jax.jvp(jax.grad(loss), (p, x), (p, x))

    def each(loss):
        return jax.vmap(jax.grad(loss), (None, 0))

    three = jnp.stack([xs, -xs, 2 * xs])
    ways = [(bend, None, xs), (each, None, three)]
    ways += [(jax.grad, one, xs) for one in (rj.Truncated(2), rj.Checkpointed(2))]
    with jax.set_mesh(mesh):
        for way, backward, x in ways:
            got, want = (
                jax.jit(way(run(one, backward)))(params, x) for one in (method, None)
            )
            jax.tree.map(
                lambda a, b: np.testing.assert_allclose(a, b, 1e-9, 1e-10), got, want
            )


_DEVICES = """
import functools
import jax, jax.numpy as jnp, numpy as np
import recurrent_jax as rj
from jax.sharding import AxisType, NamedSharding, PartitionSpec as P

jax.config.update("jax_enable_x64", True)
assert jax.device_count() == 8
T, B, D = 16, 4, 3
keys = jax.random.split(jax.random.key(0), 4)
xs = jax.random.normal(keys[1], (T, B, D))
lengths, resets = jnp.array([T, 0, 9, 13]), jax.random.bernoulli(keys[2], 0.1, (T, B))
both = rj.Sharded(time="steps", batch="data")
names = "data", "steps"

def loss(cell, method, params, xs, carry, **options):
    final, ys = rj.unroll(cell, params, xs, carry=carry, method=method, **options)
    ends = sum(jnp.sum(jnp.cos(a)) for a in jax.tree.leaves(final))
    return jnp.sum(jnp.sin(ys)), ends

def close(got, want):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, 1e-9, 1e-10), got, want)

def gradient(cell, method, **options):
    run = lambda *given, **flags: sum(loss(cell, method, *given, **options, **flags))
    return jax.jit(jax.value_and_grad(run, (0, 1, 2)))

def draw(cell):
    params = cell.init(keys[0], D)
    carry = cell.initial_carry((B,), float, params)
    draw = lambda a: a + jax.random.normal(keys[3], a.shape)
    return params, jax.tree.map(draw, carry)

flags, back = {"lengths": lengths, "resets": resets}, {"reverse": True}
deep = rj.Deep((rj.LRU(4, state_size=3), rj.Residual(rj.MinGRU(4))))
for kind, cell, method, steps, options in [
    (AxisType.Auto, rj.LRU(4, state_size=3), both, 16, {}),
    (AxisType.Auto, rj.GatedDeltaNet(4, heads=2), both, 13, back),
    (AxisType.Explicit, rj.MLSTM(4, heads=2), both, 16, back),
    (AxisType.Explicit, rj.MinGRU(4), both, 13, {}),
    (AxisType.Auto, deep, rj.Sharded(time="steps"), 16, {}),
]:
    params, carry = draw(cell)
    flags = {"lengths": jnp.minimum(lengths, steps), "resets": resets[:steps]}
    given = params, xs[:steps], carry
    want = gradient(cell, rj.Sequential(), **options)(*given, **flags)
    mesh = jax.make_mesh((2, 4), names, axis_types=(kind,) * 2)
    with jax.set_mesh(mesh):
        over = P("steps" if steps == 16 else None, "data")
        place = jax.device_put(xs[:steps], NamedSharding(mesh, over))
        close(gradient(cell, method, **options)(params, place, carry, **flags), want)

# Inside `shard_map`, each device has its steps, and the carry is that of all.
cell = rj.LRU(4, state_size=3)
params, carry = draw(cell)
valid = jnp.arange(T)[:, None] < lengths
want = gradient(cell, None, reverse=True)(params, xs, carry, mask=valid, resets=resets)
mesh = jax.make_mesh((2, 4), names, axis_types=(AxisType.Auto,) * 2)

def local(params, xs, carry, mask, resets):
    of_ys, of_carry = loss(
        cell, both, params, xs, carry, mask=mask, resets=resets, reverse=True
    )
    return jax.lax.psum(of_ys, names) + jax.lax.psum(of_carry, "data")

step, row = P("steps", "data"), P("data")
mapped = jax.shard_map(
    local, mesh=mesh, in_specs=(P(), step, row, step, step), out_specs=P()
)
run = jax.jit(jax.value_and_grad(mapped, (0, 1, 2)))
close(run(params, xs, carry, valid, resets), want)
print("shared out as whole")
"""


@pytest.mark.newest
def test_values_and_gradients_on_eight_devices():
    assert eight_devices("-c", _DEVICES) == "shared out as whole\n"


@pytest.mark.slow
def test_exchanges_on_eight_devices(tmp_path):
    """One exchange of all steps as one in each direction, and one of gradients."""
    pytest.importorskip("tyro")
    H, B, n, floats = 32, 4, 4, 4  # bytes of a float
    flags = ["--cells", "LRU", "--hidden", str(H), "--output", str(tmp_path)]
    eight_devices("-m", "benchmarks.sharding", *flags)
    from benchmarks import results, sharding

    rows = results.load(tmp_path / "sharding.json")["rows"]
    (row,) = (row for row in rows if row["method"] == "Sharded")
    assert sharding.per_step(row) == {}
    # Decay and state are complex. The decay of an LRU is that of all sequences.
    step = floats * 2 * (H + B * H)
    params = jax.tree.leaves(rj.LRU(H).init(KEY, sharding.D))
    want = {
        "all-gather": n * step,
        "reduce-scatter": step,
        "all-reduce": floats * sum(a.size for a in params),
    }
    for kind in sharding.hlo.COLLECTIVES:
        for time in (8, 16):
            assert row[f"{kind}, T = {time}"] == (kind in want)
            assert row[f"bytes of {kind}, T = {time}"] == want.get(kind, 0)
