# SPDX-License-Identifier: Apache-2.0
"""Linen: modules against the core, and under everything that Flax does to a module."""

import dataclasses
import functools
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest
from flax import serialization, traverse_util

import recurrent_jax as rj
from recurrent_jax import linen
from recurrent_jax.testing import check_cell

KEY = jax.random.key(0)
XS = jax.random.normal(jax.random.key(1), (5, 7, 2))  # N x T x D
LENGTHS = np.array([7, 2, 0, 1, 4])
SOME = np.array([7, 2, 3, 1, 4])  # Flax wants a step of each
MASK = np.asarray(jax.random.bernoulli(jax.random.key(2), 0.7, (5, 7)))
RESETS = np.asarray(jax.random.bernoulli(jax.random.key(3), 0.3, (5, 7)))


class Awkward(NamedTuple):
    """Parameters whose names modules use for something else."""

    cell: dict
    reverse: jax.Array
    name: jax.Array | None


@dataclasses.dataclass(frozen=True)
class Own(rj.Cell):
    """A user's cell: parameters in a dict in a tuple, a bare array for a carry."""

    hidden_size: int

    def init(self, key, in_features, dtype=float):
        kernel = jax.random.normal(key, (in_features, self.hidden_size), dtype)
        return Awkward({"kernel": kernel}, jnp.ones(self.hidden_size, dtype), None)

    def initial_carry(self, batch_shape=(), dtype=float, params=None):
        return jnp.zeros((*batch_shape, self.hidden_size), dtype)

    def recur(self, params, carry, z):
        u = rj.expand_like(params.reverse, carry) * carry
        carry = jnp.tanh(z @ params.cell["kernel"] + u)
        return carry, carry


@dataclasses.dataclass(frozen=True)
class Bare(Own):
    """A user's cell whose only parameter is an array."""

    def init(self, key, in_features, dtype=float):
        return jax.random.normal(key, (in_features, self.hidden_size), dtype)

    def recur(self, params, carry, z):
        carry = jnp.tanh(z @ params + carry)
        return carry, carry


@dataclasses.dataclass(frozen=True)
class Noisy(rj.Elman):
    """A cell that draws, with a carry that is learned."""

    def init(self, key, in_features, dtype=float):
        params = super().init(key, in_features, dtype)
        return params._replace(bias=params.bias + 0.5)

    def initial_carry(self, batch_shape=(), dtype=float, params=None):
        if params is None:
            return super().initial_carry(batch_shape, dtype)
        h = jnp.broadcast_to(params.bias, (*batch_shape, self.hidden_size))
        return rj.Elman.Carry(h.astype(dtype))

    def sample(self, key, xs, lead, dtype=float):
        return rj.wrappers.Sampled(
            xs, jax.random.normal(key, (*lead, self.hidden_size), dtype)
        )

    def project(self, params, x):
        if isinstance(x, rj.wrappers.Sampled):
            return super().project(params, x.x) + x.noise
        return super().project(params, x)


def same(got, want, tolerance=1e-6):
    assert jax.tree.structure(got) == jax.tree.structure(want)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, tolerance, tolerance)


def leaves(tree):
    return {"/".join(path): p for path, p in traverse_util.flatten_dict(tree).items()}


NETWORK = rj.Deep((rj.Bidirectional(rj.GRU(3)), rj.LSTM(4)))
MODULES = {
    "lstm": linen.RNN(rj.LSTM(4)),
    "own": linen.RNN(Own(4)),
    "bare": linen.RNN(Bare(4)),
    "network": linen.RNN(NETWORK),
    "deep": linen.Deep((rj.LSTM(2), rj.Elman(2)), residual=True, in_features=2),
    "both": linen.Bidirectional(rj.LSTM(3), rj.Elman(3), merge="sum"),
}


@pytest.mark.mostly_slow
@pytest.mark.parametrize("name", MODULES)
def test_a_module_is_unroll(name):
    module = MODULES[name]
    variables = jax.jit(module.init)(KEY, XS)
    params = linen.unpack(module.network, variables, in_features=2)
    same(linen.pack(params), variables)
    carry = jax.tree.map(lambda c: c + 0.3, module.network.initial_carry((5,)))
    flags = {"lengths": LENGTHS, "mask": MASK, "resets": RESETS}
    flags |= {"carry": carry, "reset_carry": carry}
    reverse = name == "lstm"
    got = jax.jit(lambda v, xs: module.clone(reverse=reverse).apply(v, xs, **flags))(
        variables, XS
    )
    want = jax.jit(
        lambda p, xs: rj.unroll(
            module.network, p, xs, **flags, reverse=reverse, time_axis=1
        )
    )(params, XS)
    same(got, want)


