# SPDX-License-Identifier: Apache-2.0
"""What `unroll` and `step` refuse, for cells whose parameters are nested as well."""

import dataclasses
import functools
import itertools
import pickle
from typing import Any

import jax
import jax.numpy as jnp
import pytest

import recurrent_jax as rj
from recurrent_jax import backward, initializers, networks, operators, wrappers
from recurrent_jax._checks.declared import fields_of

TIME, BATCH, FEATURES = 7, 5, 2
KEY = jax.random.key(0)
NAN, INF = float("nan"), float("inf")
NESTED = {
    "plain": rj.LSTM(4),
    "stack": rj.Stack((rj.LSTM(4), rj.GRU(4))),
    "learned": rj.LearnedCarry(rj.LSTM(4)),
    "attention": rj.Attention(rj.GRU(4), memory_features=3),
    "structured": rj.Structured(rj.LSTM(4), operators.Diagonal()),
    "nested": rj.Zoneout(rj.Stack((rj.LearnedCarry(rj.GRU(4)), rj.LSTM(4))), 0.1),
    "image": rj.ConvLSTM(3, (4, 4)),
    "deep": rj.Deep((rj.Stack((rj.LSTM(4),)), rj.LearnedCarry(rj.GRU(4)))),
    "both": rj.Bidirectional(rj.LearnedCarry(rj.GRU(4))),
}
CELLS = {name: cell for name, cell in NESTED.items() if isinstance(cell, rj.Cell)}


def inputs(cell, features=FEATURES, dtype="float32", lead=(TIME, BATCH)):
    image = getattr(cell, "spatial_shape", ())
    return jnp.ones((*lead, *image, features), dtype)


@functools.cache
def made(cell):
    params = cell.init(KEY, FEATURES)
    if isinstance(cell, rj.Attention):
        params = cell.bind(params, jnp.ones((6, BATCH, 3)))
    return params


def cast(params, dtype, leaves=slice(None)):
    if getattr(params, "memory", None) is not None:  # bound, so it has a dtype already
        own = cast(params._replace(memory=None), dtype, leaves)
        return own._replace(memory=params.memory)
    flat, tree = jax.tree.flatten(params)
    floats = (jnp.issubdtype(leaf.dtype, jnp.floating) for leaf in flat[leaves])
    each = zip(flat[leaves], floats, strict=True)
    flat[leaves] = [leaf.astype(dtype) if is_float else leaf for leaf, is_float in each]
    return jax.tree.unflatten(tree, flat)


# What is wrong, with params and inputs that have it.
WRONG = {
    "bfloat16": lambda cell: (made(cell), inputs(cell, dtype="bfloat16")),
    "float16": lambda cell: (made(cell), inputs(cell, dtype="float16")),
    "int32": lambda cell: (made(cell), inputs(cell, dtype="int32")),
    "uint8": lambda cell: (made(cell), inputs(cell, dtype="uint8")),
    "bool": lambda cell: (made(cell), inputs(cell, dtype=bool)),
    "complex": lambda cell: (made(cell), inputs(cell, dtype="complex64")),
    "params_bfloat16": lambda cell: (cast(made(cell), "bfloat16"), inputs(cell)),
    "params_int": lambda cell: (cast(made(cell), "int32"), inputs(cell)),
    "params_complex": lambda cell: (cast(made(cell), "complex64"), inputs(cell)),
    "first_leaf": lambda cell: (
        cast(made(cell), "bfloat16", slice(0, 1)),
        inputs(cell),
    ),
    "features": lambda cell: (made(cell), inputs(cell, FEATURES + 1)),
    "no_features": lambda cell: (made(cell), inputs(cell, 0)),
    "stacked": lambda cell: (
        jax.tree.map(lambda p: jnp.stack([p, p]), made(cell)),
        inputs(cell),
    ),
    "none": lambda cell: (None, inputs(cell)),
    "nothing": lambda cell: ((), inputs(cell)),
    "leaves": lambda cell: (jax.tree.leaves(made(cell)), inputs(cell)),
    "another": lambda cell: (rj.Elman(4).init(KEY, FEATURES), inputs(cell)),
}


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("name", NESTED)
def test_unroll_refuses(name, wrong):
    params, xs = WRONG[wrong](NESTED[name])
    with pytest.raises((TypeError, ValueError), match="^(unroll|Deep|Bidirectional): "):
        jax.eval_shape(lambda: rj.unroll(NESTED[name], params, xs))


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("name", CELLS)
def test_step_refuses(name, wrong):
    cell = CELLS[name]
    params, xs = WRONG[wrong](cell)
    carry = cell.initial_carry((BATCH,), params=made(cell))
    with pytest.raises((TypeError, ValueError), match=rf"^{type(cell).__name__}\.step"):
        jax.eval_shape(lambda: cell.step(params, carry, xs[0]))


