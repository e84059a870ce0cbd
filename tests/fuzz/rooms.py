# SPDX-License-Identifier: Apache-2.0
"""Rows of the functions before, after and around `unroll`."""

from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import recurrent_jax as rj
from fuzz import kinds as k
from fuzz.judge import Row
from recurrent_jax import (
    diagnostics,
    generation,
    ragged,
    reinforcement,
    streaming,
    tasks,
    testing,
    training,
)

KEY = jax.random.key(0)
TIME, BATCH, SIZE, FEATURES = 3, 2, 4, 3
CELL = rj.GRU(SIZE)
PARAMS = k.blank(jax.eval_shape(lambda: CELL.init(KEY, FEATURES)))
CARRY = k.blank(jax.eval_shape(lambda: CELL.initial_carry((BATCH,))))
XS = np.ones((TIME, BATCH, FEATURES), "float32")
X = XS[0]
FLAGS = np.ones((TIME, BATCH), bool)
LENGTHS = np.array([3, 2])
LOGITS = np.ones((BATCH, 5), "float32")

FLOATS = k.array("float")
WHOLE_AXIS = k.Kind(lambda v: k.INTEGER.takes(v) and v in (0, -3))
READ = k.array("float", least=1, last=FEATURES)
MASK = k.optional(k.array("b", lead=FLAGS.shape, most=2))
KEEP = k.optional(k.lengths(BATCH, TIME))
INT_ARRAY = k.array("iu", least=1, most=1)


def lengths_of_any_time(least: int = 0) -> k.Kind:
    """Integers, one axis, none of them negative; a list will do."""

    def takes(v: Any) -> bool:
        try:
            if np.size(v) == 0 and isinstance(v, list | tuple):
                return least == 0
        except ValueError:
            return False
        return INT_ARRAY.takes(v) and np.size(v) >= least and (np.asarray(v) >= 0).all()

    return k.Kind(takes, INT_ARRAY.wrong)


def mapping(kind: k.Kind, least: int = 0) -> k.Kind:
    def takes(v: Any) -> bool:
        return (
            isinstance(v, Mapping)
            and len(v) >= least
            and all(isinstance(n, str) and kind.takes(x) for n, x in v.items())
        )

    return k.Kind(
        takes,
        lambda v: {
            "a name that is a number": {5: next(iter(v.values()))},
            "nothing under a name": {"a": None},
            "text under a name": {"a": "text"},
        },
    )


# Functions of the user.
def advance(carry: Any, x: Any) -> tuple[Any, Any]:
    return CELL.step(PARAMS, carry, x)


def predict(carry: Any, x: Any) -> tuple[Any, Any]:
    carry, y = advance(carry, x)
    return carry, y[..., :FEATURES]


def write(carry: Any, token: Any) -> tuple[Any, Any]:
    return predict(carry, jax.nn.one_hot(token, FEATURES, dtype="float32"))


def echo(key: Any, prediction: Any) -> Any:
    return prediction


def loss(params: Any, carry: Any, batch: Any, key: Any) -> tuple[Any, Any]:
    carry, ys = rj.unroll(CELL, params, batch, carry=carry)
    return (ys**2).mean(), carry


def chunk_loss(params: Any, carry: Any, chunk: Any, key: Any) -> tuple[Any, Any]:
    return loss(params, carry, chunk.inputs, key)


DRAW = k.Kind(
    callable,
    lambda v: {
        "draws None": lambda *_: None,
        "draws text": lambda *_: "text",
        "takes nothing": lambda: None,
    },
)
STEP = k.step_function()
CELL_KIND = k.Kind(lambda v: False)
OPTIMIZER = optax.sgd(0.1)
OPTIMIZERS = k.Kind(lambda v: hasattr(v, "update") and hasattr(v, "init"))


def rows() -> Iterator[Row]:
    yield from core()
    yield from of_tasks()
    yield from of_generation()
    yield from of_ragged()
    yield from of_streaming()
    yield from of_reinforcement()
    yield from of_training()
    yield from of_diagnostics()