def test_time_may_come_first():
    module = linen.RNN(rj.LSTM(4))
    variables = module.init(KEY, XS)
    carry, ys = module.apply(variables, XS)
    first = module.clone(time_axis=0).apply(variables, XS.swapaxes(0, 1))
    same(first, (carry, ys.swapaxes(0, 1)))


def test_parameters_are_leaves_by_name():
    own, bare, params = (
        jax.eval_shape(MODULES[name].init, KEY, XS)["params"]
        for name in ("own", "bare", "network")
    )
    assert set(leaves(own)) == {"cell/kernel", "reverse"}
    assert set(bare) == {"value"}
    assert {"0/forward/kernel", "0/backward/bias", "1/recurrent_kernel"} < set(
        leaves(params)
    )


def test_initialisers_are_those_of_the_cell():
    cell = rj.LSTM(4, kernel_init=jax.nn.initializers.constant(0.25), forget_bias=3.0)
    params = linen.RNN(cell).init(KEY, XS)["params"]
    assert (params["kernel"] == 0.25).all()
    assert params["bias"].tolist() == [0] * 4 + [3] * 4 + [0] * 8


@pytest.mark.parametrize("wrap", [nn.with_partitioning, nn.with_logical_partitioning])
def test_parameters_are_partitioned_by_name_or_path(wrap):
    module = linen.RNN(
        NETWORK,
        partition={
            "kernel": functools.partial(wrap, names=(None, "gates")),
            "1/kernel": functools.partial(wrap, names=("in", "gates")),
        },
    )
    assert hash(module) == hash(module.clone())
    variables = module.init(KEY, XS)
    specs = leaves(nn.get_partition_spec(variables)["params"])
    assert specs["0/forward/kernel"] == jax.P(None, "gates")
    assert specs["1/kernel"] == jax.P("in", "gates")
    assert specs["1/bias"] == jax.P()
    same(
        module.apply(variables, XS),
        MODULES["network"].apply(nn.meta.unbox(variables), XS),
    )
    same(
        linen.unpack(NETWORK, variables),
        linen.unpack(NETWORK, nn.meta.unbox(variables)),
    )


def test_partitioned_parameters_lie_on_a_mesh():
    mesh = jax.make_mesh((1, 1), ("data", "model"))
    names = functools.partial(nn.with_partitioning, names=(None, "model"))
    module = linen.RNN(rj.LSTM(4), partition={"kernel": names})
    shapes = jax.eval_shape(module.init, KEY, XS)
    sharding = nn.get_sharding(shapes, mesh)
    variables = jax.jit(module.init, out_shardings=sharding)(KEY, XS)
    kernel = variables["params"]["kernel"].value
    assert kernel.sharding.spec == jax.P(None, "model")


def test_partition_of_no_parameter():
    module = linen.RNN(rj.LSTM(4), partition={"weight": nn.with_partitioning})
    with pytest.raises(ValueError, match="RNN: no parameter is called .'weight'.; the"):
        module.init(KEY, XS)


class Block(nn.Module):
    """A residual layer, as `nn.scan` stacks them."""

    @nn.compact
    def __call__(self, xs, _=None):
        names = functools.partial(nn.with_partitioning, names=(None, "gates"))
        _, ys = linen.RNN(rj.GRU(2), partition={"kernel": names}, name="rnn")(xs)
        return xs + ys, None


def test_scan_over_layers():
    stack = nn.scan(
        Block,
        variable_axes={"params": 0},
        split_rngs={"params": True},
        length=3,
        metadata_params={nn.PARTITION_NAME: "layer"},
    )()
    variables = jax.jit(stack.init)(KEY, XS)
    kernel = variables["params"]["rnn"]["kernel"]
    assert kernel.names == ("layer", None, "gates")
    plain = nn.meta.unbox(variables)
    assert not np.allclose(kernel.value[0], kernel.value[1])
    ys = XS
    for n in range(3):
        ys, _ = Block().apply(jax.tree.map(lambda p, n=n: p[n], plain), ys)
    same(jax.jit(stack.apply)(variables, XS)[0], ys)