@pytest.mark.parametrize("name", NESTED)
def test_what_is_right_runs(name):
    cell, params = NESTED[name], made(NESTED[name])
    jax.eval_shape(lambda: rj.unroll(cell, params, inputs(cell), key=KEY))
    params, xs = cast(params, "bfloat16"), inputs(cell, dtype="bfloat16")
    if isinstance(cell, rj.Attention):
        with pytest.raises(TypeError, match="params.memory.values is float32"):
            jax.eval_shape(lambda: rj.unroll(cell, params, xs))
        params = cell.bind(params, jnp.ones((6, BATCH, 3), "bfloat16"))
    _, ys = jax.eval_shape(lambda: rj.unroll(cell, params, xs))
    assert {y.dtype for y in jax.tree.leaves(ys)} == {jnp.dtype("bfloat16")}


@pytest.mark.parametrize("key", [5, "k", jnp.ones(2), jax.random.split(KEY)])
@pytest.mark.parametrize("name", ["plain", "nested", "deep", "both"])
def test_a_key_is_checked_whether_it_is_used_or_not(name, key):
    cell = NESTED[name]
    with pytest.raises((TypeError, ValueError), match="^unroll: key must be a"):
        rj.unroll(cell, made(cell), inputs(cell), key=key)
    with pytest.raises((TypeError, ValueError), match=r"\.init: key must be a"):
        cell.init(key, FEATURES)


def test_the_right_arrays_in_another_container():
    params = made(NESTED["plain"])
    for other, fix in ((params._asdict(), r"\*\*params"), (list(params), r"\*params")):
        with pytest.raises(TypeError, match=rf"Make it one: LSTMParams\({fix}\)"):
            rj.unroll(NESTED["plain"], other, inputs(NESTED["plain"]))


@pytest.mark.parametrize("name", NESTED)
@pytest.mark.parametrize(
    ("method", "arguments", "message"),
    [
        ("init", (KEY, -1), "in_features must be at least 1, got -1"),
        ("init", (KEY, True), "in_features must be a Python integer, got True"),
        ("init", (KEY, 2, int), "dtype must be a floating-point dtype"),
        ("init", (KEY, 2, "flt"), "dtype must be a floating-point dtype"),
        ("init", (KEY, 2, complex), "dtype must be a floating-point dtype"),
        ("initial_carry", (5,), "batch_shape must be a tuple of integers, got 5; one"),
        ("initial_carry", (None,), "batch_shape must be a tuple of integers, got None"),
        ("initial_carry", ((-1,),), "batch_shape must be a tuple of integers, each"),
        ("initial_carry", ((5.0,),), "batch_shape must be a tuple of integers"),
        ("initial_carry", ((5,), int), "dtype must be a floating-point dtype"),
    ],
)
def test_init_and_initial_carry_refuse(name, method, arguments, message):
    cell = NESTED[name]
    where = rf"^{type(cell).__name__}\.{method}: "
    with pytest.raises((TypeError, ValueError), match=where + message):
        getattr(cell, method)(*arguments)


class Mixed(rj.Wrapper):
    """Parameters and carry in float32, products in bfloat16."""

    def prepare(self, params):
        return self.cell.prepare(cast(params, "bfloat16"))

    def project(self, params, x):
        return self.cell.project(params, x.astype("bfloat16"))

    def feedback(self, params, carry):
        return self.cell.feedback(params, cast(carry, "bfloat16"))

    def update(self, params, carry, z, u):
        carry, y = self.cell.update(params, cast(carry, "bfloat16"), z, u)
        return cast(carry, "float32"), y.astype("float32")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_cell_that_casts_by_itself_may(dtype):
    cell = Mixed(rj.LSTM(4))
    xs = inputs(cell, dtype=dtype)
    carry, ys = rj.unroll(cell, cell.init(KEY, FEATURES), xs)
    assert carry.h.dtype == ys.dtype == jnp.float32
    cell.step(cell.init(KEY, FEATURES), carry, xs[0])