def core() -> Iterator[Row]:
    x, kernel = np.ones((2, 3), "float32"), np.ones((3, 4), "float32")
    bias = np.ones(4, "float32")
    arguments = {
        "x": (x, k.array("float", "b", least=1, last=3)),
        "kernel": (kernel, k.either(k.like(kernel), k.like(kernel > 0))),
        "bias": (bias, k.optional(k.like(bias))),
    }
    yield Row("affine", rj.affine, arguments)
    arguments = {
        "vector": (bias, k.Kind(lambda v: getattr(v, "ndim", 9) <= x.ndim)),
        "like": (x, k.Kind(lambda v: getattr(v, "ndim", 0) >= bias.ndim)),
    }
    yield Row("expand_like", rj.expand_like, arguments)
    arguments = {
        "params": (PARAMS, k.tree()),
        "key": (KEY, k.KEY),
        "rate": (0.5, k.RATE),
        "names": (("recurrent_kernel",), k.Kind(lambda v: v == ("kernel",))),
    }
    yield Row("weight_drop", rj.weight_drop, arguments)
    attention = rj.Attention(CELL, memory_features=SIZE)
    bare = k.blank(jax.eval_shape(lambda: attention.init(KEY, FEATURES)))
    memory = np.ones((TIME, BATCH, SIZE), "float32")
    arguments = {
        # Those of the cell are read by `unroll`, after `bind`.
        "params": (bare, k.Kind(lambda v: _score_is_like(bare, v), k.like(bare).wrong)),
        "memory": (memory, k.like(memory)),
        "lengths": (LENGTHS, KEEP),
        "mask": (FLAGS, MASK),
        "time_axis": (0, WHOLE_AXIS),
    }
    yield Row("Attention.bind", attention.bind, arguments)
    arguments = {
        "cell": (CELL, k.CELL),
        "laws": ((), k.Kind(lambda v: v is None or list(v) == [])),
        "in_features": (2, k.SIZE),
        "seed": (0, k.COUNT),
        "inputs": (None, k.optional(k.FUNCTION)),
    }
    yield Row("testing.check_cell", testing.check_cell, arguments, False, ("law",))


def _rank(v: Any) -> int | None:
    return v.ndim if isinstance(v, jax.Array | np.ndarray) else None


def _score_is_like(params: Any, v: Any) -> bool:
    if not isinstance(v, type(params)) or v.memory is not None:
        return False
    # How many features the query has, only the outputs of the cell tell.
    query = v.query_kernel
    if k.array("float", least=2, most=2).takes(query):
        query = query[: len(params.query_kernel)]
    return k.like(params).takes(v._replace(cell=params.cell, query_kernel=query))


