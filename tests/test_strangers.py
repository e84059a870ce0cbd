# SPDX-License-Identifier: Apache-2.0
"""What strangers did that ended in a raw error, or in an answer that means nothing."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import recurrent_jax as rj
from recurrent_jax import kernels, ragged, tasks

CELL = rj.LSTM(3)
KEY = jax.random.key(0)
PARAMS = CELL.init(KEY, 2)
XS = jnp.ones((5, 4, 2))
MASKED = np.ma.masked_array(np.ones((4, 2), "float32"), True)
BRIDGE = tasks.init_bridge(KEY, CELL, 2)
TOKEN = jnp.zeros(2, int)
PLAN = ragged.packing([2, 1])
STORED = rj.Structured(CELL, rj.operators.LowRank(1))
LOOK = rj.Attention(CELL, memory_features=3)
LOOKS = LOOK.init(KEY, 2)


def none(key, shape, dtype):
    return None


def scalar(key, shape, dtype):
    return jnp.zeros((), dtype)


def wide(key, shape, dtype):
    return jnp.zeros(shape, "float16")


@pytest.mark.parametrize(
    "call, message",
    [
        # A key has no weak type, and NumPy makes a dtype of much.
        (lambda: rj.unroll(CELL, PARAMS, XS, mask=KEY), "unroll: mask must be bool"),
        (lambda: rj.unroll(CELL, PARAMS, XS, carry=KEY), "unroll: carry must be Hid"),
        (
            lambda: rj.unroll(CELL, PARAMS, jax.random.split(KEY, (5, 2))),
            r"unroll: xs is key<fry> but params\.kernel is float32",
        ),
        (lambda: CELL.init(KEY, 2, CELL.initial_carry()), "LSTM.init: dtype must be"),
        (lambda: CELL.init(KEY, 2, np.float32(1)), r"dtype must be .*, got np\.float"),
        (
            lambda: CELL.initial_carry((), jax.ShapeDtypeStruct((), "float32")),
            "LSTM.initial_carry: dtype must be a floating-point dtype",
        ),
        # More than an index holds.
        (lambda: rj.LSTM(2**70), r"LSTM: hidden_size must be below 2\*\*63"),
        (lambda: CELL.init(KEY, 2**63), r"LSTM.init: in_features must be below 2\*\*"),
        (lambda: ragged.pad([[1]], time=2**64), r"pad: time must be below 2\*\*63"),
        # Arrays that are none.
        (
            lambda: tasks.bridge(BRIDGE, MASKED),
            r"bridge: vector .* got a masked array, float32\[4,2\], which filled\(\)",
        ),
        (
            lambda: PLAN.pack({"a": MASKED}),
            r"pack: xs\['a'\] must be an array, got a masked array, float32\[4,2\]",
        ),
        (lambda: PLAN.unpack("a"), "unpack: ys must be an array"),
        (
            lambda: jax.jit(lambda xs: ragged.unpad(xs, [2, 1]))(jnp.ones((2, 2))),
            "unpad: xs must be known before tracing",
        ),
        # What would be broadcast, or read by nobody.
        (
            lambda: rj.affine(jnp.ones((7, 2)), jnp.ones((2, 1)), jnp.ones(3)),
            r"affine: x @ kernel \+ bias does not work for .*bias \(out,\): float32\[3",
        ),
        # What has no values yet, or no arrays.
        (
            lambda: jax.jit(lambda p: rj.convert.to_torch(CELL, p))(PARAMS),
            r"to_torch: params\.kernel must be an array that is known, got float32\[2",
        ),
        (
            lambda: rj.convert.to_torch(CELL, PARAMS._replace(kernel=None)),
            "to_torch: params",
        ),
        (
            lambda: jax.jit(rj.training.standardiser)(jnp.ones((3, 2))),
            "standardiser: train must be known before tracing",
        ),
        (
            lambda: rj.training.standardiser(jnp.ones(0)),
            r"standardiser: no steps in train float32\[0\]",
        ),
        (
            lambda: rj.generation.generate(
                lambda c, t: (c, t), object(), TOKEN, steps=2
            ),
            "generate: carry must be arrays",
        ),
        (
            lambda: rj.BatchNormLSTM(3).training({1, 2}),
            r"BatchNormLSTM.training: xs must be a floating-point array",
        ),
        (
            lambda: rj.Structured(CELL, rj.operators.LowRank(1)).prepare(PARAMS),
            "Structured.prepare: params must be StructuredParams",
        ),
        *(
            (lambda f=f, x=x: f(x), "must be an array, .*ShapeDtypeStruct")
            for f in (tasks.last_output, tasks.mean_output, PLAN.pack)
            for x in [jax.ShapeDtypeStruct((2, 2, 3), "float32")]
        ),
        (
            lambda: tasks.scheduled_sampling(
                lambda c, x: (c, x), (), XS > 0, rate=0.5, key=KEY
            ),
            "scheduled_sampling: inputs must be an integer or floating-point array",
        ),
        (
            lambda: tasks.bridge(BRIDGE._replace(biases=BRIDGE.kernels), XS),
            "bridge: params must be what init_bridge returned",
        ),
        (
            lambda: STORED.prepare(STORED.init(KEY, 2)._replace(recurrent_kernel="a")),
            "Structured.prepare: params.recurrent_kernel must be an array",
        ),
        *(
            (
                lambda part=part: LOOK.bind(LOOKS._replace(**part), jnp.ones((5, 3))),
                rf"Attention.bind: params\.{name}",
            )
            for name, part in {
                "memory_kernel must be of shape": {"memory_kernel": jnp.ones((2, 3))},
                "memory_kernel must be a float": {"memory_kernel": None},
                "vector must be a floating": {"vector": jnp.ones((3, 1))},
                "query_kernel must be": {"query_kernel": None},
            }.items()
        ),
        (
            lambda: LOOK.bind(LOOKS._replace(vector=jnp.ones(9)), jnp.ones((5, 3))),
            r"params of the score must be of one size, .*float32\[9\]",
        ),
        (
            lambda: LOOK.weights(LOOKS._replace(memory=(1, 2, 3)), jnp.ones((4, 6))),
            "Attention.weights: params.memory must be what bind made",
        ),
        # What JAX would not add to an array of floats.
        (lambda: rj.LSTM(3, forget_bias=2**31), "forget_bias must be an integer of at"),
        (lambda: rj.Zoneout(CELL, ()), r"Zoneout: rate must be a finite number, got"),
        # Initialisers that do not draw what they are asked for.
        (
            lambda: rj.LSTM(3, kernel_init=none).init(KEY, 2),
            r"per_gate: an initialiser must return an array of shape \(2, 3\), .* None",
        ),
        (
            lambda: rj.Elman(3, kernel_init=scalar).init(KEY, 2),
            r"Elman.init: params\.kernel must be float32\[2,3\], got float32\[\]",
        ),
        (
            lambda: rj.Elman(3, bias_init=none).init(KEY, 2),
            r"Elman.init: params\.bias must be float32\[3\], got None",
        ),
        (
            lambda: rj.GRU(3, recurrent_kernel_init=wide).init(KEY, 2),
            r"GRU.init: params\.recurrent_kernel must be float32\[3,9\], got float16",
        ),
    ],
)
def test_what_is_told(call, message):
    with pytest.raises((TypeError, ValueError), match=message):
        call()


def test_an_array_that_was_donated_is_named(tmp_path):
    carry = CELL.initial_carry((4,))
    carry.h.delete()
    with pytest.raises(ValueError, match=r"unroll: carry holds .*, float32\[4,3\], as"):
        rj.unroll(CELL, PARAMS, XS, carry=carry)
    with pytest.raises(ValueError, match=r"LSTM.step: carry holds an array that was"):
        CELL.step(PARAMS, carry, XS[0])
    pytest.importorskip("orbax.checkpoint")
    with pytest.raises(ValueError, match=r"save: state\.h holds an array that was del"):
        rj.training.save(tmp_path, carry)


def test_a_directory_that_is_none(tmp_path, monkeypatch):
    pytest.importorskip("orbax.checkpoint")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="save: directory must name one"):
        rj.training.save("", PARAMS)
    link = tmp_path / "disk"
    link.symlink_to(tmp_path / "mount" / "gone")
    with pytest.raises(
        NotADirectoryError, match=r"restore: .*gone, which is not there"
    ):
        rj.training.restore(link, PARAMS)


def test_a_tensor_of_torch_is_no_array_of_a_stream():
    torch = pytest.importorskip("torch")
    with pytest.raises(TypeError, match="export: x must be an array"):
        rj.streaming.export(
            lambda carry, x: (carry, x), CELL.initial_carry, torch.ones(2)
        )


def cells():
    for name in rj.__all__:
        kind = getattr(rj, name)
        if isinstance(kind, type) and issubclass(kind, rj.Cell):
            required = [
                p.name
                for p in inspect.signature(kind).parameters.values()
                if p.default is p.empty
            ]
            if required in (["hidden_size"], ["in_features"]):
                yield kind(4)


def test_no_array_of_a_start_stands_twice_so_that_it_can_be_donated():
    found = list(cells())
    assert len(found) > 40
    for cell in found:
        leaves = jax.tree.leaves(cell.initial_carry((2,)))
        assert len(set(map(id, leaves))) == len(leaves), cell
    last = jax.jit(
        lambda carry, xs: rj.unroll(CELL, PARAMS, xs, carry=carry)[0], donate_argnums=0
    )
    want, _ = rj.unroll(CELL, PARAMS, XS)
    got = last(CELL.initial_carry((4,)), XS)
    np.testing.assert_allclose(got.h, want.h, rtol=1e-6)


@pytest.mark.mostly_slow
@pytest.mark.parametrize("cell", [CELL, rj.GRU(3), rj.Elman(3)], ids=str)
def test_a_kernel_is_mapped_over_nothing(cell):
    if not kernels.chosen_by_default():
        pytest.skip("there are no kernels here")
    params = cell.init(KEY, 2)

    def total(params, xs):
        return jax.vmap(lambda x: rj.unroll(cell, params, x)[1])(xs).sum()

    assert total(params, jnp.ones((0, 9, 2))) == 0
    slopes = jax.grad(total)(params, jnp.ones((0, 9, 2)))
    assert not any(leaf.any() for leaf in jax.tree.leaves(slopes))


@pytest.mark.slow
def test_no_sequences():
    empty = jnp.ones((5, 0, 2))
    carry, ys = rj.unroll(CELL, PARAMS, empty, lengths=[])
    assert carry.h.shape == (0, 3) and ys.shape == (5, 0, 3)
    learner = rj.online.UORO(CELL)
    state = learner.init(PARAMS, empty[0], key=KEY)
    state, y = learner.step(PARAMS, state, empty[0])
    slope = learner.gradient(state, jnp.zeros_like(y))
    assert not slope.kernel.any() and slope.kernel.shape == (2, 12)


@pytest.mark.mostly_slow
@pytest.mark.parametrize("cell", [rj.Elman, rj.GRU, rj.LSTM])
@pytest.mark.parametrize(
    "activation, message",
    [
        (lambda a: None, "got None"),
        (lambda a: a[..., :1], r"got float32\[2,1\]"),  # which would be broadcast
        (lambda a: a.astype("float16"), "got float16"),
        (lambda a, b: a, r"on float32\[2,3\] it raised TypeError: .*argument: 'b'"),
    ],
)
def test_an_activation_returns_an_array_like_its_argument(cell, activation, message):
    with pytest.raises(TypeError, match=message):
        cell(3, activation=activation).init(KEY, 2)
    params = cell(3).init(KEY, 2)
    with pytest.raises(TypeError, match=message):
        rj.unroll(cell(3, activation=activation), params, XS)


@pytest.mark.parametrize("cell", [rj.Elman, rj.GRU, rj.LSTM])
def test_an_activation_may_differ_from_unit_to_unit(cell):
    per_unit = cell(3, activation=lambda a: a * jnp.arange(3.0))
    ys = rj.unroll(per_unit, cell(3).init(KEY, 2), XS)[1]
    assert ys.shape == (5, 4, 3)
