# SPDX-License-Identifier: Apache-2.0
"""`Sharded`: units and sequences over the devices of a mesh."""

import functools
import itertools
import os
import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import CELLS, INPUTS
from jax.sharding import AxisType, PartitionSpec

import recurrent_jax as rj
from recurrent_jax.methods._units import Share, _kinds, resized, units_of

ROOT = pathlib.Path(__file__).parents[1]
KEY = jax.random.key(0)
PARTS = 2
OVER_UNITS = rj.Sharded(units="model")


def cut(a, is_units, units):
    """Return the shares of an array along a new first axis, gate by gate."""
    if not is_units:
        return a
    a = a.reshape(*a.shape[:-1], -1, PARTS, units // PARTS)
    return jnp.moveaxis(a, -2, 0).reshape(PARTS, *a.shape[:-3], -1)


@pytest.fixture
def mesh():
    axes = (AxisType.Auto,) * 2
    return jax.make_mesh((1, 1), ("data", "model"), axis_types=axes)


# All forms of each cell.
FORMS = [
    [name for name in sorted(CELLS) if type(CELLS[name]) is cls and name not in INPUTS]
    for cls in dict.fromkeys(map(type, CELLS.values()))
]


def shared(names):
    """Return those of the cells whose units can be on several devices."""
    return [name for name in names if not isinstance(_kinds(CELLS[name], 3), str)]


@pytest.mark.mostly_slow
@pytest.mark.parametrize("names", [f for f in FORMS if f], ids=lambda names: names[0])
def test_shares_of_a_step_are_the_step(names, mesh, x64):
    """Two shares, side by side on one device."""
    if not shared(names):
        pytest.skip("its units cannot be shared; a test below expects the refusal")
    name = shared(names)[-1]
    cell, kinds = CELLS[name], _kinds(CELLS[name], 3)
    units = units_of(cell)
    share = Share(resized(cell, units // PARTS), "model", kinds.exchanged)
    stored = cell.init(KEY, 3)
    draw = iter(jax.random.split(KEY))
    x = jax.random.normal(next(draw), (5, 3))
    carry = cell.initial_carry((5,), float, stored)
    noise = next(draw)
    carry = jax.tree.map(
        lambda a: a + jax.random.normal(noise, a.shape) if a.dtype == float else a,
        carry,
    )

    def whole(params, carry, x):
        return cell.recur(params, carry, cell.project(params, x))

    def one(params, carry, x):
        return share.recur(params, carry, share.project(params, x))

    def shares(params, carry, x):
        given = (
            jax.tree.map(lambda a, kind: cut(a, kind, units), *pair)
            for pair in ((params, kinds.params), (carry, kinds.carry))
        )
        axes = (
            jax.tree.map(lambda kind: 0 if kind else None, tree)
            for tree in (kinds.params, kinds.carry)
        )
        return jax.vmap(one, (*axes, None), axis_name="model")(*given, x)

    params = cell.prepare(stored)
    got, want = jax.jit(lambda *a: (shares(*a), whole(*a)))(params, carry, x)
    kinds = jax.tree.leaves((kinds.carry, kinds.y))
    for a, b, kind in zip(*map(jax.tree.leaves, (got, want)), kinds, strict=True):
        if kind:
            a = jnp.moveaxis(a, 0, -2).reshape(b.shape)
        else:
            a = a[0]
        np.testing.assert_allclose(a, b, atol=1e-12)


@pytest.mark.slow
def test_units_of_all_other_cells_are_refused(mesh):
    names = [*itertools.chain(*FORMS)]
    for name in sorted({*names} - {*shared(names)}):
        run = functools.partial(rj.unroll, CELLS[name], method=OVER_UNITS)
        params = jax.eval_shape(lambda name=name: CELLS[name].init(KEY, 3))
        with jax.set_mesh(mesh), pytest.raises(TypeError, match="cannot run"):
            jax.eval_shape(run, params, jnp.ones((2, 4, 3)))


@pytest.mark.slow
def test_the_page_lists_the_cells_whose_units_can_be_shared():
    page = (ROOT / "docs" / "accelerators.md").read_text()
    (line,) = (
        line for line in page.splitlines() if line.startswith("Units of these cells")
    )
    listed = set(line.split("`")[1::2])
    cells = {type(CELLS[name]).__name__ for name in shared(itertools.chain(*FORMS))}
    assert listed == {name for name in cells if hasattr(rj.cells, name)}


def test_what_cannot_be_shared_is_refused(mesh):
    xs = jnp.ones((3, 4, 2))

    def run(cell, xs=xs, method=OVER_UNITS, **options):
        params = cell.init(KEY, 2)
        with jax.set_mesh(mesh):
            return rj.unroll(cell, params, xs, method=method, **options)

    for cell in (rj.GRU(4, reset_after=False), rj.LayerNormLSTM(4), rj.LRU(4)):
        with pytest.raises(TypeError, match=r"Sharded\(.*cannot run .*feedback"):
            run(cell)
    with pytest.raises(TypeError, match="random numbers for all units"):
        run(rj.OutputDropout(rj.LSTM(4), 0.5), key=KEY)
    with pytest.raises(TypeError, match="no mesh axis 'rows', only"):
        run(rj.LSTM(4), method=rj.Sharded(batch="rows"))
    with pytest.raises(TypeError, match=r"the batch of shape \(\) cannot be shared"):
        run(rj.LSTM(4), xs=xs[:, 0], method=rj.Sharded(batch="data"))
    with pytest.raises(ValueError, match="name a mesh axis"):
        rj.Sharded()
    with pytest.raises(TypeError, match="takes the steps itself"):
        run(rj.LSTM(4), backward=rj.Deferred())


@pytest.mark.newest
def test_modes_and_strategies(mesh, x64):
    """On a mesh of one device: both modes, second derivatives, vmap, windows."""
    cell, method = rj.WithCarry(rj.GRU(4)), rj.Sharded(units="model", batch="data")
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

    windows = rj.Truncated(2)
    three = jnp.stack([xs, -xs, 2 * xs])
    with jax.set_mesh(mesh):
        for way, backward, x in (
            (bend, None, xs),
            (each, None, three),
            (jax.grad, windows, xs),
        ):
            got, want = (
                jax.jit(way(run(one, backward)))(params, x) for one in (method, None)
            )
            jax.tree.map(
                lambda a, b: np.testing.assert_allclose(a, b, 1e-9, 1e-10), got, want
            )


def test_where_arrays_are_stored(mesh):
    method = rj.Sharded(units="model", batch="data")
    places = method.shardings(mesh, (rj.LSTM(4).init(KEY, 3), jnp.zeros(())))
    specs = [place.spec for place in jax.tree.leaves(places)]
    two, one = PartitionSpec("model", "data"), PartitionSpec("model")
    assert specs == [two, two, one, PartitionSpec()]


_DEVICES = """
import functools
import jax, jax.numpy as jnp, numpy as np
import recurrent_jax as rj
from jax.sharding import AxisType, NamedSharding, PartitionSpec as P

jax.config.update("jax_enable_x64", True)
assert jax.device_count() == 8
T, B, D = 5, 4, 8
keys = jax.random.split(jax.random.key(0), 3)
xs = jax.random.normal(keys[1], (T, B, D))
lengths, resets = jnp.arange(B) + 2, jax.random.bernoulli(keys[2], 0.3, (T, B))
both = rj.Sharded(units="model", batch="data")
names = "data", "model"

def loss(cell, method, params, xs, lengths, resets, **options):
    flags = {"lengths": lengths, "resets": resets, "method": method}
    carry, ys = rj.unroll(cell, params, xs, **flags, **options)
    return jnp.sum(jnp.sin(ys)) + sum(map(jnp.sum, jax.tree.leaves(carry)))

def close(got, want):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, 1e-9, 1e-10), got, want)

def gradient(cell, method, **options):
    run = functools.partial(loss, cell, method, **options)
    return jax.jit(jax.value_and_grad(run, (0, 1)))

few = {"backward": rj.Checkpointed(every=3), "reverse": True}
for kind, cell, method, options in [
    (AxisType.Auto, rj.LSTM(8), both, {}),
    (AxisType.Auto, rj.GRU(8), rj.Sharded(units="model"), few),
    (AxisType.Auto, rj.Deep((rj.DiagonalGRU(8), rj.PeepholeLSTM(4))), both, {}),
    (AxisType.Auto, rj.LRU(8), rj.Sharded(batch="data"), {}),
    (AxisType.Explicit, rj.GRU(8), both, {}),
    (AxisType.Explicit, rj.LSTM(8), rj.Sharded(batch="data"), few),
]:
    params = cell.init(keys[0], D)
    want = gradient(cell, None, **options)(params, xs, lengths, resets)
    mesh = jax.make_mesh((2, 4), names, axis_types=(kind,) * 2)
    with jax.set_mesh(mesh):
        place = lambda a, *axes: jax.device_put(a, NamedSharding(mesh, P(*axes)))
        given = place(xs, None, "data"), place(lengths, "data")
        given = *given, place(resets, None, "data")
        stored = jax.device_put(params, both.shardings(mesh, params))
        close(gradient(cell, method, **options)(stored, *given), want)

# Inside `shard_map`, each device has whole parameters and its sequences.
cell = rj.LSTM(8)
params = cell.init(keys[0], D)
want = gradient(cell, None)(params, xs, lengths, resets)
mesh = jax.make_mesh((2, 4), names, axis_types=(AxisType.Auto,) * 2)

def local(*given):
    return jax.lax.psum(loss(cell, both, *given), "data")

specs = P(), P(None, "data"), P("data"), P(None, "data")
mapped = jax.shard_map(local, mesh=mesh, in_specs=specs, out_specs=P())
close(jax.jit(jax.value_and_grad(mapped, (0, 1)))(params, xs, lengths, resets), want)
print("shared out as whole")
"""


def eight_devices(*command):
    flags = os.environ.get("XLA_FLAGS", "")
    flags += " --xla_force_host_platform_device_count=8"
    done = subprocess.run(
        [sys.executable, "-W", "error", *command],
        env={**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.newest
def test_values_and_gradients_on_eight_devices():
    assert eight_devices("-c", _DEVICES) == "shared out as whole\n"


@pytest.mark.slow
def test_exchanges_on_eight_devices(tmp_path):
    """What is stored in parts is exchanged once a sequence, and h once a step."""
    pytest.importorskip("tyro")
    flags = ["--cells", "GRU", "--output", str(tmp_path)]
    eight_devices("-m", "benchmarks.sharding", "--ways", "both", *flags)
    sys.path.insert(0, str(ROOT))
    from benchmarks import results, sharding

    rows = results.load(tmp_path / "sharding.json")["rows"]
    (chosen,) = (row for row in rows if row["method"] == "Sharded")
    assert sharding.per_step(chosen) == {"all-gather": 1, "reduce-scatter": 1}


@pytest.mark.parametrize("device", ["", "-v5e", "-v5e-64", "-h100-8"])
def test_the_exchanges_on_the_page_are_what_was_counted(device):
    pytest.importorskip("tyro")
    sys.path.insert(0, str(ROOT))
    from benchmarks import results, sharding

    file = ROOT / "docs" / "results" / f"sharding{device}.csv"
    rows = results.load(file)["rows"]
    page = (ROOT / "docs" / "accelerators.md").read_text()
    assert "\n".join(sharding.markdown(rows)) in page
    # The compiler of a TPU makes an all-reduce of some reduce-scatters.
    is_tpu = device.startswith("-v5e")
    one = {"all-gather"}, {"all-reduce"} if is_tpu else {"reduce-scatter"}
    for row in rows:
        if row["method"] == "Sharded":
            by_units = row["stored"] in ("units over model", "both")
            want = set.union(*one) if by_units else set()
            steps = sharding.per_step(row)
            assert set(steps) == want and set(map(round, steps.values())) <= {1}
        if row["stored"] == sharding.WHOLE and row["method"] != "Autodiff()":
            by_blocks = {"all-reduce"} if "Deferred" in row["method"] else set()
            assert set(sharding.per_step(row)) == (set() if device else by_blocks)