def of_tasks() -> Iterator[Row]:
    ys = np.ones((TIME, BATCH, SIZE), "float32")
    pooled = {
        "ys": (ys, k.array("float", lead=(TIME, BATCH))),
        "lengths": (LENGTHS, KEEP),
        "mask": (FLAGS, MASK),
        "time_axis": (0, WHOLE_AXIS),
    }
    yield Row("tasks.mean_output", tasks.mean_output, pooled)
    # What only moves numbers takes a float8 as well, which is of kind V.
    picked = k.array("iubcV", "float", lead=(TIME, BATCH))
    pooled = pooled | {"ys": (ys, picked), "reverse": (False, k.FLAG)}
    yield Row("tasks.last_output", tasks.last_output, pooled)
    arguments = {
        "x": (X, k.tree()),
        "steps": (3, k.SIZE),
        "time_axis": (0, k.integers(-3, 2)),
    }
    yield Row("tasks.repeat", tasks.repeat, arguments)
    targets = np.ones((TIME, BATCH), "int32")
    arguments = {
        "targets": (targets, k.array("iubcV", "float", least=1)),
        "first": (0, k.either(k.scalar(whole=True), k.array("iu", lead=(BATCH,)))),
        "time_axis": (0, k.integers(-2, 0)),
    }
    yield Row("tasks.delay", tasks.delay, arguments)
    bridge = k.blank(jax.eval_shape(lambda: tasks.init_bridge(KEY, CELL, FEATURES)))
    arguments = {"params": (bridge, k.like(bridge)), "vector": (X, READ)}
    yield Row("tasks.bridge", tasks.bridge, arguments)
    arguments = {
        "key": (KEY, k.KEY),
        "cell": (CELL, k.MODEL),
        "in_features": (2, k.SIZE),
        "dtype": (float, k.DTYPE),
    }
    yield Row("tasks.init_bridge", tasks.init_bridge, arguments)
    encoder, decoder = rj.LSTM(SIZE), rj.Attention(CELL, memory_features=SIZE)
    arguments = {
        "key": (KEY, k.KEY),
        "encoder": (encoder, k.MODEL),
        "decoder": (decoder, k.MODEL),
        "in_features": (FEATURES, k.SIZE),
        "decoder_features": (2, k.SIZE),
        "dtype": (float, k.DTYPE),
    }
    yield Row("tasks.init_encoder_decoder", tasks.init_encoder_decoder, arguments)
    params = k.blank(
        jax.eval_shape(
            lambda: tasks.init_encoder_decoder(
                KEY, encoder, decoder, in_features=FEATURES, decoder_features=2
            )
        )
    )
    arguments = {
        "encoder": (encoder, CELL_KIND),
        "decoder": (decoder, k.MODEL),
        "params": (params, k.Kind(k.like(params).takes, _broken_encoder)),
        "xs": (XS, k.array("float", lead=(TIME, BATCH), last=FEATURES, most=3)),
        "lengths": (LENGTHS, KEEP),
        "mask": (FLAGS, MASK),
        "time_axis": (0, WHOLE_AXIS),
        "key": (KEY, k.optional(k.KEY)),
    }
    yield Row(
        "tasks.encode",
        tasks.encode,
        arguments,
        inside=("unroll", "bind", "bridge", "Bidirectional"),
    )
    arguments = {
        "step": (predict, STEP),
        "carry": (CARRY, k.ANYTHING),
        "inputs": (XS, k.Kind(_are_inputs, k.array("float").wrong)),
        "rate": (0.5, k.scalar(lambda v: 0 <= v <= 1)),
        "key": (KEY, k.KEY),
        "draw": (echo, DRAW),
    }
    # What is raised in a step of the user is the message of the cell that it steps.
    name = "tasks.scheduled_sampling"
    inside = ("step", "GRU")
    function = tasks.scheduled_sampling
    yield Row(name, function, arguments, also=("x",), inside=inside)


def _are_inputs(v: Any) -> bool:
    """Inputs as `_are_steps`; what NumPy makes one of, as of a carry, will do."""
    is_one = hasattr(v, "_fields") and len(v) == 1
    return _are_steps(v[0][None] if is_one else v)


def _are_steps(v: Any) -> bool:
    """Inputs of any number of steps."""
    one = k.array("float", least=3, most=3, last=FEATURES)
    return one.takes(v) and v.shape[1] == BATCH


def _broken_encoder(params: Any) -> dict[str, Any]:
    """The decoder's own parameters are read by `unroll`, after `encode`."""
    encoder = k.broken(params.encoder)
    found = {name: params._replace(encoder=v) for name, v in encoder.items()}
    bridge = k.broken(params.bridge)
    found |= {f"bridge {n}": params._replace(bridge=v) for n, v in bridge.items()}
    found.pop("bridge a plain tuple")
    return found | {"a plain tuple": tuple(params), "a dict": params._asdict()}


