# SPDX-License-Identifier: Apache-2.0
"""NNX: modules against the core, and under everything that Flax does to a module."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest
from flax import nnx

import recurrent_jax as rj
from recurrent_jax.nnx import (
    RNN,
    Bidirectional,
    Deep,
    FromFlax,
    RNNCell,
    from_flax,
    load,
    to_flax,
    unpack,
)
from recurrent_jax.testing import check_cell

KEY = jax.random.key(0)
XS = jax.random.normal(jax.random.key(1), (5, 7, 2))  # N x T x D
LENGTHS = np.array([7, 2, 0, 1, 4])
SOME = np.array([7, 2, 3, 1, 4])  # Flax wants a step of each
MASK = np.asarray(jax.random.bernoulli(jax.random.key(2), 0.7, (5, 7)))
RESETS = np.asarray(jax.random.bernoulli(jax.random.key(3), 0.3, (5, 7)))
NETWORK = rj.Deep((rj.Bidirectional(rj.GRU(3)), rj.LSTM(4)))


def rngs(seed=0):
    return nnx.Rngs(seed)


def same(got, want, tolerance=1e-6):
    assert jax.tree.structure(got) == jax.tree.structure(want)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, tolerance, tolerance)


MODULES = {
    "lstm": lambda: RNN(rj.LSTM(4), 2, reverse=True, rngs=rngs()),
    "time_first": lambda: RNN(rj.Elman(4), 2, time_axis=0, rngs=rngs()),
    "network": lambda: RNN(NETWORK, 2, rngs=rngs()),
    "deep": lambda: Deep((rj.GRU(2), rj.Elman(2)), 2, residual=True, rngs=rngs()),
    "both": lambda: Bidirectional(
        rj.GRU(3), 2, backward_cell=rj.Elman(3), merge="sum", rngs=rngs()
    ),
}


@pytest.mark.parametrize("name", MODULES)
def test_a_module_is_unroll(name):
    module = MODULES[name]()
    carry = jax.tree.map(lambda c: c + 0.3, module.network.initial_carry((5,)))
    flags = {"mask": MASK, "resets": RESETS}
    xs = XS
    if name == "time_first":
        xs, flags = jax.tree.map(lambda a: a.swapaxes(0, 1), (xs, flags))
    flags |= {"lengths": LENGTHS, "carry": carry, "reset_carry": carry}
    got = nnx.jit(lambda module, xs: module(xs, **flags))(module, xs)
    want = jax.jit(
        lambda params, xs: rj.unroll(
            module.network,
            params,
            xs,
            **flags,
            reverse=module.reverse,
            time_axis=module.time_axis,
        )
    )(unpack(module), xs)
    same(got, want)


def test_parameters_are_leaves_by_name():
    state = nnx.state(RNN(NETWORK, 2, rngs=rngs()))
    paths = {path for path, leaf in nnx.to_flat_state(state)}
    assert all(type(leaf) is nnx.Param for _, leaf in nnx.to_flat_state(state))
    assert ("params", "0", "backward", "kernel") in paths
    assert ("params", "1", "recurrent_kernel") in paths
    rnn = RNN(rj.Elman(4, use_bias=False), 2, rngs=rngs())
    assert set(nnx.state(rnn)["params"]) == {"kernel", "recurrent_kernel"}


def test_initialisers_are_those_of_the_cell():
    cell = rj.LSTM(4, kernel_init=jax.nn.initializers.constant(0.25), forget_bias=3.0)
    params = unpack(RNN(cell, 2, rngs=rngs()))
    assert (params.kernel == 0.25).all()
    assert params.bias.tolist() == [0] * 4 + [3] * 4 + [0] * 8


@pytest.mark.slow
def test_parameters_have_metadata_by_name_or_path():
    metadata = {
        "kernel": {"out_sharding": (None, "model"), "note": "seen"},
        "1/kernel": {"out_sharding": ("data", "model")},
    }
    mesh = jax.make_mesh((1, 1), ("data", "model"))

    @nnx.jit
    def make():
        return RNN(NETWORK, 2, metadata=metadata, rngs=rngs())

    with jax.set_mesh(mesh):
        module = make()
        specs = nnx.get_partition_spec(nnx.state(module))["params"]
        assert specs["0"]["forward"]["kernel"].get_value() == jax.P(None, "model")
        assert specs["1"]["kernel"].get_value() == jax.P("data", "model")
        assert specs["1"]["bias"].get_value() == jax.P()
        assert module.params["0"]["backward"].kernel.note == "seen"
    with pytest.raises(ValueError, match="RNN: no parameter is called .'weight'.; the"):
        RNN(rj.LSTM(4), 2, metadata={"weight": {}}, rngs=rngs())


class Model(nnx.Module):
    def __init__(self, rngs):
        self.rnn = RNN(rj.LSTM(4), 2, rngs=rngs)
        self.head = nnx.Linear(4, 1, rngs=rngs)

    def __call__(self, xs):
        carry, ys = self.rnn(xs)
        return self.head(carry.h)


def test_split_merge_grad_and_filters():
    model = Model(rngs())
    graph, params = nnx.split(model, nnx.Param)  # nothing else is there
    same(nnx.merge(graph, params)(XS), model(XS))
    recurrent = nnx.All(nnx.Param, nnx.PathContains("rnn"))
    only = nnx.DiffState(0, recurrent)
    loss = nnx.jit(nnx.grad(lambda m: jnp.square(m(XS)).sum(), argnums=only))
    got = loss(model)
    assert set(got) == {"rnn"}

    def core(params):
        carry, _ = rj.unroll(rj.LSTM(4), params, XS, time_axis=1)
        return jnp.square(model.head(carry.h)).sum()

    want = jax.jit(jax.grad(core))(unpack(model.rnn))
    for name, g in want._asdict().items():
        same(got["rnn"]["params"][name][...], g, 1e-5)


def test_strategies_and_remat_have_the_same_gradient():
    def gradient(backward, wrap=lambda f: f):
        rnn = RNN(rj.LSTM(4), 2, backward=backward, rngs=rngs())
        run = wrap(lambda m: jnp.square(m(XS)[1]).sum())
        return nnx.to_pure_dict(nnx.jit(nnx.grad(run))(rnn))

    want = gradient(None)
    same(gradient(rj.Checkpointed(every=2)), want, 1e-5)
    same(gradient(None, nnx.remat), want, 1e-5)
    with pytest.raises(TypeError, match="backward must be a strategy"):
        gradient("deferred")


def test_vmap_makes_an_ensemble():
    @nnx.jit
    @nnx.split_rngs(splits=3)
    @nnx.vmap(in_axes=(0,))
    def make(rngs):
        return RNN(rj.GRU(4), 2, rngs=rngs)

    ensemble = make(rngs())
    assert ensemble.params.kernel.shape == (3, 2, 12)
    run = nnx.jit(nnx.vmap(lambda m, xs: m(xs)[1], in_axes=(0, None)))
    ys = run(ensemble, XS)
    one = RNN(rj.GRU(4), 2, rngs=rngs(5))
    stacked = nnx.to_pure_dict(nnx.state(ensemble.params))
    load(one, rj.GRU.Params(**jax.tree.map(lambda p: p[1], stacked)))
    same(ys[1], one(XS)[1])
    assert not np.allclose(ys[0], ys[1])


def test_scan_over_layers():
    @nnx.jit
    @nnx.split_rngs(splits=3)
    @nnx.vmap(in_axes=(0,))
    def make(rngs):
        return RNN(rj.GRU(2), 2, rngs=rngs)

    layers = make(rngs())
    deep = nnx.scan(
        lambda ys, rnn: rnn(ys)[1], in_axes=(nnx.Carry, 0), out_axes=nnx.Carry
    )
    got = nnx.jit(deep)(XS, layers)
    stacked = nnx.to_pure_dict(nnx.state(layers.params))
    ys = XS
    for n in range(3):
        params = rj.GRU.Params(**jax.tree.map(lambda p: p[n], stacked))
        _, ys = rj.unroll(rj.GRU(2), params, ys, time_axis=1)
    same(got, ys)


def test_a_key_comes_from_the_stream_dropout():
    module = Deep((rj.LSTM(4), rj.LSTM(4)), 2, dropout=0.5, rngs=rngs())
    run = nnx.jit(lambda m: m(XS)[1])
    first, second = run(module), run(module)
    assert not np.allclose(first, second)
    again = Deep((rj.LSTM(4), rj.LSTM(4)), 2, dropout=0.5, rngs=rngs())
    same(run(again), first)
    module.eval()
    params = unpack(module)
    plain = rj.Deep((rj.LSTM(4), rj.LSTM(4)))
    want = jax.jit(lambda p: rj.unroll(plain, p, XS, time_axis=1))(params)
    same(run(module), want[1])
    given = nnx.jit(lambda m, r: m(XS, deterministic=False, rngs=r)[1])
    same(given(module, nnx.Rngs(dropout=3)), given(module, nnx.Rngs(dropout=3)))
    assert not np.allclose(given(module, nnx.Rngs(dropout=3)), want[1])
    module.train()
    assert not np.allclose(run(module), want[1])
    same(run(nnx.view(module, deterministic=True)), want[1])
    assert not np.allclose(run(module), want[1])
    assert len(nnx.state(module, nnx.RngState)) == 1


def test_what_draws_needs_a_stream():
    with pytest.raises(ValueError, match="no stream dropout"):
        Deep((rj.LSTM(4), rj.LSTM(4)), 2, dropout=0.5, rngs=nnx.Rngs(params=0))
    RNN(rj.LSTM(4), 2, rngs=nnx.Rngs(params=0))


@pytest.mark.parametrize("dtype", [None, jnp.bfloat16])
@pytest.mark.parametrize("param_dtype", [jnp.float32, jnp.bfloat16])
def test_dtypes_are_those_of_flax(dtype, param_dtype):
    xs = XS.astype(param_dtype)
    types = {"dtype": dtype, "param_dtype": param_dtype}
    rnn = RNN(rj.GRU(4), 2, rngs=rngs(), **types)
    carry, ys = rnn(xs)
    linear = nnx.Linear(2, 4, rngs=rngs(), **types)
    assert ys.dtype == carry.h.dtype == linear(xs).dtype
    assert rnn.params.kernel.dtype == linear.kernel.dtype


def test_checkpoints(tmp_path):
    model, other = Model(rngs(0)), Model(rngs(1))
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(tmp_path / "model", nnx.state(model))
        checkpointer.wait_until_finished()
        nnx.update(other, checkpointer.restore(tmp_path / "model", nnx.state(other)))
    same(nnx.state(other), nnx.state(model))


def test_tabulate():
    # Flax cannot show a NamedTuple, which a carry is, in the row of a module.
    table = nnx.tabulate(Model(rngs()), XS, row_filter=lambda row: row.type is not RNN)
    size = sum(p.size for p in jax.tree.leaves(nnx.state(Model(rngs()))))
    assert f"Total Parameters: {size}" in table


def test_load():
    rnn = RNN(rj.LSTM(4), 2, rngs=rngs())
    params = rj.LSTM(4).init(jax.random.key(7), 2)
    load(rnn, params)
    same(unpack(rnn), params)
    with pytest.raises(ValueError, match="params.kernel must be of shape .2, 16., got"):
        load(rnn, rj.LSTM(4).init(KEY, 3))
    with pytest.raises(ValueError, match="missing and .'recurrent_bias'. have no plac"):
        load(rnn, rj.GRU(4).init(KEY, 2))


def test_our_cell_in_the_rnn_of_flax():
    cell = RNNCell(rj.LSTM(4), 2, rngs=rngs())
    theirs = nnx.RNN(cell, return_carry=True, reverse=True, keep_order=True)
    params = unpack(cell)
    want = jax.jit(lambda p: rj.unroll(rj.LSTM(4), p, XS, time_axis=1, reverse=True))(
        params
    )
    same(nnx.jit(lambda m: m(XS))(theirs), want)
    assert cell.num_feature_axes == 1
    with pytest.raises(ValueError, match="carry_init has no effect"):
        cell.initialize_carry((5, 2), carry_init=nnx.initializers.ones)


def test_our_cell_in_the_rnn_of_flax_draws_and_starts_as_learned():
    network = rj.LearnedCarry(rj.OutputDropout(rj.GRU(4), 0.5))
    cell = RNNCell(network, 2, rngs=rngs())
    params = jax.tree.map(lambda p: p + 0.2, unpack(cell))
    load(cell, params)
    run = nnx.jit(lambda m: m(XS))
    theirs = nnx.RNN(cell)
    first, second = run(theirs), run(theirs)
    assert 0.3 < (first == 0).mean() < 0.7
    assert not ((first == 0) == (second == 0)).all()
    assert not ((first[:, 0] == 0) == (first[:, 1] == 0)).all()
    theirs.eval()
    want = jax.jit(lambda p: rj.unroll(network, p, XS, time_axis=1)[1])(params)
    same(run(theirs), want)


KINDS = {
    "LSTMCell": False,
    "OptimizedLSTMCell": True,
    "GRUCell": False,
    "SimpleCell": False,
}


@pytest.mark.parametrize("kind", ["OptimizedLSTMCell", "SimpleCell"])
def test_a_cell_of_flax_in_our_unroll(kind):
    make = functools.partial(getattr(nnx, kind), hidden_features=4)
    module, cell = make(2, rngs=rngs(3)), FromFlax(make)
    assert jax.tree.structure(cell.init(KEY, 2)) == jax.tree.structure(
        nnx.state(module)
    )
    got = jax.jit(lambda p: rj.unroll(cell, p, XS, time_axis=1, lengths=SOME))(
        nnx.state(module)
    )
    carry, ys = nnx.jit(lambda m: m(XS, seq_lengths=SOME))(
        nnx.RNN(module, return_carry=True)
    )
    valid = (np.arange(7) < SOME[:, None])[..., None]
    same(got, (carry, jnp.where(valid, ys, jnp.zeros_like(ys))))


def test_a_cell_of_flax_keeps_the_laws(x64):
    make = functools.partial(nnx.SimpleCell, hidden_features=2, dtype=None)
    check_cell(FromFlax(make), laws=["padding", "types"])


def test_a_cell_of_flax_is_drawn_in_half_precision():
    cell = FromFlax(functools.partial(nnx.SimpleCell, hidden_features=2))
    params = cell.init(KEY, 2, jnp.bfloat16)
    assert {p.dtype for p in jax.tree.leaves(params)} == {jnp.dtype("bfloat16")}
    assert cell.initial_carry((), jnp.bfloat16).dtype == jnp.bfloat16


@pytest.mark.parametrize("kind", KINDS)
def test_modules_of_flax_there_and_back(kind):
    cell = getattr(nnx, kind)(2, 4, rngs=rngs())
    # Zero biases would hide their places.
    nnx.update(cell, jax.tree.map(lambda p: p + 0.1, nnx.state(cell)))
    theirs = nnx.RNN(cell)
    ours = from_flax(theirs)
    same(ours(XS)[1], theirs(XS))
    before = nnx.to_pure_dict(nnx.state(cell))
    nnx.update(cell, jax.tree.map(jnp.zeros_like, nnx.state(cell)))
    nnx.update(cell, to_flax(ours, optimized=KINDS[kind]))
    same(nnx.to_pure_dict(nnx.state(cell)), before, 0)


@pytest.mark.slow
def test_a_stack_of_flax():
    def gru():
        return nnx.RNN(nnx.GRUCell(2, 3, activation_fn=nnx.relu, rngs=rngs()))

    last = nnx.RNN(nnx.LSTMCell(6, 4, activation_fn=nnx.relu, rngs=rngs()))
    theirs = nnx.Sequential(nnx.Bidirectional(gru(), gru()), last)
    same(from_flax(theirs)(XS)[1], theirs(XS))


def test_what_has_no_counterpart():
    cells = [
        nnx.SimpleCell(2, 2, rngs=rngs()),
        nnx.SimpleCell(2, 2, activation_fn=nnx.relu, rngs=rngs()),
    ]
    with pytest.raises(ValueError, match="2 cells with 2 choices of"):
        from_flax(nnx.Sequential(*map(nnx.RNN, cells)))
    with pytest.raises(ValueError, match="no recurrent cell in the Linear"):
        from_flax(nnx.Linear(2, 2, rngs=rngs()))


def test_a_residual_cell_of_flax():
    theirs = nnx.RNN(nnx.SimpleCell(2, 4, residual=True, rngs=rngs()))
    same(from_flax(theirs)(XS)[1], theirs(XS))