def test_vmap_makes_an_ensemble():
    ensemble = nn.vmap(
        linen.RNN,
        in_axes=None,
        axis_size=3,
        variable_axes={"params": 0},
        split_rngs={"params": True},
    )(rj.LSTM(4))
    (_, ys), variables = jax.jit(ensemble.init_with_output)(KEY, XS)
    one = jax.tree.map(lambda p: p[1], variables)
    same(ys[1], linen.RNN(rj.LSTM(4)).apply(one, XS)[1])
    assert not np.allclose(ys[0], ys[1])


def test_remat_and_strategies_have_the_same_gradient():
    plain = linen.RNN(rj.LSTM(4))
    variables = plain.init(KEY, XS)

    def gradient(module):
        return jax.jit(jax.grad(lambda v: jnp.square(module.apply(v, XS)[1]).sum()))(
            variables
        )

    want = gradient(plain)
    same(gradient(nn.remat(linen.RNN)(rj.LSTM(4))), want, 1e-5)
    same(gradient(plain.clone(backward=rj.Checkpointed(every=2))), want, 1e-5)
    with pytest.raises(TypeError, match="backward must be a strategy"):
        plain.clone(backward="deferred").apply(variables, XS)


def test_a_key_comes_from_the_stream_dropout():
    module = linen.Deep((rj.LSTM(4), rj.LSTM(4)), dropout=0.5)
    variables = module.init(KEY, XS, deterministic=True)
    evaluated = module.apply(variables, XS, deterministic=True)
    same(
        evaluated,
        MODULES["lstm"]
        .clone(cell=module.network)
        .apply(variables, XS, deterministic=True),
    )

    def train(seed):
        rngs = {"dropout": jax.random.key(seed)}
        return module.apply(variables, XS, deterministic=False, rngs=rngs)[1]

    same(train(1), train(1))
    assert not np.allclose(train(1), train(2))
    assert not np.allclose(train(1), evaluated[1])
    field = module.clone(deterministic=False)
    same(field.apply(variables, XS, rngs={"dropout": KEY})[1], train(0))
    with pytest.raises(ValueError, match="deterministic"):
        module.apply(variables, XS)
    with pytest.raises(Exception, match="dropout"):
        module.apply(variables, XS, deterministic=False)


def test_what_never_draws_needs_no_flag_and_no_key():
    module = linen.RNN(NETWORK)
    variables = module.init(KEY, XS)
    same(module.apply(variables, XS, deterministic=False), module.apply(variables, XS))