def of_generation() -> Iterator[Row]:
    token = np.zeros(BATCH, "int32")
    written = {
        "step": (write, STEP),
        "carry": (CARRY, k.ANYTHING),
        "token": (token, k.array("iu", lead=(BATCH,), most=1)),
        "steps": (2, k.SIZE),
        "end": (1, k.optional(k.integers(0))),
    }
    drawn = {
        "key": (KEY, k.KEY),
        "temperature": (0.5, k.optional(k.scalar(lambda v: v > 0))),
        "top_k": (2, k.optional(k.SIZE)),
        "top_p": (0.5, k.optional(k.scalar(lambda v: 0 < v <= 1))),
    }
    yield Row(
        "generation.generate", generation.generate, written | drawn, inside=("step",)
    )
    searched = {"beams": (2, k.SIZE), "length_penalty": (0.5, k.scalar())}
    yield Row(
        "generation.beam_search",
        generation.beam_search,
        written | searched,
        inside=("step",),
    )
    arguments = {"logits": (LOGITS, k.array("float", least=1)), "k": (2, k.SIZE)}
    yield Row("generation.top_k", generation.top_k, arguments)
    arguments = {
        "logits": (LOGITS, k.array("float", least=1)),
        "p": (0.5, k.scalar(lambda v: 0 < v <= 1)),
    }
    yield Row("generation.top_p", generation.top_p, arguments)
    known = np.ones((2, 1), "float32")

    def informed(carry: Any, x: Any, now: Any) -> tuple[Any, Any]:
        return predict(carry, x)

    course = {
        "step": (informed, STEP),
        "carry": (CARRY, k.ANYTHING),
        "x": (X, k.array("float", lead=X.shape, most=2)),
        "steps": (2, k.SIZE),
        "known": (known, k.Kind(lambda v: k.tree().takes(v) and _steps(v) == {2})),
        "draw": (echo, DRAW),
        "key": (KEY, k.KEY),
    }
    yield Row("generation.forecast", generation.forecast, course, inside=("step",))
    many = course | {"draws": (2, k.SIZE)}
    yield Row(
        "generation.ensemble", generation.ensemble, many, inside=("forecast", "step")
    )
    arguments = {
        "key": (KEY, k.KEY),
        "prediction": ((X, X), k.Kind(_are_moments, k.like((X, X)).wrong)),
    }
    yield Row("generation.normal", generation.normal, arguments)
    arguments = {
        "courses": (XS, k.array("float", least=1)),
        "level": (0.9, k.scalar(lambda v: 0 < v <= 1)),
    }
    yield Row("generation.interval", generation.interval, arguments)


def _are_moments(v: Any) -> bool:
    mean, deviation = v
    a, b = jnp.asarray(mean), jnp.asarray(deviation)
    alike = (a.shape, a.dtype) == (b.shape, b.dtype)
    return isinstance(v, tuple) and FLOATS.takes(mean) and alike


def _steps(v: Any) -> set[int]:
    return {np.shape(a)[0] if np.ndim(a) else 0 for a in jax.tree.leaves(v)}


def of_ragged() -> Iterator[Row]:
    every = lengths_of_any_time
    arguments = {"lengths": ([2, 3], every(1)), "count": (2, k.SIZE)}
    yield Row("ragged.bounds", ragged.bounds, arguments, traced=False)
    rising = k.Kind(
        lambda v: INT_ARRAY.takes(v) and (np.diff(v) > 0).all() and np.max(v) >= 3
    )
    arguments = {
        "lengths": (
            [2, 3],
            k.Kind(lambda v: every().takes(v) and np.max(v, initial=0) < 4),
        ),
        "batch_size": (2, k.SIZE),
        "bounds": ((2, 3), rising),
        "seed": (0, k.optional(k.either(k.COUNT, k.parts(k.COUNT)))),
    }
    yield Row("ragged.buckets", ragged.buckets, arguments, False, also=("bound",))
    arguments = {
        "lengths": (LENGTHS, k.Kind(lambda v: k.array("iu").takes(v) and _upto(v, 3))),
        "time": (3, k.integers(3)),
    }
    yield Row("ragged.mask", ragged.mask, arguments)
    arguments = {
        "lengths": (LENGTHS, k.Kind(lambda v: every().takes(v) and _upto(v, 4))),
        "time": (4, k.optional(k.integers(3))),
        "row_time": (5, k.optional(k.integers(3))),
    }
    yield Row("ragged.packing", ragged.packing, arguments, traced=False)
    plan = ragged.packing(LENGTHS)
    packed = np.ones((*plan.source.shape, 2), "float32")
    arguments = {"xs": (XS, k.tree("fiubc"))}
    arguments = {"xs": (XS, k.Kind(lambda v: _leads(v, (TIME, BATCH))))}
    yield Row("ragged.Packing.pack", plan.pack, arguments, also=("sequences", "array"))
    arguments = {"ys": (packed, k.Kind(lambda v: _leads(v, plan.source.shape)))}
    yield Row(
        "ragged.Packing.unpack", plan.unpack, arguments, also=("sequences", "array")
    )
    arguments = {
        "sequences": ([XS, XS[:1]], k.Kind(_are_sequences)),
        "time": (4, k.optional(k.integers(3))),
    }
    yield Row("ragged.pad", ragged.pad, arguments, traced=False)
    some = k.array("iubcV", "float", least=2)
    one = k.Kind(
        lambda v: some.takes(v) and v.shape[0] >= TIME and v.shape[1] == BATCH,
        some.wrong,
    )
    arguments = {"xs": (XS, one), "lengths": (LENGTHS, k.lengths(BATCH, TIME))}
    yield Row("ragged.unpad", ragged.unpad, arguments, traced=False)