@dataclasses.dataclass(frozen=True)
class Tokens(rj.Cell):
    """A cell of a user that reads integers."""

    hidden_size: int
    Carry = rj.cells.HiddenCarry
    output = "h"

    def init(self, key, in_features, dtype=float):
        return {"table": jnp.ones((9, self.hidden_size), dtype), "count": jnp.array(3)}

    def recur(self, params, carry, z):
        h = carry.h + params["table"][z[..., 0]] * 2
        return self.Carry(h), h


def test_a_cell_that_reads_integers_may():
    cell = Tokens(4)
    rj.unroll(cell, cell.init(KEY, 1), jnp.ones((7, 5, 1), int))


@dataclasses.dataclass(frozen=True)
class Timed(Tokens):
    """A cell of a user whose input has a column more than in_features says."""

    def init(self, key, in_features, dtype=float):
        return {"U": jnp.ones((in_features, self.hidden_size), dtype)}

    def recur(self, params, carry, z):
        h = carry.h * z[..., :1] + z[..., 1:] @ params["U"]
        return self.Carry(h), h


def test_in_features_may_mean_something_else():
    cell = Timed(4)
    rj.unroll(cell, cell.init(KEY, 3), jnp.ones((7, 5, 4)))
    with pytest.raises(ValueError, match="xs has 9 features, but params were made for"):
        rj.unroll(cell, cell.init(KEY, 3), jnp.ones((7, 5, 9)))


def classes():
    """Return all frozen dataclasses with fields of the package's own kinds."""
    rooms = (rj.cells, wrappers, networks, operators, backward, initializers)
    found = itertools.chain.from_iterable(vars(room).values() for room in rooms)
    found = [*found, *vars(rj.activations).values()]
    found = [c for c in found if isinstance(c, type) and dataclasses.is_dataclass(c)]
    return {c for c in found if not c.__module__.startswith("recurrent_jax._checks")}


OF_SHAPE = {"spatial_shape", "kernel_shape", "strides", "cell", "cells", "layers"}
OF_SHAPE |= {"forward", "backward", "operator", "rate"}  # checked by their classes
FIELDS = [
    (cls, field)
    for cls in sorted(classes(), key=lambda c: (c.__module__, c.__qualname__))
    for field in fields_of(cls)
]


def test_there_are_fields():
    assert len(FIELDS) > 300


@pytest.mark.parametrize(
    ("cls", "field"),
    FIELDS,
    ids=lambda v: getattr(v, "name", getattr(v, "__name__", v)),
)
def test_every_field_has_a_kind_that_its_default_fits(cls, field):
    if field.kind is None:
        assert field.name in OF_SHAPE
        return
    if field.has_default:
        field.kind.check(cls.__name__, field.name, field.default)
    for wild in (NAN, object(), 1j, "wild"):
        with pytest.raises((TypeError, ValueError)):
            field.kind.check(cls.__name__, field.name, wild)


def leak():
    return functools.partial(jax.nn.leaky_relu, negative_slope=0.3)


BUILT: dict[str, Any] = {
    "partial": lambda: rj.LSTM(4, activation=leak()),
    "made": lambda: rj.LSTM(4, kernel_init=jax.nn.initializers.he_normal()),
    "tuple": lambda: rj.GRU(4, bias_init=(jax.nn.initializers.normal(0.1),) * 3),
    "wrapped": lambda: rj.Zoneout(rj.Stack((rj.Elman(4, activation=leak()),)), 0.1),
    "network": lambda: rj.Deep((rj.Elman(4, activation=leak()),)),
    "operator": lambda: rj.Structured(rj.GRU(4), operators.Masked(excitatory=0.5)),
}


@pytest.mark.parametrize("build", BUILT.values(), ids=BUILT.keys())
def test_cells_that_are_built_alike_are_equal(build):
    assert build() == build()
    assert hash(build()) == hash(build())
    assert pickle.loads(pickle.dumps(build())) == build()


def test_equal_cells_are_compiled_once():
    traced = []

    @functools.partial(jax.jit, static_argnums=0)
    def run(cell, params, xs):
        traced.append(cell)
        return rj.unroll(cell, params, xs)

    for _ in range(3):
        cell = BUILT["partial"]()
        run(cell, cell.init(KEY, FEATURES), inputs(cell))
    assert len(traced) == 1