@pytest.mark.parametrize("dtype", [None, jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("param_dtype", [jnp.float32, jnp.bfloat16])
def test_dtypes_are_those_of_flax(dtype, param_dtype):
    xs = XS.astype(param_dtype)
    module = linen.RNN(rj.GRU(4), dtype=dtype, param_dtype=param_dtype)
    (carry, ys), variables = jax.eval_shape(module.init_with_output, KEY, xs)
    dense = nn.Dense(4, dtype=dtype, param_dtype=param_dtype)
    want, theirs = jax.eval_shape(dense.init_with_output, KEY, xs)
    assert ys.dtype == carry.h.dtype == want.dtype
    got = jax.tree.map(lambda p: p.dtype, variables["params"]["kernel"])
    assert got == theirs["params"]["kernel"].dtype


def test_dtypes_promote_as_in_flax():
    module = linen.RNN(rj.GRU(4), param_dtype=jnp.float32)
    with jax.numpy_dtype_promotion("standard"):
        carry = rj.GRU(4).initial_carry((5,))
        (_, ys), _ = module.init_with_output(KEY, XS.astype(jnp.bfloat16), carry=carry)
    assert ys.dtype == jnp.float32


def test_tokens_are_refused():
    with pytest.raises(TypeError, match="Tokens need an embedding first"):
        linen.RNN(rj.GRU(4)).init(KEY, jnp.ones((5, 7, 2), int))


def test_several_inputs_need_a_size():
    with pytest.raises(ValueError, match="RNN: xs holds 2 arrays, .* pass in_features"):
        linen.RNN(rj.GRU(4)).init(KEY, (XS, XS))


def test_missing_and_unknown_parameters():
    module = linen.RNN(rj.Elman(4))
    params = dict(module.init(KEY, XS)["params"])
    kernel = params.pop("kernel")
    with pytest.raises(ValueError, match="params .'kernel'. are missing and .. ha"):
        module.apply({"params": params}, XS)
    params |= {"kernel": kernel, "weight": kernel}
    with pytest.raises(ValueError, match="missing and .'weight'. have no place; expec"):
        linen.unpack(rj.Elman(4), {"params": params})


def test_checkpoints(tmp_path):
    variables = MODULES["network"].init(KEY, XS)
    zeros = jax.tree.map(jnp.zeros_like, variables)
    same(serialization.from_bytes(zeros, serialization.to_bytes(variables)), variables)
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(tmp_path / "variables", variables)
        checkpointer.wait_until_finished()
        same(checkpointer.restore(tmp_path / "variables", zeros), variables)


def test_tabulate():
    table = linen.RNN(NETWORK).tabulate(KEY, XS, console_kwargs={"width": 120})
    size = sum(p.size for p in jax.tree.leaves(MODULES["network"].init(KEY, XS)))
    assert "RNN" in table and "recurrent_kernel: " in table
    assert f"Total Parameters: {size}" in table


@pytest.mark.parametrize("cell", [rj.LSTM(4), Own(4)], ids=["lstm", "own"])
def test_our_cell_in_the_rnn_of_flax(cell):
    module = nn.RNN(linen.RNNCell(cell), return_carry=True, reverse=True)
    (carry, ys), variables = jax.jit(module.init_with_output)(KEY, XS)
    params = linen.unpack(cell, {"params": variables["params"]["cell"]})
    want = rj.unroll(cell, params, XS, time_axis=1, reverse=True)
    same((carry, jnp.flip(ys, 1)), want)


def test_our_cell_by_itself():
    cell = linen.RNNCell(rj.LSTM(4))
    carry = cell.initialize_carry(KEY, XS[:, 0].shape)
    same(carry, rj.LSTM(4).initial_carry((5,)))
    (carry, y), variables = cell.init_with_output(KEY, carry, XS[:, 0])
    want = linen.RNN(rj.LSTM(4)).apply(variables, XS[:, :1])
    same((carry, y[:, None]), want)
    assert cell.num_feature_axes == 1


@pytest.mark.slow
def test_our_cell_in_the_rnn_of_flax_draws_and_starts_as_learned():
    module = nn.RNN(linen.RNNCell(Noisy(4), deterministic=True), return_carry=True)
    variables = module.init(KEY, XS)
    params = linen.unpack(Noisy(4), {"params": variables["params"]["cell"]})
    same(module.apply(variables, XS), rj.unroll(Noisy(4), params, XS, time_axis=1))
    rngs = {"dropout": KEY}
    one, each = (
        nn.RNN(
            linen.RNNCell(Noisy(4), deterministic=False),
            split_rngs={"params": False, "dropout": split},
        ).apply(variables, 0 * XS[:1], rngs=rngs)
        for split in (False, True)
    )
    # Undo the recurrence: what is left of a step is its noise.
    noise = [
        jnp.arctanh(ys[0, 1:])
        - ys[0, :-1] @ params.recurrent_kernel
        - params.bias[None]
        for ys in (one, each)
    ]
    np.testing.assert_allclose(noise[0], noise[0][:1].repeat(6, 0), atol=1e-3)
    assert np.ptp(noise[1], 0).min() > 0.1


@pytest.mark.mostly_slow
@pytest.mark.parametrize("kind", ["LSTMCell", "GRUCell", "SimpleCell"])
def test_a_cell_of_flax_in_our_unroll(kind):
    module = getattr(nn, kind)(features=4)
    cell = linen.FromFlax(module)
    params = cell.init(KEY, in_features=2)
    got = rj.unroll(cell, params, XS, time_axis=1, lengths=SOME)
    theirs = nn.RNN(module, return_carry=True)
    carry, ys = theirs.apply({"params": {"cell": params}}, XS, seq_lengths=SOME)
    valid = (np.arange(7) < SOME[:, None])[..., None]
    same(got, (carry, jnp.where(valid, ys, jnp.zeros_like(ys))))
    through = linen.RNN(cell).apply({"params": params}, XS, lengths=SOME)
    same(through, got)


@pytest.mark.slow
def test_a_cell_of_flax_keeps_the_laws(x64):
    check_cell(linen.FromFlax(nn.SimpleCell(features=2)), laws=["padding", "types"])


def test_a_cell_of_flax_is_drawn_in_half_precision():
    cell = linen.FromFlax(nn.SimpleCell(features=2))
    params = cell.init(KEY, 2, jnp.bfloat16)
    assert {p.dtype for p in jax.tree.leaves(params)} == {jnp.dtype("bfloat16")}
    assert cell.initial_carry((), jnp.bfloat16).dtype == jnp.bfloat16


def test_a_cell_of_flax_built_inside_a_module():
    class Model(nn.Module):
        @nn.compact
        def __call__(self, xs):
            return linen.RNN(linen.FromFlax(nn.GRUCell(features=4)), name="rnn")(xs)

    (_, ys), variables = jax.jit(Model().init_with_output)(KEY, XS)
    assert list(variables["params"]) == ["rnn"] and ys.shape == (5, 7, 4)


@pytest.mark.slow
def test_an_image_cell_of_flax():
    module = nn.ConvLSTMCell(features=3, kernel_size=(3, 3))
    cell = linen.FromFlax(module, feature_shape=(4, 4, 2))
    params = cell.init(KEY, in_features=2)
    xs = jnp.ones((2, 5, 4, 4, 2))
    got = rj.unroll(cell, params, xs, time_axis=1)
    theirs = nn.RNN(module, return_carry=True)
    same(got, theirs.apply({"params": {"cell": params}}, xs))
    with pytest.raises(ValueError, match="ConvLSTMCell reads 3 axes .* feature_shape="):
        linen.FromFlax(module).init(KEY, 2)


def test_no_cell_of_flax():
    with pytest.raises(TypeError, match="FromFlax: module must be a flax.linen.RNNCel"):
        linen.FromFlax(nn.Dense(4))


THEIRS = {
    "LSTMCell": nn.LSTMCell(features=4),
    "OptimizedLSTMCell": nn.OptimizedLSTMCell(features=4),
    "GRUCell": nn.GRUCell(features=4),
    "SimpleCell": nn.SimpleCell(features=4),
    "MGUCell": nn.MGUCell(features=4),
    "ConvLSTMCell": nn.ConvLSTMCell(features=3, kernel_size=(3, 3)),
}


@pytest.mark.mostly_slow
@pytest.mark.parametrize("kind", THEIRS)
def test_variables_of_flax_there_and_back(kind):
    is_image = kind == "ConvLSTMCell"
    xs = jax.random.normal(KEY, (2, 5, 4, 4, 2)) if is_image else XS
    theirs = nn.RNN(THEIRS[kind])
    ys, variables = jax.jit(theirs.init_with_output)(KEY, xs)
    # Zero biases would hide their places.
    variables = jax.tree.map(lambda p: p + 0.1, variables)
    ys = theirs.apply(variables, xs)
    options = {"spatial_shape": (4, 4)} if is_image else {}
    cell, ours = linen.from_flax(variables, **options)
    same(linen.RNN(cell).apply(ours, xs)[1], ys)
    back = linen.to_flax(cell, ours)
    same(theirs.apply({"params": {"cell": back["params"]}}, xs), ys)
    want = jax.tree.leaves_with_path(variables["params"]["cell"])
    got = dict(jax.tree.leaves_with_path(back["params"]))
    assert got.keys() == dict(want).keys()
    for path, p in want:
        # The two biases of a ConvLSTMCell act together, and are one of ours.
        if not (is_image and jax.tree_util.keystr(path).endswith("['bias']")):
            np.testing.assert_array_equal(got[path], p)


@pytest.mark.slow
def test_a_stack_of_flax():
    theirs = nn.Sequential(
        [
            nn.Bidirectional(nn.RNN(nn.GRUCell(3)), nn.RNN(nn.GRUCell(3))),
            nn.RNN(nn.LSTMCell(4)),
        ]
    )
    ys, variables = jax.jit(theirs.init_with_output)(KEY, XS)
    network, ours = linen.from_flax(variables)
    same(linen.RNN(network).apply(ours, XS)[1], ys)
    same(linen.to_flax(network, ours), variables)