def _upto(v: Any, most: int) -> bool:
    return bool(((np.asarray(v) >= 0) & (np.asarray(v) <= most)).all())


def _leads(v: Any, lead: tuple[int, ...]) -> bool:
    leaves = jax.tree.leaves(v)
    return bool(leaves) and all(np.shape(a)[:2] == lead for a in leaves)


def _are_sequences(v: Any) -> bool:
    """Arrays that differ in length alone; in doubt of lists of lists."""
    if isinstance(v, jax.Array | np.ndarray):
        return v.ndim >= 2
    if not isinstance(v, list | tuple) or not v:
        return False
    return all(isinstance(a, list) for a in v) or hasattr(v, "_fields")


def of_streaming() -> Iterator[Row]:
    arguments = {
        "cell": (CELL, CELL_KIND),
        "params": (PARAMS, k.like(PARAMS)),
        "carry": (CARRY, k.like(CARRY)),
        "x": (X, k.like(X)),
    }
    yield Row("streaming.step", streaming.step, arguments, also=("cells",))
    deep = rj.Deep((CELL, rj.Elman(2)))
    params = k.blank(jax.eval_shape(lambda: deep.init(KEY, FEATURES)))
    carry = k.blank(jax.eval_shape(lambda: deep.initial_carry((BATCH,))))
    arguments = {
        "cell": (deep, CELL_KIND),
        "params": (params, k.like(params)),
        "carry": (carry, k.like(carry)),
        "x": (X, k.like(X)),
    }
    yield Row(
        "streaming.step(Deep)",
        streaming.step,
        arguments,
        also=("xs", "cells"),
        inside=("unroll",),
    )
    shape = jax.ShapeDtypeStruct((FEATURES,), "float32")
    arguments = {
        "step": (advance, STEP),
        "start": (
            CELL.initial_carry,
            k.Kind(callable, lambda v: {"takes nothing": lambda: None}),
        ),
        "x": (shape, k.array("float", lead=(FEATURES,), most=1)),
        "batch": ("batch", k.optional(k.either(k.SIZE, k.Kind(_is_name)))),
        "platforms": (("cpu",), k.Kind(lambda v: v is None)),
    }
    yield Row("streaming.export", streaming.export, arguments, False, inside=("step",))
    data = streaming.export(advance, CELL.initial_carry, shape)
    yield Row(
        "streaming.load",
        streaming.load,
        {"data": (data, k.Kind(lambda v: False))},
        False,
    )


def _is_name(v: Any) -> bool:
    return isinstance(v, str) and v.isidentifier()


