# SPDX-License-Identifier: Apache-2.0
"""Names of the axes of parameters, and the rules that map them to a mesh."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from test_sharded import eight_devices

import recurrent_jax as rj
from recurrent_jax._flax.axis_names import names_of

KEY, XS = jax.random.key(0), jnp.ones((2, 5, 3))
ROWS, COLUMNS = ("features", "units"), ("hidden", "units")


@pytest.mark.parametrize(
    ("network", "features", "want"),
    [
        (
            rj.LSTM(4),
            4,
            {"kernel": ROWS, "recurrent_kernel": COLUMNS, "bias": ROWS[1:]},
        ),
        (
            rj.Deep((rj.Elman(4), rj.Elman(4, use_bias=False)), residual=True),
            4,
            {
                "0/kernel": COLUMNS,  # as many units as features
                "0/recurrent_kernel": COLUMNS,
                "0/bias": ("units",),
                "1/kernel": COLUMNS,
                "1/recurrent_kernel": COLUMNS,
            },
        ),
        (
            rj.Bidirectional(rj.GRU(4, use_bias=False)),
            3,
            {
                f"{way}/{name}": names
                for way in ("forward", "backward")
                for name, names in (("kernel", ROWS), ("recurrent_kernel", COLUMNS))
            },
        ),
    ],
    ids=["as-many-units-as-features", "layers", "both-ways"],
)
def test_names_follow_from_what_grows(network, features, want):
    assert names_of(network, features) == want


def test_axes_that_are_neither_have_no_name():
    """The gates of heads, and images."""
    heads = names_of(rj.MLSTM(4, heads=2), 3)
    assert heads["gate_kernel"] == ("features", None) and heads["gate_bias"] == (None,)
    image = names_of(rj.ConvLSTM(2, (3, 3)), 3)
    assert image["kernel"] == (None, None, "features", None)


def test_rules_of_one_axis_for_two_things_are_refused():
    with pytest.raises(ValueError, match="units and fsdp cut the same parameters"):
        rj.linen.axis_rules(units="data", fsdp="data")
    with pytest.raises(TypeError, match="axis_rules: batch must be"):
        rj.nnx.axis_rules(batch=1)


def test_named_parameters_are_the_same_parameters():
    """Boxes change nothing: outputs, conversions and steps one at a time."""
    cell = rj.LSTM(4)
    axes = rj.linen.logical_axes(cell, in_features=3)
    named, plain = rj.linen.RNN(cell, partition=axes), rj.linen.RNN(cell)
    boxed, bare = named.init(KEY, XS), plain.init(KEY, XS)
    same = lambda a, b: jax.tree.map(np.testing.assert_array_equal, a, b)  # noqa: E731
    same(nn.meta.unbox(boxed), bare)
    same(named.apply(boxed, XS), plain.apply(bare, XS))
    same(*(rj.linen.to_flax(cell, one) for one in (boxed, bare)))
    step = nn.RNN(rj.linen.RNNCell(cell, partition=axes), name="rnn")
    ours = {"params": {"cell": boxed["params"]}}
    np.testing.assert_allclose(step.apply(ours, XS), plain.apply(bare, XS)[1], 1e-5)

    mesh, rules = jax.make_mesh((1,), ("data",)), rj.nnx.axis_rules(fsdp="data")
    with jax.set_mesh(mesh), nnx.logical_axis_rules(rules):
        metadata = rj.nnx.logical_axes(cell, in_features=3)
        ours = rj.nnx.RNN(cell, 3, metadata=metadata, rngs=nnx.Rngs(0))
    others = rj.nnx.RNN(cell, 3, rngs=nnx.Rngs(0))
    same(*(rj.nnx.to_flax(one) for one in (ours, others)))
    assert tuple(ours.params.kernel[...].sharding.spec) == (None, "data")


_DEVICES = """
import functools, sys
import flax.linen as nn
import jax, jax.numpy as jnp, numpy as np
import recurrent_jax as rj
from flax import nnx
from jax.sharding import AxisType, NamedSharding, PartitionSpec as P