def of_reinforcement() -> Iterator[Row]:
    arguments = {
        "dones": (FLAGS, k.array("b", least=2, most=2, last=BATCH)),
        "initial": (FLAGS[0], k.optional(k.like(FLAGS[0]))),
        "time_axis": (0, k.Kind(lambda v: k.INTEGER.takes(v) and v in (0, -2))),
    }
    name = "reinforcement.resets_from_dones"
    yield Row(name, reinforcement.resets_from_dones, arguments)
    # What `unroll` refuses, and it does not refuse a float8 clearly yet.
    one = k.like(XS)
    inputs = k.Kind(
        lambda v: one.takes(v) or "float8" in str(getattr(v, "dtype", "")), one.wrong
    )
    replayed = {
        "cell": (CELL, CELL_KIND),
        "params": (PARAMS, k.like(PARAMS)),
        "xs": (XS, inputs),
        "carry": (CARRY, k.optional(k.like(CARRY))),
        "resets": (FLAGS, MASK),
        "reset_carry": (CARRY, k.optional(k.like(CARRY))),
        "lengths": (LENGTHS, KEEP),
        "mask": (FLAGS, MASK),
        "time_axis": (0, WHOLE_AXIS),
        "method": (None, k.Kind(lambda v: v is None)),
    }
    arguments = replayed | {
        "length": (2, k.integers(0, TIME - 1)),
        "key": (KEY, k.optional(k.KEY)),
    }
    name = "reinforcement.burn_in"
    yield Row(name, reinforcement.burn_in, arguments, inside=("unroll",))
    reset = {"resets": FLAGS, "reset_carry": CARRY}
    outputs = jax.jit(lambda: rj.unroll(CELL, PARAMS, XS, carry=CARRY, **reset)[1])()
    arguments = replayed | {
        "outputs": (np.asarray(outputs), k.like(outputs)),
        "tolerance": (None, k.optional(k.POSITIVE)),
    }
    name = "reinforcement.check_replay"
    yield Row(name, reinforcement.check_replay, arguments, False, inside=("unroll",))


def of_training() -> Iterator[Row]:
    arguments = {
        "steps": (20, k.integers(7)),
        "size": (3, k.integers(1, 3)),
        "parts": ((0.6, 0.4), k.Kind(lambda v: False)),
        "stride": (1, k.SIZE),
        "gap": (0, k.COUNT),
    }
    yield Row("training.windows", training.windows, arguments, traced=False)
    arguments = {
        "key": (KEY, k.KEY),
        "step": (0, k.scalar(lambda v: v >= 0, whole=True)),
        "examples": (6, k.integers(2)),
        "size": (2, k.integers(1, 6)),
    }
    yield Row("training.batch_indices", training.batch_indices, arguments)
    mesh = jax.make_mesh((1,), ("data",))
    meshes = k.Kind(lambda v: isinstance(v, jax.sharding.Mesh))
    arguments = {"count": (6, k.SIZE), "mesh": (mesh, meshes)}
    yield Row(
        "training.process_indices", training.process_indices, arguments, traced=False
    )
    bounds = {n: (1.0, k.BOUND) for n in ("max_norm", "max_value", "max_ratio")}
    yield Row("training.clipping", training.clipping, bounds, traced=False)
    rates = k.Kind(
        lambda v: mapping(k.NON_NEGATIVE).takes(v) and set(v) <= {"kernel", "bias"},
        mapping(k.NON_NEGATIVE).wrong,
    )
    arguments = {
        "learning_rate": (0.1, k.either(k.scalar(lambda v: v >= 0), k.FUNCTION)),
        "weight_decay": (0.1, k.NON_NEGATIVE),
        "rates": ({"kernel": 0.5}, k.optional(rates)),
        "plateau": (optax.identity(), k.optional(OPTIMIZERS)),
        "skip": (2, k.COUNT),
    }
    arguments |= bounds
    inside = ("relative_rates",)
    yield Row("training.adamw", training.adamw, arguments, False, inside=inside)
    arguments = {"rates": ({"kernel": 0.5}, rates)}
    yield Row("training.relative_rates", training.relative_rates, arguments, False)
    trees = {"params": (PARAMS, k.tree())}
    yield Row("training.labels", training.labels, trees)
    yield Row("training.decayed", training.decayed, trees)
    yield from losses()
    yield from steps()
    train = np.arange(6.0).reshape(3, 2)
    arguments = {
        "train": (train, k.Kind(lambda v: False)),
        "mask": (np.ones(3, bool), k.optional(k.array("b", lead=(3,), most=1))),
    }
    yield Row("training.standardiser", training.standardiser, arguments, traced=False)
    scale = training.standardiser(train)
    arguments = {"x": (train, k.array("float", least=1, last=2))}
    yield Row("training.Standardiser.apply", scale.apply, arguments, traced=False)
    yield Row("training.Standardiser.invert", scale.invert, arguments, traced=False)


def losses() -> Iterator[Row]:
    mask = {"mask": (FLAGS, MASK)}
    leads = k.array("float", lead=(TIME, BATCH))
    arguments = {"values": (XS, leads)} | mask
    yield Row("training.masked_mean", training.masked_mean, arguments)
    arguments = {"ys": (XS, k.array("float", lead=(TIME, BATCH), least=2))} | mask
    yield Row("training.activity_penalty", training.activity_penalty, arguments)
    arguments = {"ys": (XS, k.array("float", lead=(TIME, BATCH), least=3))} | mask
    arguments |= {
        "time_axis": (0, k.Kind(lambda v: k.INTEGER.takes(v) and v in (0, 1, -2, -3)))
    }
    yield Row(
        "training.temporal_activity_penalty",
        training.temporal_activity_penalty,
        arguments,
    )
    labels = np.zeros((TIME, BATCH), "int32")
    arguments = {
        "logits": (XS, k.array("float", lead=(TIME, BATCH), least=3, most=3)),
        "labels": (labels, k.array("iu", lead=(TIME, BATCH), most=2)),
    }
    yield Row("training.cross_entropy", training.cross_entropy, arguments | mask)
    arguments = {"predictions": (XS, k.like(XS)), "targets": (XS, k.like(XS))}
    yield Row("training.squared_error", training.squared_error, arguments | mask)


def steps() -> Iterator[Row]:
    arguments = {
        "params": (PARAMS, k.tree()),
        "optimizer": (OPTIMIZER, OPTIMIZERS),
        "key": (KEY, k.KEY),
        "carry": (CARRY, k.optional(k.tree())),
    }
    yield Row("training.init_state", training.init_state, arguments)
    state = training.init_state(PARAMS, OPTIMIZER, key=KEY, carry=CARRY)
    state = state._replace(step=np.zeros((), "int32"))
    arguments = {
        "state": (state, k.Kind(lambda v: False, _broken_state)),
        "batch": (XS, k.ANYTHING),
        "loss": (loss, STEP),
        "optimizer": (OPTIMIZER, OPTIMIZERS),
    }
    yield Row("training.train_step", training.train_step, arguments)
    sequence = np.ones((9, FEATURES), "float32")
    arguments = {
        "sequence": (sequence, k.Kind(_is_sequence)),
        "count": (2, k.integers(1, 4)),
    }
    yield Row("training.cut_streams", training.cut_streams, arguments)
    streams = np.ones((9, BATCH, FEATURES), "float32")
    arguments = {
        "streams": (streams, k.Kind(_is_sequence)),
        "length": (3, k.integers(1, 8)),
    }
    yield Row("training.count_chunks", training.count_chunks, arguments)
    taken = arguments | {"step": (0, k.scalar(lambda v: v >= 0, whole=True))}
    yield Row("training.take_chunk", training.take_chunk, taken)
    arguments = {
        "state": (state, k.Kind(lambda v: False, _broken_state)),
        "streams": (streams, k.Kind(lambda v: False)),
        "length": (3, k.integers(1, 8)),
        "fresh": (CARRY, k.like(CARRY)),
        "loss": (chunk_loss, STEP),
        "optimizer": (OPTIMIZER, OPTIMIZERS),
    }
    name, inside = "training.train_chunk", ("take_chunk",)
    yield Row(name, training.train_chunk, arguments, inside=inside)


def _is_sequence(v: Any) -> bool:
    """An array long enough for what is cut out of it here."""
    a = k.array("fiub", "float", least=1)
    return a.takes(v) and np.shape(v)[0] >= 4


def _broken_state(state: Any) -> dict[str, Any]:
    return {
        "a plain tuple": tuple(state),
        "a dict": state._asdict(),
        "a step of floats": state._replace(step=np.zeros((), "float32")),
        "no step": state._replace(step=None),
        "no key": state._replace(key=None),
        "no parameters": state._replace(params=None),
        "no state of the optimizer": state._replace(opt_state=None),
    }