sys.path.insert(0, ".")
from benchmarks.accelerators import hlo

assert jax.device_count() == 8
B, D, H = 4, 4, 8
cell, key = rj.GRU(H), jax.random.key(0)
mesh = jax.make_mesh((2, 4), ("data", "model"), axis_types=(AxisType.Auto,) * 2)
place = lambda a: jax.device_put(a, NamedSharding(mesh, P("data")))
close = functools.partial(
    jax.tree.map, lambda a, b: np.testing.assert_allclose(a, b, 1e-4, 1e-5)
)

def per_step(run, *given):
    # What is exchanged at each further step, and that the rest is not.
    counted = []
    for T in (4, 8):
        over = NamedSharding(mesh, P("data"))
        xs = jax.ShapeDtypeStruct((B, T, D), jnp.float32, sharding=over)
        text = run.lower(*given, xs).compile().as_text()
        counted.append(hlo.count(text).collectives)
    one, two = counted
    return {k: (two[k] - one[k]) / 4 for k in two if two[k] != one[k]}, two

H_ONCE = {"all-gather": 1, "reduce-scatter": 1}
axes = rj.linen.logical_axes(cell, D)
xs = jax.random.normal(key, (B, 4, D))
for name, how, method, want in [
    ("data", {}, None, {}),
    ("tensor", {"units": "model"}, rj.Sharded(units="model", batch="data"), H_ONCE),
    ("fsdp", {"fsdp": "data"}, rj.Sharded(batch="data"), {}),
]:
    rules = rj.linen.axis_rules(batch="data", **how)

    def of(rnn):
        def loss(variables, xs):
            xs = nn.with_logical_constraint(xs, ("batch", None, None))
            return jnp.sum(jnp.sin(rnn.apply(variables, xs)[1]))
        return jax.value_and_grad(loss)

    alone = rj.linen.RNN(cell)
    start = alone.init(key, xs)
    whole = of(alone)(start, xs)
    with jax.set_mesh(mesh), nn.logical_axis_rules(rules):
        rnn = rj.linen.RNN(cell, partition=axes, method=method)
        names = nn.get_partition_spec(jax.eval_shape(rnn.init, key, xs))
        places = nn.logical_to_mesh_sharding(names, mesh, rules)
        variables = jax.jit(rnn.init, out_shardings=places)(key, xs)
        close(nn.meta.unbox(variables), start)
        kernel = variables["params"]["kernel"].value
        parts = {"data": 1, "tensor": 4, "fsdp": 2}[name]
        assert kernel.addressable_shards[0].data.size * parts == kernel.size
        run = jax.jit(of(rnn), out_shardings=(None, places))
        value, slope = run(variables, place(xs))
        close((value, nn.meta.unbox(slope)), whole)
        grown, counts = per_step(run, variables)
        assert grown == want, (name, grown)
        if name == "data":
            assert set(counts) == {"all-reduce"}, counts

    with jax.set_mesh(mesh), nnx.logical_axis_rules(rules):
        metadata = rj.nnx.logical_axes(cell, D)
        model = rj.nnx.RNN(cell, D, metadata=metadata, method=method, rngs=nnx.Rngs(0))
        rj.nnx.load(model, rj.linen.unpack(cell, start, D))
        graph, params = nnx.split(model)  # `load` leaves them where they are
        kernel = params["params"]["kernel"].get_value()
        assert name == "data" or kernel.addressable_shards[0].data.size < kernel.size

        @jax.jit
        def theirs(params, xs):
            run = lambda p: jnp.sum(jnp.sin(nnx.merge(graph, p)(xs)[1]))
            return jax.value_and_grad(run)(params)

        value, slope = theirs(params, place(xs))
        slope = nnx.to_pure_dict(slope)["params"]
        close((value, slope), (whole[0], whole[1]["params"]))
print("named and placed")
"""


@pytest.mark.newest
def test_values_gradients_and_exchanges_on_eight_devices():
    """Data, tensor and FSDP sharding, of Linen and of NNX."""
    pytest.importorskip("tyro")
    assert eight_devices("-c", _DEVICES) == "named and placed\n"