def of_diagnostics() -> Iterator[Row]:
    path = {
        "cell": (CELL, CELL_KIND),
        "params": (PARAMS, k.like(PARAMS)),
        "xs": (XS, k.Kind(_are_steps, k.like(XS).wrong)),
        "carry": (CARRY, k.optional(k.like(CARRY))),
    }
    for name in ("jacobians", "singular_values", "gates"):
        yield Row(f"diagnostics.{name}", getattr(diagnostics, name), path)
    arguments = {"what": (CELL, k.MODEL), "in_features": (SIZE, k.SIZE)}
    yield Row("diagnostics.summary", diagnostics.summary, arguments)
    name, inside = "diagnostics.newton_outlook", ("lyapunov_exponents",)
    yield Row(name, diagnostics.newton_outlook, path, False, inside=inside)
    arguments = {name: path[name] for name in ("cell", "params")}
    arguments |= {"xs": (XS, k.array("float", least=2, last=FEATURES))}
    methods = k.optional(k.Kind(lambda v: isinstance(v, rj.Newton)))
    arguments |= {"method": (rj.Newton(), methods)}
    name = "diagnostics.newton_report"
    yield Row(name, diagnostics.newton_report, arguments, inside=("unroll",))
    total = k.Kind(
        callable,
        lambda v: {
            "returns None": lambda *_: None,
            "returns a vector": lambda ys: jnp.ones(3),
            "takes nothing": lambda: None,
        },
    )
    arguments = path | {"loss": (lambda ys: ys.sum(), total)}
    yield Row("diagnostics.gradient_by_lag", diagnostics.gradient_by_lag, arguments)
    arguments = path | {
        "count": (2, k.optional(k.integers(1, SIZE))),
        "burn_in": (0, k.integers(0, 2)),
    }
    name = "diagnostics.lyapunov_exponents"
    yield Row(name, diagnostics.lyapunov_exponents, arguments)
    arguments = {
        "cells": ({"GRU": CELL}, mapping(k.CELL, 1)),
        "xs": (XS, k.array("float", least=2)),
        "key": (KEY, k.KEY),
        "count": (2, k.SIZE),
    }
    name, inside = "diagnostics.compare", ("gradient_by_lag",)
    yield Row(name, diagnostics.compare, arguments, inside=inside)
    curve = np.linspace(0, -3, 9, dtype="float32")
    arguments = {"curve": (curve, k.array("float", least=1)), "steps": (9, k.SIZE)}
    yield Row("diagnostics.decades", diagnostics.decades, arguments)
    gate = np.full((TIME, BATCH, SIZE), 0.5, "float32")
    arguments = {
        "gate": (gate, k.array("float", least=1)),
        "margin": (0.1, k.numbers(lambda v: 0 < v < 0.5)),
    }
    yield Row("diagnostics.saturation", diagnostics.saturation, arguments)
    arguments = {"keep": (gate, k.array("float", least=1))}
    yield Row("diagnostics.effective_memory", diagnostics.effective_memory, arguments)
    axes = {"axes": (None, k.optional(k.Kind(lambda v: hasattr(v, "plot"))))}
    named = mapping(k.array("float", least=1), 1)
    for name, argument, value in (
        ("plot_exponents", "exponents", np.ones(3, "float32")),
        ("plot_gates", "gates", gate),
        ("plot_gradients", "curves", curve),
        ("plot_memory", "spans", np.ones(3, "float32")),
    ):
        arguments = {argument: ({"a": value}, named)} | axes
        yield Row(f"diagnostics.{name}", getattr(diagnostics, name), arguments, False)
    arguments = {"values": (gate, k.array("float", least=2))} | axes
    name = "diagnostics.plot_singular_values"
    yield Row(name, diagnostics.plot_singular_values, arguments, False)
    found = diagnostics.Comparison(curve, np.float32(1.0), np.ones(3, "float32"))
    arguments = {"comparisons": ({"a": found}, k.Kind(lambda v: False))}
    name = "diagnostics.plot_comparison"
    yield Row(name, diagnostics.plot_comparison, arguments, False)
