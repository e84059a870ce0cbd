# SPDX-License-Identifier: Apache-2.0
"""What bad input is told: every message, and that docs/errors.md has them all."""

import dataclasses
import functools
import pathlib
import re
import tempfile
from collections.abc import Callable
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import recurrent_jax as rj
from recurrent_jax import (
    convert,
    diagnostics,
    generation,
    initializers,
    ragged,
    streaming,
    tasks,
    training,
)
from recurrent_jax.testing import check_cell
from recurrent_jax.training import clipping, temporal_activity_penalty

TIME, BATCH, FEATURES = 7, 5, 2
CELL = rj.LSTM(4)
BIG = rj.LSTM(8)
IMAGES = rj.ConvLSTM(4, (8, 8))
TIMED = rj.TimeAwareLSTM(4)
RESETS_FIRST = rj.GRU(4, reset_after=False)
AXES = "read as (time=7, batch=5, features=2); cell LSTM(hidden_size=4))"
STEP_AXES = "read as (batch=5, features=2); cell LSTM(hidden_size=4))"
SWAP = "Time was read as the first axis: if it is not, pass time_axis=1"
STATE = "HiddenCellCarry(h, c)"
WEIGHTS = "LSTMParams(kernel, recurrent_kernel, bias)"
START = "LSTM(hidden_size=4).initial_carry((5,), params=params) makes one"


@functools.cache
def ones(function, *arguments):
    """Return NumPy ones in the shapes of what a function would return."""
    shapes = jax.eval_shape(functools.partial(function, *arguments))
    return jax.tree.map(lambda s: np.ones(s.shape, s.dtype), shapes)


def make(cell, dtype):
    return cell.init(jax.random.key(0), FEATURES, dtype)


def init(cell=CELL, dtype=float):
    return ones(make, cell, dtype)


def inputs(*shape, dtype="float32"):
    return np.ones(shape or (TIME, BATCH, FEATURES), dtype)


def start(cell=CELL, batch_shape=(BATCH,), dtype=float):
    return ones(cell.initial_carry, batch_shape, dtype)


def run(*shape, cell=CELL, params=None, xs=None, **options):
    params = init(cell) if params is None else params
    return rj.unroll(cell, params, inputs(*shape) if xs is None else xs, **options)


def step(cell=CELL, params=None, carry=None, x=None):
    return cell.step(
        init(cell) if params is None else params,
        start() if carry is None else carry,
        inputs(BATCH, FEATURES) if x is None else x,
    )


def stacked():
    return jax.tree.map(lambda p: np.stack([p] * 3), init())


def flags(*shape, dtype=bool):
    return np.ones(shape, dtype)


def train(loss):
    optimizer = optax.sgd(0.1)
    state = training.init_state(init(), optimizer, key=jax.random.key(0))
    return training.train_step(state, None, loss=loss, optimizer=optimizer)


def loss_of(params, carry, batch, key):
    return params.bias.sum(), carry


def other_optimizer():
    state = training.init_state(init(), optax.adam(0.1), key=jax.random.key(0))
    training.train_step(state, None, loss=loss_of, optimizer=optax.sgd(0.1))


def restore_of_another():
    with tempfile.TemporaryDirectory() as directory:
        training.save(directory, init())
        training.restore(directory, init(BIG))


def train_on_one_sequence():
    cell = rj.BatchNormLSTM(4)
    params = cell.init(jax.random.key(0), FEATURES)
    return rj.unroll(cell, params, cell.training(jnp.ones((TIME, FEATURES))))


def raw_series():
    return rj.cells.Observed(inputs(), flags(7, 5, 2), inputs(7, 5))


def override_step():
    class Overrides(rj.Elman):
        def step(self, params, carry, x):
            return carry, x


@dataclasses.dataclass(frozen=True)
class Empty(rj.Cell):
    def init(self, key, in_features, dtype=float):
        return ()

    def initial_carry(self, batch_shape=(), dtype=float, params=None):
        return ()


class Case(NamedTuple):
    """A mistake, the type of what it raises, and what the message must hold."""

    mistake: Callable[[], object]
    error: type[Exception]
    holds: tuple[str, ...]


def value(mistake, *holds):
    return Case(mistake, ValueError, holds)


def kind(mistake, *holds):
    return Case(mistake, TypeError, holds)


@dataclasses.dataclass(frozen=True)
class Linear(rj.Sequential):
    """A method that refuses all cells for one reason."""

    reason: str | None = dataclasses.field(repr=False)
    steps = False

    def refuses(self, loop):
        return self.reason


REASON = "it is no linear recurrence; rj.Sequential() runs every cell"
LOOKS = rj.Attention(CELL, memory_features=3)


def looks():
    return init(LOOKS)


def of_torch(**changes):
    """Convert the weights of an LSTM of PyTorch, some of them changed."""
    shapes = {"weight_ih": (16, 2), "weight_hh": (16, 4), "bias_ih": 16, "bias_hh": 16}
    weights = {f"{name}_l0": np.ones(shape, "f") for name, shape in shapes.items()}
    weights = {k: v for k, v in {**weights, **changes}.items() if v is not None}
    return convert.from_torch(weights)


def to_torch(cell, params):
    """Convert a cell of ours, outside of any trace: it gives NumPy arrays."""
    with jax.ensure_compile_time_eval():
        convert.to_torch(cell, params)


def broken_file(read, name):
    """Read a file that breaks off."""
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / name
        path.write_bytes(bytes(4))
        read(path)


def echo(carry, x):
    return carry, x


# By situation, `row/variant`: `row` is the name of the row in docs/errors.md.
CASES = {
    # The cell and the order of the arguments.
    "class": kind(
        lambda: rj.unroll(rj.LSTM, init(), inputs()),
        "unroll: cell is the class LSTM",
        "LSTM(hidden_size=...)",
    ),
    "class/check_cell": kind(
        lambda: check_cell(rj.LSTM), "check_cell: cell is the class LSTM; build one"
    ),
    "not-a-cell": kind(
        lambda: rj.unroll(init(), CELL, inputs()),
        "unroll: cell must be a recurrent_jax.Cell, got LSTMParams",
        "the order is (cell, params, xs)",
    ),
    "not-a-cell/check_cell": kind(
        lambda: check_cell(3), "check_cell: cell must be a recurrent_jax.Cell, got int"
    ),
    "by-position": kind(
        lambda: rj.unroll(CELL, init(), inputs(), start()),
        "unroll: takes 3 arguments by position, (cell, params, xs), got 4",
        "by name, such as carry=",
    ),
    "input-size-first": kind(
        lambda: rj.LSTM(6, 8),
        "LSTM: activation must be a function, got 8",
        "it is LSTM(hidden_size=8) here, and then init(key, in_features=6)",
    ),
    "input-size-first/bool": kind(lambda: rj.GRU(6, 8), "it is GRU(hidden_size=8)"),
    "input-size-first/range": value(
        lambda: rj.CTRNN(6, 8), "leak must be", "it is CTRNN(hidden_size=8) here"
    ),
    "missing": kind(
        lambda: rj.unroll(CELL, inputs()),
        "unroll: xs is missing; the order is (cell, params, xs)",
    ),
    "missing/field": kind(rj.LSTM, "LSTM: hidden_size is missing; the order is (hid"),
    "missing/init": kind(
        lambda: CELL.init(jax.random.key(0)), "LSTM.init: in_features is missing"
    ),
    "no-argument": kind(
        lambda: rj.LSTM(8, num_layers=2),
        "LSTM: there is no argument num_layers",
        "layers are a network: Deep((cell,) * num_layers)",
    ),
    "no-argument/batch_first": kind(
        lambda: rj.GRU(8, batch_first=True), "batch_first; ", "time_axis=1"
    ),
    "no-argument/input_size": kind(
        lambda: rj.LSTM(input_size=3, hidden_size=8),
        "input_size; the number of input features is an argument of init: LSTM(...)",
    ),
    "no-argument/same": kind(lambda: rj.Elman(units=8), "it is hidden_size here"),
    "no-argument/near": kind(
        lambda: rj.LSTM(8, forget_bais=1.0), "did you mean forget_bias?"
    ),
    "no-argument/far": kind(lambda: rj.Elman(8, depth=2), "there are ['activation', "),
    "no-argument/network": kind(
        lambda: rj.Bidirectional(CELL, mergee="sum"), "did you mean merge?"
    ),
    "no-argument/unroll": kind(
        lambda: run(initial_state=start()), "unroll: ", "it is carry here"
    ),
    "no-argument/dones": kind(
        lambda: run(dones=np.zeros((7, 5), bool)), "resets_from_dones makes resets"
    ),
    "no-argument/init": kind(
        lambda: CELL.init(jax.random.key(0), input_size=2),
        "LSTM.init: there is no argument input_size; it is in_features here",
    ),
    "no-argument/of_a_function": kind(
        lambda: clipping(max_nrom=1.0), "clipping: ", "did you mean max_norm?"
    ),
    "swapped-arguments": value(
        lambda: rj.unroll(CELL, inputs(), init()),
        "unroll: every part of xs must have 2 steps on axis 0, as xs.kernel has",
        "got xs.recurrent_kernel float32[4,16]",
        "the order is (cell, params, xs)",
    ),
    "not-arrays": kind(
        lambda: rj.unroll(CELL, CELL, inputs()),
        "unroll: params must be arrays. Value 'LSTM(hidden_size=4)'",
    ),
    "not-arrays/xs": kind(lambda: run(xs="text"), "unroll: xs must be arrays"),
    "not-arrays/carry": kind(
        lambda: run(carry="zeros"), "unroll: carry must be arrays. Value 'zeros'"
    ),
    "not-arrays/mask": kind(
        lambda: run(mask=[[True], [True, False]]),
        "unroll: mask must be arrays",
        "inhomogeneous",
    ),
    # The input.
    "xs-list": kind(
        lambda: run(xs=[[1.0, 2.0], [3.0, 4.0]]),
        "unroll: xs must be an array, or a tuple or dict of arrays",
        "got a list of 2",
        "jax.numpy.asarray or stack makes it one array",
    ),
    "xs-list/step": kind(lambda: step(x=[1.0, 2.0]), "LSTM.step: x must be", "list"),
    "xs-empty": value(lambda: run(xs={}), "unroll: xs must hold an array, got dict of"),
    "xs-empty/none": value(
        lambda: rj.unroll(CELL, init(), None), "unroll: xs must hold an array, got None"
    ),
    "xs-rank": value(
        lambda: run(7),
        "unroll: xs must be (time, *batch, features), of rank 2 or more",
        "got float32[7]",
        "needs a feature axis: xs[..., None]",
    ),
    "xs-rank/scalar": value(lambda: run(xs=1.0), "unroll: xs must be", "float32[]"),
    "xs-rank/step": value(
        lambda: step(x=1.0),
        "LSTM.step: x must be (*batch, features), of rank 1 or more; got float32[]",
        "x[..., None]",
    ),
    "xs-rank/pytree": value(
        lambda: run(xs={"a": jnp.ones(7)}), "unroll: xs['a'] must be", "xs['a'][..., N"
    ),
    "xs-parts": value(
        lambda: run(xs=(inputs(), inputs(6, BATCH, FEATURES))),
        "unroll: every part of xs must have 7 steps on axis 0, as xs[0] has",
        "got xs[1] float32[6,5,2]",
    ),
    "xs-features": value(
        lambda: run(TIME, BATCH, 3),
        "unroll: xs has 3 features, but params were made for 2",
        "xs float32[7,5,3] read as (time=7, batch=5, features=3); cell LSTM(",
    ),
    "xs-features/step": value(
        lambda: step(x=inputs(BATCH, 3)),
        "LSTM.step: x has 3 features, but params were made for 2",
        "x float32[5,3] read as (batch=5, features=3)",
    ),
    "xs-features/none": value(lambda: run(TIME, BATCH, 0), "xs has 0 features"),
    "xs-features-first": value(
        lambda: run(TIME, FEATURES, BATCH),
        "unroll: xs has 5 features, but params were made for 2",
        "read as (time=7, batch=2, features=5)",
        "Features must be the last axis",
    ),
    "xs-integers": kind(
        lambda: run(xs=inputs(dtype="int32")),
        "unroll: xs must be floating point, got int32",
        "table[tokens], or jax.nn.one_hot",
        AXES,
    ),
    "xs-integers/bytes": kind(
        lambda: run(xs=inputs(dtype="uint8")), "got uint8", "xs.astype(float)"
    ),
    "xs-integers/bool": kind(lambda: run(xs=inputs(dtype=bool)), "got bool"),
    "xs-integers/step": kind(
        lambda: step(x=inputs(BATCH, FEATURES, dtype="int32")),
        "LSTM.step: x must be floating point, got int32",
        STEP_AXES,
    ),
    "dtypes-differ": kind(
        lambda: run(xs=inputs(dtype=jnp.bfloat16)),
        "unroll: xs is bfloat16 but params.kernel is float32; nothing is cast silently",
        "xs.astype('float32'), or jax.tree.map(lambda p: p.astype('bfloat16'), params)",
        AXES,
    ),
    "dtypes-differ/one": kind(
        lambda: run(params=init()._replace(bias=jnp.zeros(16, "float16"))),
        "unroll: xs is float32 but params.bias is float16",
    ),
    "dtypes-differ/complex": kind(
        lambda: run(xs=inputs(dtype="complex64")),
        "xs is complex64 but params.kernel is",
    ),
    "dtypes-differ/image": kind(
        lambda: run(cell=IMAGES, xs=inputs(7, 5, 8, 8, 2, dtype="float16")),
        "unroll: xs is float16 but params.kernel is float32",
    ),
    "dtypes-differ/step": kind(
        lambda: step(x=inputs(BATCH, FEATURES, dtype="float16")),
        "LSTM.step: x is float16 but params.kernel is float32",
        "x.astype('float32')",
        STEP_AXES,
    ),
    # Parameters.
    "params-kind": kind(
        lambda: run(params=init(rj.Elman(4))),
        f"unroll: params must be {WEIGHTS}",
        "got ElmanParams(kernel, recurrent_kernel, bias)",
        "LSTM(hidden_size=4).init(key, in_features=2) makes them",
    ),
    "params-kind/gru": kind(
        lambda: run(cell=rj.GRU(4, reset_after=False), params=init(rj.GRU(4))),
        "params must be GRUParams(kernel, recurrent_kernel, bias, recurrent_bias=None)",
        "got GRUParams(kernel, recurrent_kernel, bias, recurrent_bias)",
    ),
    "params-kind/peephole": kind(
        lambda: run(params=init(rj.PeepholeLSTM(4))), f"params must be {WEIGHTS}"
    ),
    "params-kind/bias": kind(
        lambda: run(cell=rj.LSTM(4, use_bias=False), params=init()),
        "params must be LSTMParams(kernel, recurrent_kernel, bias=None)",
        f"got {WEIGHTS}",
    ),
    "params-kind/step": kind(
        lambda: step(params=init(rj.GRU(4))), f"LSTM.step: params must be {WEIGHTS}"
    ),
    "params-size": value(
        lambda: run(params=init(BIG)),
        "unroll: params.kernel must be of shape (2, 16), got float32[2,32]",
        AXES,
        "They were made for another cell; LSTM(hidden_size=4).init(key, in_feat",
    ),
    "params-size/recurrent": value(
        lambda: run(params=init()._replace(recurrent_kernel=jnp.ones((8, 16)))),
        "unroll: params.recurrent_kernel must be of shape (4, 16), got float32[8,16]",
    ),
    "params-size/step": value(
        lambda: step(params=init(BIG)),
        "LSTM.step: params.kernel must be of shape (2, 16), got float32[2,32]",
        STEP_AXES,
    ),
    "params-stacked": value(
        lambda: run(params=stacked()),
        "unroll: params.kernel must be of shape (2, 16), got float32[3,2,16]",
        AXES,
        "Params of several cells side by side need jax.vmap",
    ),
    "params-stacked/step": value(
        lambda: step(params=stacked()), "LSTM.step: params.kernel must be", "jax.vmap"
    ),
    # The carry.
    "carry-kind": kind(
        lambda: run(carry=start(rj.GRU(4))),
        f"unroll: carry must be {STATE}, got HiddenCarry(h)",
        START,
    ),
    "carry-kind/tuple": kind(lambda: run(carry=tuple(start())), "got tuple of 2"),
    "carry-kind/list": kind(lambda: run(carry=list(start())), "got list of 2"),
    "carry-kind/array": kind(lambda: run(carry=start().h), "got float32[5,4]"),
    "carry-kind/bool": kind(lambda: run(carry=False), "got bool[]"),
    "carry-kind/none": kind(
        lambda: run(carry=rj.LSTM.Carry(start().h, None)),
        "got HiddenCellCarry(h, c=None)",
    ),
    "carry-kind/step": kind(
        lambda: CELL.step(init(), None, inputs(BATCH, FEATURES)),
        f"LSTM.step: carry must be {STATE}, got None",
        START,
    ),
    "carry-kind/swapped": kind(
        lambda: CELL.step(start(), init(), inputs(BATCH, FEATURES)),
        f"LSTM.step: params must be {WEIGHTS}, got {STATE}",
    ),
    "carry-batch": value(
        lambda: run(carry=start(batch_shape=(6,))),
        "unroll: carry.h must be float32[5,4], got float32[6,4]",
        AXES,
        "not broadcast over the batch: jnp.broadcast_to does it",
    ),
    "carry-batch/one": value(
        lambda: run(carry=start(batch_shape=(1,))), "got float32[1,4]", "broadcast_to"
    ),
    "carry-batch/none": value(
        lambda: run(carry=start(batch_shape=())), "got float32[4]", "broadcast_to"
    ),
    "carry-batch/scalars": value(
        lambda: run(carry=rj.LSTM.Carry(0.0, 0.0)), "got float32[]", "broadcast_to"
    ),
    "carry-batch/rank": value(
        lambda: run(carry=start(batch_shape=(BATCH, 1))), "got float32[5,1,4]"
    ),
    "carry-batch/second": value(
        lambda: run(carry=start()._replace(c=jnp.zeros((6, 4)))), "carry.c must be"
    ),
    "carry-batch/reset": value(
        lambda: run(resets=flags(7, 5), reset_carry=start(batch_shape=(6,))),
        "unroll: reset_carry.h must be float32[5,4], got float32[6,4]",
    ),
    "carry-batch/step": value(
        lambda: step(carry=start(batch_shape=(6,))),
        "LSTM.step: carry.h must be float32[5,4], got float32[6,4]",
        STEP_AXES,
        "broadcast_to",
    ),
    "carry-size": value(
        lambda: run(carry=start(BIG)),
        "unroll: carry.h must be float32[5,4], got float32[5,8]",
        AXES,
        "Its hidden size is (8,), that of the cell is (4,)",
    ),
    "carry-size/reset": value(
        lambda: run(resets=flags(7, 5), reset_carry=start(BIG)),
        "unroll: reset_carry.h must be float32[5,4]",
        "Its hidden size is (8,)",
    ),
    "carry-size/step": value(
        lambda: step(carry=start(BIG)),
        "LSTM.step: carry.h must be float32[5,4], got float32[5,8]",
        "Its hidden size is (8,)",
    ),
    "carry-dtype": kind(
        lambda: run(carry=start(dtype="bfloat16")),
        "unroll: carry.h is bfloat16 but the cell computes in float32",
        "cast it: carry.h.astype('float32')",
        AXES,
    ),
    "carry-dtype/int": kind(
        lambda: run(carry=jax.tree.map(np.int32, start())), "carry.h is int32"
    ),
    "carry-dtype/reset": kind(
        lambda: run(resets=flags(7, 5), reset_carry=start(dtype="float16")),
        "unroll: reset_carry.h is float16",
        "reset_carry.h.astype('float32')",
    ),
    "carry-dtype/step": kind(
        lambda: step(carry=start(dtype="bfloat16")),
        "LSTM.step: carry.h is bfloat16 but the cell computes in float32",
        STEP_AXES,
    ),
    "carry-swap": value(
        lambda: run(BATCH, TIME, FEATURES, carry=start()),
        "unroll: carry.h must be float32[7,4], got float32[5,4]",
        "read as (time=5, batch=7, features=2)",
        "Its batch is the number of steps",
        SWAP,
    ),
    "carry-swap/other": value(
        lambda: run(carry=start(), time_axis=1),
        "read as (batch=7, time=5, features=2)",
        "Time was read as the second axis: if it is not, pass time_axis=0",
    ),
    "step-sequence": value(
        lambda: step(x=inputs()),
        "LSTM.step: carry.h must be float32[7,5,4], got float32[5,4]",
        "read as (batch=7, batch=5, features=2)",
        "A step takes no axis of time: unroll takes all steps, step takes x[t]",
    ),
    # Options.
    "lengths-dtype": kind(
        lambda: run(lengths=[1.0, 2.0, 3.0, 4.0, 5.0]),
        "unroll: lengths must be integers, one for each sequence",
        "lengths is float64[5]",
        AXES,
        "Cast them: .astype(int)",
    ),
    "lengths-dtype/traced": kind(
        lambda: run(lengths=jnp.ones(BATCH)), "lengths is float32[5]"
    ),
    "lengths-dtype/text": kind(lambda: run(lengths="all"), "lengths must be integers"),
    "lengths-mask": kind(
        lambda: run(lengths=flags(TIME, BATCH)),
        "unroll: lengths must be integers, one for each sequence",
        "lengths is bool[7,5]",
        "Pass bools as mask=...",
    ),
    "lengths-shape": value(
        lambda: run(lengths=np.ones((BATCH, 1), int)),
        "unroll: lengths must have the batch shape (5,), one for each sequence",
        "lengths is int64[5,1]",
        AXES,
    ),
    "lengths-shape/scalar": value(lambda: run(lengths=3), "lengths is int64[]"),
    "lengths-shape/more": value(
        lambda: run(lengths=np.ones(6, int)), "lengths is int64[6]"
    ),
    "lengths-swap": value(
        lambda: run(BATCH, TIME, FEATURES, lengths=np.ones(BATCH, int)),
        "unroll: lengths must have the batch shape (7,), one for each sequence",
        "read as (time=5, batch=7, features=2)",
        SWAP,
    ),
    "lengths-value": value(
        lambda: run(lengths=np.full(BATCH, 8)),
        "unroll: lengths must lie between 0 and time=7, got 8",
        AXES,
        SWAP,
    ),
    "lengths-value/list": value(lambda: run(lengths=[8] * 5), "0 and time=7, got 8"),
    "lengths-negative": value(
        lambda: run(lengths=[1, 2, -1, 4, 5]),
        "unroll: lengths must lie between 0 and time=7, got -1",
        AXES,
    ),
    "flags-dtype": kind(
        lambda: run(mask=flags(TIME, BATCH, dtype="int32")),
        "unroll: mask must be bool, one for each step, got int32[7,5]",
        "make it mask != 0",
        AXES,
    ),
    "flags-dtype/list": kind(lambda: run(mask=[[1] * 5] * 7), "mask must be bool"),
    "flags-dtype/resets": kind(
        lambda: run(resets=jnp.ones((TIME, BATCH))),
        "unroll: resets must be bool, one for each step, got float32[7,5]",
        "make it resets != 0",
    ),
    "flags-shape": value(
        lambda: run(resets=flags(TIME)),
        "unroll: resets must be (7, 5), laid out as xs is; got bool[7]",
        AXES,
    ),
    "flags-shape/mask": value(
        lambda: run(mask=flags(TIME, BATCH, 1)), "mask must be (7, 5)", "bool[7,5,1]"
    ),
    "flags-shape/scalar": value(lambda: run(mask=True), "got bool[]"),
    "flags-transposed": value(
        lambda: run(mask=flags(BATCH, TIME)),
        "unroll: mask must be (7, 5), laid out as xs is; got bool[5,7]",
        AXES,
        "Transpose it: mask.swapaxes(0, 1)",
    ),
    "flags-transposed/resets": value(
        lambda: run(resets=flags(BATCH, TIME)), "Transpose it: resets.swapaxes(0, 1)"
    ),
    "flags-transposed/axis": value(
        lambda: run(BATCH, TIME, FEATURES, mask=flags(TIME, BATCH), time_axis=1),
        "mask must be (5, 7)",
        "read as (batch=5, time=7, features=2)",
        "Transpose it: mask.swapaxes(0, 1)",
    ),
    "flags-transposed/rank": value(
        lambda: run(7, 5, 3, 2, mask=flags(5, 7, 3)), "must be (7, 5, 3)", "Transpose"
    ),
    "resets-missing": value(
        lambda: run(reset_carry=start()),
        "unroll: reset_carry is given without resets, so it has no effect",
        "pass resets as well, or carry=...",
    ),
    "time-axis": value(
        lambda: run(time_axis=2),
        "unroll: time_axis must be one of the first 2 axes of xs float32[7,5,2]",
        "since features come last; got 2",
    ),
    "time-axis/negative": value(lambda: run(time_axis=-1), "come last; got -1"),
    "time-axis/far": value(lambda: run(time_axis=-4), "come last; got -4"),
    "time-axis-kind": kind(
        lambda: run(time_axis="batch"),
        "unroll: time_axis must be a Python integer, got 'batch'",
    ),
    "time-axis-kind/none": kind(lambda: run(time_axis=None), "time_axis must be a Pyt"),
    "time-axis-kind/bool": kind(lambda: run(time_axis=True), "integer, got True"),
    "time-axis-kind/traced": kind(
        lambda: run(time_axis=jnp.zeros((), int)), "integer, got int32[]"
    ),
    "reverse": kind(
        lambda: run(reverse=jnp.array(True)),
        "unroll: reverse must be a Python bool, got bool[]",
        "under jit make it static: static_argnames",
    ),
    "reverse/text": kind(lambda: run(reverse="no"), "Python bool, got 'no'"),
    # Building a cell, its parameters, and one's own.
    "field-hash": kind(
        lambda: rj.LSTM(4, forget_bias=np.ones(4)),
        "LSTM: forget_bias holds a ndarray",
        "which does not hash, so jit could not tell one cell from another",
        "fields are numbers, strings, functions and tuples of them",
        "the parameters that init returns",
    ),
    "field-hash/list": kind(
        lambda: rj.LSTM(4, kernel_init=[initializers.zeros]), "holds a list"
    ),
    "field-function": kind(
        lambda: rj.LSTM(4, activation="tanh"),
        "LSTM: activation must be a function, got 'tanh'",
        "pass one such as jax.numpy.tanh",
    ),
    "field-function/none": kind(
        lambda: rj.GRU(4, activation=None), "GRU: activation must"
    ),
    "field-function/tuple": kind(
        lambda: rj.LSTM(4, activation=(jnp.tanh,)), "activation must be a func"
    ),
    "field-function/init": kind(
        lambda: rj.LSTM(4, kernel_init=("zeros",) * 4), "kernel_init must be a"
    ),
    "activation-result": kind(
        lambda: rj.LSTM(4, activation=lambda a: a[..., :1]).init(jax.random.key(0), 3),
        "LSTM: activation must return an array of the shape and dtype of its argument",
        "float32[2,4], got float32[2,1]",
    ),
    "field-range": value(
        lambda: rj.LeakyElman(4, leak=1.5),
        "LeakyElman: leak must be above 0 and at most 1, got 1.5",
    ),
    "field-range/step": value(
        lambda: rj.CoRNN(4, step_size=0), "CoRNN: step_size must be above 0, got 0"
    ),
    "field-range/kind": kind(
        lambda: rj.CTRNN(4, leak="slow"),
        "CTRNN: leak must be a finite number, got 'slow'",
    ),
    "cell-clip": value(
        lambda: rj.PeepholeLSTM(4, cell_clip=0.0),
        "PeepholeLSTM: cell_clip must be above 0, got 0.0",
        "None switches it off",
    ),
    "cell-clip/projected": value(
        lambda: rj.ProjectedLSTM(4, projection_clip=-1.0), "projection_clip", "got -1.0"
    ),
    "cell-clip/activation": value(
        lambda: rj.activations.Clipped(jnp.tanh, 0.0), "Clipped: bound must be above 0"
    ),
    "clipped-none": kind(
        lambda: rj.activations.Clipped(jnp.tanh, None),
        "Clipped: bound must be a finite number, got None; without a bound, pass the",
    ),
    "heads": value(
        lambda: rj.SLSTM(6), "SLSTM: heads must divide hidden_size=6, got 4", "heads=1"
    ),
    "gate-letters": value(
        lambda: rj.OdysseyLSTM(4, gates="of"),
        "OdysseyLSTM: gates must be one of ['ifo', 'fo', 'io', 'if',",
        "got 'of'",
    ),
    "batch-norm": value(
        train_on_one_sequence,
        "BatchNormLSTM: training takes moments over the batch, but the input has no",
        "evaluation, on a plain array, needs none",
    ),
    "field-choice": value(
        lambda: rj.SlimGRU(4, variant=4),
        "SlimGRU: variant must be one of [1, 2, 3], got 4",
    ),
    "field-choice/padding": value(
        lambda: rj.ConvLSTM(4, (8, 8), padding="same"),
        "ConvLSTM: padding must be one of ['SAME', 'VALID'], got 'same'",
    ),
    "image-shape": kind(
        lambda: rj.ConvLSTM(4, 16),
        "ConvLSTM: spatial_shape must be a tuple of 1 to 3 sizes, got 16",
        "a line of 16 is (16,)",
    ),
    "image-shape/four": kind(lambda: rj.ConvGRU(4, (2, 2, 2, 2)), "of 1 to 3 sizes"),
    "image-axes": value(
        lambda: rj.ConvLSTM(4, (8, 8), kernel_shape=(3,)),
        "ConvLSTM: kernel_shape must have one size for each of the 2 axes of",
    ),
    "image-fit": value(
        lambda: rj.ConvGRU(4, (8, 8), kernel_shape=9, padding="VALID"),
        "ConvGRU: kernel_shape=9 does not fit into spatial_shape=(8, 8)",
        "padding='SAME'",
    ),
    "image-input": value(
        lambda: run(7, 5, 8, 9, 2, cell=IMAGES),
        "ConvLSTM: the input must be (*batch, 8, 8, 2), channels last, got float32",
    ),
    "timed": kind(
        lambda: run(cell=TIMED),
        "TimeAwareLSTM: the input must be Timed(x, elapsed), got float32[5,2]",
        "rj.cells.Timed(x, jnp.ones(x.shape[:-1], x.dtype))",
    ),
    "timed-part": value(
        lambda: run(cell=TIMED, xs=rj.cells.Timed(inputs(), inputs(7, 5, 1))),
        "TimeAwareLSTM: elapsed must be float32[5], got float32[5,1]",
        "elapsed[..., 0]",
    ),
    "timed-part/features": value(
        lambda: run(cell=TIMED, xs=rj.cells.Timed(inputs(7, 5, 3), inputs(7, 5))),
        "unroll: xs.x has 3 features, but params were made for 2",
    ),
    "timed-dtype": kind(
        lambda: run(
            cell=TIMED, xs=rj.cells.Timed(inputs(), inputs(7, 5, dtype="int32"))
        ),
        "TimeAwareLSTM: elapsed must be float32[5], got int32[5]; nothing is cast "
        "silently",
    ),
    "filled": kind(
        lambda: run(cell=rj.GRUD(4), xs=raw_series()),
        "GRUD: the input must be Filled(x, mask, elapsed), got Observed(x, mask, elap",
        "rj.ForwardFill makes it of rj.cells.Observed",
    ),
    "filled/array": kind(
        lambda: rj.unroll(rj.ForwardFill(2), (), inputs()),
        "ForwardFill: the input must be Observed(x, mask, elapsed), got float32[5,2]",
    ),
    "filled/mask": kind(
        lambda: rj.unroll(
            rj.ForwardFill(2), (), raw_series()._replace(mask=inputs(dtype="float32"))
        ),
        "ForwardFill: mask must be bool[5,2], got float32[5,2]",
    ),
    "identity-shape": value(
        lambda: rj.initializers.identity(jax.random.key(0), (3, 4), float),
        "identity: the matrix must be square, got shape (3, 4)",
    ),
    "size": value(lambda: rj.LSTM(0), "LSTM: hidden_size must be at least 1, got 0"),
    "size/negative": value(lambda: rj.GRU(-1), "GRU: hidden_size", "got -1"),
    "size/in_features": value(
        lambda: CELL.init(jax.random.key(0), 0),
        "LSTM.init: in_features must be at least 1, got 0",
    ),
    "size-kind": kind(
        lambda: rj.LSTM(4.0), "LSTM: hidden_size must be a Python integer, got 4.0"
    ),
    "size-kind/bool": kind(lambda: rj.LSTM(True), "must be a Python integer, got True"),
    "size-kind/in_features": kind(
        lambda: rj.Elman(4).init(jax.random.key(0), (BATCH, FEATURES)),
        "Elman.init: in_features must be a Python integer, got (5, 2)",
    ),
    "size-kind/array": kind(
        lambda: rj.GRU(4).init(jax.random.key(0), inputs()),
        "GRU.init: in_features must be a Python integer, got float32[7,5,2]",
    ),
    "size-kind/peephole": kind(
        lambda: rj.PeepholeLSTM(4).init(jax.random.key(0), 2.0),
        "PeepholeLSTM.init: in_features must be a Python integer, got 2.0",
    ),
    "step-final": kind(
        override_step,
        "Overrides: `step` is final (recur after project)",
        "define project, recur, or feedback and update instead",
    ),
    "no-recurrence": Case(
        lambda: Empty().feedback((), ()),
        NotImplementedError,
        ("Empty must define recur, or feedback and update",),
    ),
    "no-recurrence/unroll": Case(
        lambda: rj.unroll(Empty(), (), inputs()),
        NotImplementedError,
        ("Empty must define recur, or feedback and update",),
    ),
    "no-recurrence/update": Case(
        lambda: Empty().update((), (), 0, 0), NotImplementedError, ("Empty must def",)
    ),
    "cell-call": kind(
        lambda: CELL(inputs(), start()),
        "LSTM: it is a value and not called: unroll(cell, params, xs) runs it over a ",
        "sequence; cell.step(params, carry, x) takes one step; linen.RNN(cell) and ",
    ),
    "cell-attribute": Case(
        lambda: CELL.parameters(),
        AttributeError,
        (
            "LSTM has no attribute parameters; a cell holds no arrays: params = ",
            "cell.init(key, in_features) returns them",
        ),
    ),
    "step-order": kind(
        lambda: CELL.step(init(), inputs(BATCH, FEATURES), start()),
        "LSTM.step: a carry came last; the order is (params, carry, x)",
    ),
    "no-such-name": Case(
        lambda: rj.RNN,
        AttributeError,
        ("module 'recurrent_jax' has no attribute 'RNN'",),
    ),
    # Initialisers, training and testing.
    "gates": value(
        lambda: init(rj.LSTM(4, kernel_init=(initializers.zeros,) * 3)),
        "per_gate: got a tuple of 3 initialisers for 4 gates",
        "give one for each gate, or a single one for all",
    ),
    "preset-name": value(
        lambda: initializers.preset("tensorflow", CELL),
        "preset: name must be one of ['torch', 'keras', 'flax', 'haiku'], got 'tens",
    ),
    "preset-fields": value(
        lambda: initializers.preset("torch", Empty()),
        "preset: Empty() has no field ['bias_init', 'kernel_init', 'recurrent_kernel_",
    ),
    "preset-in-features": value(
        lambda: initializers.preset("haiku", CELL),
        "preset: 'haiku' needs in_features for an LSTM",
        "pass in_features=...",
    ),
    "clipping": value(
        lambda: clipping(0.0),
        "clipping: max_norm must be above 0, got 0.0",
        "None switches it off",
    ),
    "clipping/value": value(
        lambda: clipping(max_value=-1), "clipping: max_value", "-1"
    ),
    "clipping/inf": value(lambda: clipping(float("inf")), "got inf"),
    "clipping/nan": value(lambda: clipping(1.0, float("nan")), "max_value", "got nan"),
    "rates-label": value(
        lambda: training.relative_rates({"weights": 0.1}),
        "relative_rates: rates must be by the labels ['kernel', ",
    ),
    "rates-value": value(
        lambda: training.relative_rates({"bias": -1.0}),
        "relative_rates: rates['bias'] must be at least 0, got -1.0; 0 freezes",
    ),
    "weight-decay": value(
        lambda: training.adamw(0.1, weight_decay=-1.0),
        "adamw: weight_decay must be at least 0, got -1.0",
    ),
    "skip": value(
        lambda: training.adamw(0.1, skip=-1), "adamw: skip must be at least 0, got -1"
    ),
    "loss-kind": kind(
        lambda: train(lambda params, carry, batch, key: params.bias.sum()),
        "train_step: loss must return (value, carry), a scalar and the next "
        "carry or None",
    ),
    "loss-carry": kind(
        lambda: train(lambda params, carry, batch, key: (params.bias.sum(), start())),
        "train_step: loss returned another carry than it took",
        "give init_state the carry that the first batch starts from",
    ),
    "train-state": kind(
        lambda: training.train_step({}, None, loss=loss_of, optimizer=optax.sgd(0.1)),
        "train_step: state must be what init_state returns, a State, got {}",
    ),
    "optimizer-kind": kind(
        lambda: training.init_state(init(), CELL, key=jax.random.key(0)),
        "init_state: optimizer must be an optimizer of Optax, got LSTM(hidden_size=4)",
    ),
    "optimizer-other": kind(
        other_optimizer,
        "train_step: state.opt_state is not that of this optimizer; pass the",
        "optimizer that init_state was given",
    ),
    "streams-short": value(
        lambda: training.cut_streams(np.ones(7, "float32"), 5),
        "cut_streams: sequence float32[7] is too short for 5 streams of two steps",
    ),
    "chunks-short": value(
        lambda: training.take_chunk(inputs(), 0, length=7),
        "take_chunk: streams of 7 steps are too short for a chunk of 7",
    ),
    "values-kind": kind(
        lambda: training.masked_mean(flags(TIME, BATCH)),
        "masked_mean: values must be a floating-point array, got bool[7,5]",
    ),
    "loss-mask-kind": kind(
        lambda: training.squared_error(
            inputs(), inputs(), mask=flags(TIME, BATCH, dtype="int32")
        ),
        "squared_error: mask must be a bool array or None, got int32[7,5]; "
        "mask != 0 makes one",
    ),
    "loss-mask-shape": value(
        lambda: training.squared_error(inputs(), inputs(), mask=flags(BATCH, TIME)),
        "squared_error: mask must have the leading axes of predictions float32[7,5,2]",
        "got bool[5,7]",
    ),
    "labels-kind": kind(
        lambda: training.cross_entropy(inputs(), inputs()),
        "cross_entropy: labels must be an integer array",
        "labels.argmax(-1) makes one",
    ),
    "labels-shape": value(
        lambda: training.cross_entropy(inputs(), inputs(TIME, dtype="int32")),
        "cross_entropy: labels must be (7, 5), one for each step of logits",
    ),
    "targets-shape": value(
        lambda: training.squared_error(inputs(), inputs(TIME, BATCH)),
        "squared_error: targets must be of the shape and dtype of predictions",
    ),
    "train-kind": kind(
        lambda: training.standardiser(inputs(dtype="int32")),
        "standardiser: train must be a floating-point array (..., features)",
    ),
    "train-empty": value(
        lambda: training.standardiser(inputs(0, FEATURES)),
        "standardiser: no steps in train float32[0,2]",
    ),
    "train-finite": value(
        lambda: training.standardiser(np.array([[1.0, np.nan], [2.0, 3.0]])),
        "standardiser: features [1] are not finite in train",
    ),
    "train-constant": value(
        lambda: training.standardiser(inputs()),
        "standardiser: features [0, 1] are constant in train",
    ),
    "windows-gap": value(
        lambda: training.windows(9, 2, gap=-1), "windows: gap must be at least 0"
    ),
    "windows-parts": value(
        lambda: training.windows(9, 2, parts=(0.8, 0.3)),
        "windows: parts must be positive numbers that add to 1, got (0.8, 0.3)",
    ),
    "windows-short": value(
        lambda: training.windows(9, 3),
        "windows: part 1 has 2 steps, too few for a window of 3",
    ),
    "batch-size": value(
        lambda: training.batch_indices(jax.random.key(0), 0, examples=5, size=7),
        "batch_indices: size=7 is more than examples=5; take smaller batches",
    ),
    "process-parts": value(
        lambda: training.process_indices(
            5, jax.sharding.Mesh(np.array(jax.devices()[:1] * 2), ("data",))
        ),
        "process_indices: a batch of 5 sequences cannot be cut into equal parts for 2",
        "take a multiple of 2",
    ),
    "keep": value(
        lambda: training.save(tempfile.gettempdir(), init(), keep=1),
        "save: keep must be at least 2",
        "got 1",
    ),
    "state-kind": kind(
        lambda: training.save(tempfile.gettempdir(), {"cell": CELL}),
        "save: state['cell'] must be an array, a key or a number, got LSTM",
    ),
    "checkpoint": Case(
        restore_of_another,
        training.CheckpointError,
        ("no checkpoint can be used; checkpoint 0 is of something else: ",),
    ),
    # Networks, wrappers and what they draw.
    "layers": kind(
        lambda: rj.Deep(CELL),
        "Deep: layers must be a tuple of at least one cell, got LSTM(hidden_size=4)",
        "one alone is (cell,)",
    ),
    "layers/empty": kind(lambda: rj.Stack(()), "Stack: cells must be a tuple"),
    "layers-kind": kind(
        lambda: rj.Stack((CELL, rj.Bidirectional(CELL))),
        "Stack: cells[1] must be a recurrent_jax.Cell, got Bidirectional(",
    ),
    "layers-kind/class": kind(
        lambda: rj.Zoneout(rj.LSTM, 0.1),
        "Zoneout: cell must be a recurrent_jax.Cell, got the class LSTM",
    ),
    "layers-kind/network": kind(
        lambda: rj.Bidirectional(rj.LSTM),
        "must be a recurrent_jax.Cell or recurrent_jax.Network, got the class LSTM",
    ),
    "parts": kind(
        lambda: run(cell=rj.Deep((CELL, CELL)), params=(init(),)),
        "Deep: params must be a tuple of 2, one part for each cell, got tuple of 1",
    ),
    "parts/carry": kind(
        lambda: run(cell=rj.Deep((CELL,)), params=(init(),), carry=start()),
        "unroll: carry must be a tuple of 1, one part for each cell, got HiddenCell",
    ),
    "parts/stack": kind(
        lambda: run(cell=rj.Stack((CELL,) * 3), params=(init(),)),
        "unroll: params must be tuple of 3, got tuple of 1",
    ),
    "deep-residual": value(
        lambda: init(rj.Deep((CELL, CELL), residual=True)),
        "Deep: residual adds what layer 0 takes, of 2 features, to what it gives, of 4",
        "Deep((first, Deep(rest, residual=True)))",
    ),
    "deep-residual/run": value(
        lambda: run(cell=rj.Deep((CELL,), residual=True), params=(init(),)),
        "Deep: residual adds what layer 0 takes, of 2 features",
    ),
    "merge": value(
        lambda: rj.Bidirectional(CELL, merge="concat"),
        "Bidirectional: merge must be one of ['concatenate', 'sum', 'mean', 'product'",
        "got 'concat'",
    ),
    "merge-pair": value(
        lambda: init(rj.Deep((rj.Bidirectional(CELL, merge=None), CELL))),
        "Bidirectional: merge=None gives a pair of outputs",
        "choose a merge, or make it the last layer",
    ),
    "merge-sizes": value(
        lambda: init(rj.Deep((rj.Bidirectional(CELL, BIG, merge="sum"), CELL))),
        "Bidirectional: merge='sum' needs outputs of one size, got 4 and 8 features",
    ),
    "merge-sizes/run": value(
        lambda: run(
            cell=(network := rj.Bidirectional(CELL, BIG, merge="mean")),
            params=init(network),
        ),
        "Bidirectional: merge='mean' needs outputs of one size, got 4 and 8 features",
    ),
    "rate": value(
        lambda: rj.InputDropout(CELL, rate=1.0),
        "InputDropout: rate must be at least 0 and below 1, got 1.0",
        "the share that is dropped, not the share that is kept",
    ),
    "rate/nan": value(lambda: rj.OutputDropout(CELL, float("nan")), "got nan"),
    "rate/deep": value(lambda: rj.Deep((CELL,), dropout=-0.1), "Deep: dropout must"),
    "rate/each": value(lambda: rj.Zoneout(CELL, rj.LSTM.Carry(0.1, 2)), "got 2"),
    "rate/weight-drop": value(
        lambda: rj.weight_drop(init(), jax.random.key(0), 1), "weight_drop: rate"
    ),
    "dropout-parts": kind(
        lambda: run(
            cell=rj.InputDropout(rj.TimeAwareLSTM(4), 0.1),
            params=init(rj.TimeAwareLSTM(4)),
            xs=rj.cells.Timed(inputs(), inputs(TIME, BATCH)),
            key=jax.random.key(0),
        ),
        "InputDropout: the input must be one array, got Timed(x, elapsed)",
    ),
    "dropout-parts/deep": kind(
        lambda: run(
            cell=rj.Deep((rj.TimeAwareLSTM(4),), skip=True),
            params=(init(rj.TimeAwareLSTM(4)),),
            xs=rj.cells.Timed(inputs(), inputs(TIME, BATCH)),
        ),
        "Deep: the input must be one array, got Timed(x, elapsed); residual and skip",
    ),
    "dropout-parts/residual": kind(
        lambda: run(
            cell=rj.Residual(rj.TimeAwareLSTM(4)),
            params=init(rj.TimeAwareLSTM(4)),
            xs=rj.cells.Timed(inputs(), inputs(TIME, BATCH)),
        ),
        "Residual: the input must be one array, got Timed(x, elapsed); only that can",
    ),
    "recurrent-dropout": value(
        lambda: run(
            cell=(cell := rj.RecurrentDropout(rj.GRU(4, reset_after=False), 0.1)),
            params=init(cell),
            key=jax.random.key(0),
        ),
        "RecurrentDropout: GRU(hidden_size=4, reset_after=False) has products outside",
        "wrap the cells inside of it, or choose a form that splits",
    ),
    "residual": value(
        lambda: run(cell=rj.Residual(CELL)),
        "Residual: LSTM(hidden_size=4) takes 2 features and gives 4, which do not add",
    ),
    "zoneout-output": kind(
        lambda: rj.Zoneout(rj.Residual(CELL), 0.1),
        "Zoneout: Residual(cell=LSTM(hidden_size=4)) does not say how its output",
        "goes outside: OutputDropout(Zoneout(cell, rate))",
    ),
    "zoneout-rates": value(
        lambda: run(cell=rj.Zoneout(CELL, (0.1, 0.1, 0.1))),
        "Zoneout: got 3 rates for the 2 parts of the carry of LSTM(hidden_size=4)",
        "give one for each, or a single one for all",
    ),
    "operator": kind(
        lambda: rj.Structured(CELL, "low_rank"),
        "Structured: operator must be one such as rj.operators.LowRank(rank=2), got "
        "'low_rank'",
    ),
    "operator-kernel": value(
        lambda: init(rj.Structured(rj.LearnedCarry(CELL), rj.operators.Diagonal())),
        "Structured: LearnedCarry(cell=LSTM(hidden_size=4)) has no recurrent_kernel of",
        "wrap the cell that has it, and other wrappers around",
    ),
    "blocks": value(
        lambda: init(rj.Structured(CELL, rj.operators.BlockDiagonal(3))),
        "BlockDiagonal: 3 blocks do not divide 4 units",
    ),
    "low-rank": value(
        lambda: init(rj.Structured(CELL, rj.operators.LowRank(5))),
        "LowRank: rank 5 is more than 4 units",
    ),
    "density": value(
        lambda: rj.operators.RandomWiring(20),
        "RandomWiring: density must be above 0 and at most 1, got 20",
    ),
    "excitatory": value(
        lambda: rj.operators.Masked(excitatory=80),
        "Masked: excitatory must be at least 0 and at most 1, got 80",
    ),
    "weight-drop": value(
        lambda: rj.weight_drop(init(), jax.random.key(0), 0.5, names=("U",)),
        "weight_drop: params have no field called U; there are ['.kernel', ",
    ),
    "square": value(
        lambda: init(rj.LSTM(4, kernel_init=initializers.SpectralRadius(1.0))),
        "SpectralRadius: needs a square matrix, got the shape (2, 4)",
    ),
    "critical-gain": value(
        lambda: initializers.critical_gain(jnp.tanh, -1.0),
        "critical_gain: variance must be at least 0, got -1.0",
    ),
    "critical-gain-flat": value(
        lambda: initializers.critical_gain(jnp.sign, 1.0),
        "critical_gain: jax.numpy.sign is flat at a variance of 1.0",
    ),
    "chrono": value(
        lambda: initializers.Chrono(2), "Chrono: max_steps must be above 2, got 2"
    ),
    "power-law": value(
        lambda: initializers.PowerLaw(0.0), "PowerLaw: alpha must be above 0, got 0.0"
    ),
    "timescales": value(
        lambda: initializers.timescales(initializers.Chrono(9), rj.Elman(4)),
        "timescales: Elman(hidden_size=4) has neither the biases of an LSTM",
    ),
    "penalty-time-axis": value(
        lambda: temporal_activity_penalty(inputs(), time_axis=2),
        "temporal_activity_penalty: time_axis must be one of the first 2 axes of ys",
    ),
    "penalty-mask": value(
        lambda: temporal_activity_penalty(inputs(), mask=flags(7), time_axis=1),
        "temporal_activity_penalty: mask must have the axis of time, 1, of ys",
    ),
    "backward-class": kind(
        lambda: run(backward=rj.Deferred),
        "unroll: backward is the class Deferred; build one first: rj.Deferred(...)",
    ),
    "backward-kind": kind(
        lambda: run(backward="deferred"),
        "unroll: backward must be a strategy such as rj.Autodiff() or rj.Deferred()",
        "got 'deferred'",
    ),
    "method-class": kind(
        lambda: run(method=rj.Sequential),
        "unroll: method is the class Sequential; build one first: rj.Sequential(...)",
    ),
    "sequential": kind(
        lambda: rj.Sequential((CELL, CELL)),
        "Sequential: it takes no arguments; it is a method of unroll, which runs the ",
        "Layers, one after the other, are Deep((cell, ...))",
    ),
    "method-kind": kind(
        lambda: run(method="scan"),
        "unroll: method must be one such as rj.Sequential(), got 'scan'",
    ),
    "method-cell": kind(
        lambda: run(method=Linear(REASON)),
        "unroll: method=Linear() cannot run LSTM(hidden_size=4): it is no linear",
    ),
    "method-strategy": kind(
        lambda: run(method=Linear(None), backward=rj.Deferred()),
        "unroll: Deferred(block=None) takes the steps itself, one after the other",
        "method=rj.Sequential(), got Linear(); rj.Autodiff(), rj.Checkpointed() and",
    ),
    "truncated": value(
        lambda: rj.Truncated(k1=4, k2=3),
        "Truncated: k2=3 is less than k1=4",
        "give k2 >= k1",
    ),
    # Tasks, generation, streaming and ragged sequences.
    "attention-score": value(
        lambda: rj.Attention(CELL, 3, score="dot"),
        "Attention: score must be one of ['additive', 'multiplicative'], got 'dot'",
    ),
    "attention-size": value(
        lambda: rj.Attention(CELL, 3, 5, "multiplicative"),
        "Attention: attention_size is given, but a multiplicative score compares in",
        "the size of the output; leave it out, or pass score='additive'",
    ),
    "attention-unbound": value(
        lambda: rj.unroll(LOOKS, looks(), inputs()),
        "Attention: params have no memory to look at; make some that have:",
        "cell.bind(params, memory, lengths=...)",
    ),
    "attention-params": kind(
        lambda: LOOKS.bind(inputs(9, BATCH, 3), looks()),
        "Attention.bind: params must be AttentionParams, got float32[9,5,3]",
    ),
    "attention-params/weights": kind(
        lambda: LOOKS.weights(inputs(BATCH, 7), looks()),
        "Attention.weights: params must be AttentionParams, got float32[5,7]",
    ),
    "attention-memory": value(
        lambda: LOOKS.bind(looks(), inputs(9, BATCH, 4)),
        "Attention.bind: memory must be (time, *batch, 3), got float32[9,5,4]",
    ),
    "attention-memory/weights": value(
        lambda: LOOKS.weights(looks(), inputs(BATCH, 4)),
        "Attention.weights: ys must be the outputs of unroll, (*lead, 7), got",
    ),
    "attention-dtype": kind(
        lambda: LOOKS.bind(looks(), inputs(9, BATCH, 3, dtype="float16")),
        "Attention.bind: memory is float16 but params.memory_kernel is float32;",
        "nothing is cast silently. Cast one: memory.astype('float32')",
    ),
    "attention-dtype/weights": kind(
        lambda: LOOKS.weights(looks(), inputs(BATCH, 7, dtype="float16")),
        "Attention.weights: ys is float16 but params.memory_kernel is float32",
    ),
    "attention-batch": value(
        lambda: rj.unroll(LOOKS, LOOKS.bind(looks(), inputs(9, 6, 3)), inputs()),
        "Attention: the memory has the batch shape (6,), the input (5,); one memory",
        "for all sequences has no batch axes",
    ),
    "encoder-features": value(
        lambda: tasks.init_encoder_decoder(
            jax.random.key(0), CELL, LOOKS, in_features=2, decoder_features=2
        ),
        "init_encoder_decoder: the encoder gives 4 features, but",
        "Attention(cell=LSTM(hidden_size=4), memory_features=3) looks at 3; pass",
        "memory_features=4",
    ),
    "pool-time-axis": value(
        lambda: tasks.last_output(inputs(), lengths=[1] * BATCH, time_axis=2),
        "last_output: time_axis must be one of the first 2 axes of ys float32[7,5,2]; "
        "got 2",
    ),
    "pool-mask": value(
        lambda: tasks.mean_output(inputs(), mask=flags(BATCH, TIME)),
        "mean_output: mask must be bool[7,5], laid out as ys float32[7,5,2] is; "
        "got bool[5,7]",
    ),
    "pool-empty": value(
        lambda: tasks.last_output(()), "last_output: ys must hold an array"
    ),
    "ragged-lengths-dtype": kind(
        lambda: ragged.mask([1.0, 2.0], 3),
        "mask: lengths must be an integer array, got float64[2]; cast them: "
        ".astype(int)",
    ),
    "ragged-lengths-shape": value(
        lambda: tasks.last_output(inputs(), lengths=[[1] * 3] * 2),
        "last_output: lengths must have the batch shape (5, 2), one for each sequence; "
        "got",
        "int64[2,3]",
    ),
    "ragged-lengths-traced": kind(
        lambda: jax.jit(ragged.packing)(jnp.ones(3, int)),
        "packing: lengths must be known before tracing, since shapes depend on",
        "them; call it outside of jit",
    ),
    "ragged-lengths-rank": value(
        lambda: ragged.packing([[1], [2]]),
        "packing: lengths must be integers (n,), got int64[2,1]",
    ),
    "ragged-lengths-value": value(
        lambda: ragged.mask([4], 3),
        "mask: lengths must lie between 0 and time=3, got 4",
    ),
    "delay-number": value(
        lambda: tasks.delay(np.float32(1), 0),
        "delay: targets must be an array (time, ...), of 1 or more axes",
    ),
    "delay-first": value(
        lambda: tasks.delay(inputs(), np.ones(3)),
        "delay: first must be a number or one step of the targets, float32[5,2];",
        "got float32[3]",
    ),
    "sampling-rate": value(
        lambda: tasks.scheduled_sampling(
            echo, (), inputs(), rate=20, key=jax.random.key(0)
        ),
        "scheduled_sampling: rate must be at least 0 and at most 1, got 20",
    ),
    "fed-back": value(
        lambda: generation.forecast(
            lambda c, x: (c, x[..., 0]), (), inputs(BATCH, FEATURES), steps=3
        ),
        "what step predicts must become an input like the one before,",
        "float32[5,2]; got float32[5]. Integers are tokens, drawn from logits",
        "(*batch, vocabulary); for numbers, pass draw=...",
    ),
    "step-returns": kind(
        lambda: generation.generate(lambda carry, token: None, (), 0, steps=3),
        "generate: step must be a function (carry, token) -> (carry, logits), but it",
        "returned None",
    ),
    "step-takes": kind(
        lambda: generation.generate(lambda token: token, (), 0, steps=3),
        "generate: step must be a function (carry, token) -> (carry, logits), got one",
        "that cannot be called so: too many positional arguments",
    ),
    "first-token": kind(
        lambda: generation.generate(echo, (), 1.0, steps=3),
        "generate: token must be an integer array (*batch), got 1.0; what feeds",
        "numbers back is forecast",
    ),
    "logits": kind(
        lambda: generation.top_k(jnp.arange(3), 2),
        "top_k: logits must be a floating-point array (..., classes), got int32[3]",
    ),
    "step-logits": value(
        lambda: generation.generate(
            lambda c, t: (c, np.ones(5)), (), np.zeros(3, int), steps=3
        ),
        "generate: step must return logits (*batch, vocabulary) for tokens",
        "int32[3], got float64[5]. Its order is (carry, token) -> (carry, logits)",
    ),
    "draw-options": value(
        lambda: generation.generate(echo, (), 0, steps=3, top_k=2),
        "generate: top_k given without a key, so nothing is drawn and it has no",
        "effect; pass key=jax.random.key(0)",
    ),
    "temperature": value(
        lambda: generation.generate(
            echo, (), 0, steps=3, key=jax.random.key(0), temperature=0.0
        ),
        "generate: temperature must be above 0, got 0.0; without key the",
        "most probable token is taken each time",
    ),
    "share": value(
        lambda: generation.top_p(jnp.ones(3), 90),
        "top_p: p must be above 0 and at most 1, got 90",
    ),
    "draw-key": value(
        lambda: generation.forecast(
            echo, (), inputs(), steps=3, draw=generation.normal
        ),
        "forecast: draw is given without key; both draw what is fed back, neither",
        "feeds the prediction itself back",
    ),
    "known": value(
        lambda: generation.forecast(echo, (), inputs(), steps=3, known=np.ones(4)),
        "forecast: known must have steps=3 as its first axis, got the shape (4,)",
    ),
    "stream-ahead": kind(
        lambda: streaming.step(rj.Bidirectional(CELL), (), (), inputs()),
        "streaming.step: Bidirectional(forward=LSTM(hidden_size=4)) holds a",
        "Bidirectional, which reads later inputs first; a stream has none yet. Use",
        "cells, or Deep layers of them",
    ),
    "stream-carry": value(
        lambda: streaming.export(
            lambda c, x: (x, x),
            lambda shape: jnp.zeros((*shape, 4)),
            inputs(2),
            batch=5,
        ),
        "streaming.export: step must return a carry like the one of start,",
        "float32[5,4], got float32[5,2]; the order is (carry, x) -> (carry, y)",
    ),
    "stream-bytes": value(
        lambda: streaming.load(b""),
        "load: data is not what streaming.export returned",
    ),
    "pad-none": value(lambda: ragged.pad([]), "pad: sequences must hold at least one"),
    "pad-differ": value(
        lambda: ragged.pad([np.ones((3, 2)), np.ones((3, 4))]),
        "pad: sequences[1] is float64[3,4], the first with any steps float64[3,2];",
        "they may differ in length alone",
    ),
    "pad-short": value(
        lambda: ragged.packing([3, 9], row_time=8),
        "packing: row_time=8 is too short for a sequence of 9 steps",
    ),
    "pack-axes": value(
        lambda: ragged.packing([3, 2]).pack(inputs()),
        "pack: an array must begin with the axes (3, 2) that the plan was made for,",
        "(time, batch); got float32[7,5,2]",
    ),
    "bounds-none": value(
        lambda: ragged.bounds(np.zeros(0, int), 3),
        "bounds: lengths must hold at least one",
    ),
    "bounds": value(
        lambda: ragged.buckets([3], batch_size=2, bounds=[9, 4]),
        "buckets: bounds must be rising lengths, got [9, 4]",
    ),
    "bounds-short": value(
        lambda: ragged.buckets([3, 12], batch_size=2, bounds=[4, 9]),
        "buckets: a sequence of 12 steps is longer than the last bound, 9",
    ),
    # The modules for Flax.
    "flax-params": value(
        lambda: rj.linen.unpack(CELL, {"params": {"bias": 1, "kernel": 1, "w": 1}}),
        "unpack: params ['recurrent_kernel'] are missing and ['w'] have no place; ",
        "expected ['kernel', 'recurrent_kernel', 'bias'] of this cell. init makes them",
    ),
    "flax-params/apply": value(
        lambda: rj.linen.RNN(CELL).apply({"params": {}}, inputs()),
        "RNN: params ['kernel', 'recurrent_kernel', 'bias'] are missing",
    ),
    "flax-name": value(
        lambda: rj.linen.RNN(CELL, partition={"weight": nn.with_partitioning}).init(
            jax.random.key(0), inputs()
        ),
        "RNN: no parameter is called ['weight']; there are ",
        "['bias', 'kernel', 'recurrent_kernel']",
    ),
    "flax-name/nnx": value(
        lambda: rj.nnx.RNN(CELL, 2, metadata={"w": {}}, rngs=nnx.Rngs(0)),
        "RNN: no parameter is called ['w']",
    ),
    "flax-in-features": value(
        lambda: rj.linen.RNN(CELL).init(jax.random.key(0), (inputs(), inputs())),
        "RNN: xs holds 2 arrays, so the number of features is not known; ",
        "pass in_features=...",
    ),
    "flax-load": value(
        lambda: rj.nnx.load(rj.nnx.RNN(CELL, 3, rngs=nnx.Rngs(0)), init()),
        "load: params.kernel must be of shape (3, 16), got (2, 16)",
    ),
    "flax-carry-init": value(
        lambda: rj.nnx.RNNCell(CELL, 2, rngs=nnx.Rngs(0)).initialize_carry(
            (5, 2), carry_init=jnp.ones
        ),
        "RNNCell: a start is the cell's own, so carry_init has no effect; ",
        "pass initial_carry to nnx.RNN",
    ),
    "flax-cell": kind(
        lambda: rj.linen.FromFlax(CELL),
        "FromFlax: module must be a flax.linen.RNNCellBase such as ",
        "nn.LSTMCell(features=4), got LSTM(hidden_size=4)",
    ),
    "flax-image": value(
        lambda: rj.linen.FromFlax(nn.ConvLSTMCell(3, (3, 3))).initial_carry(),
        "FromFlax: ConvLSTMCell reads 3 axes of features; ",
        "pass their sizes as feature_shape=...",
    ),
    "flax-options": value(
        lambda: rj.nnx.from_flax(nnx.Linear(2, 2, rngs=nnx.Rngs(0))),
        "from_flax: there is no recurrent cell in the Linear",
        "pass a cell, an nnx.RNN, an nnx.Bidirectional, or a Sequential of these",
    ),
    "flax-options/differ": value(
        lambda: rj.nnx.from_flax(
            nnx.Sequential(
                *(
                    nnx.RNN(nnx.LSTMCell(2, 2, gate_fn=gate, rngs=nnx.Rngs(0)))
                    for gate in (nnx.sigmoid, nnx.hard_sigmoid)
                )
            )
        ),
        "from_flax: found 2 cells with 2 choices of (gate_fn, activation_fn, residual)",
        "there must be one. Convert layer by layer",
    ),
    "diagnose-no-step": value(
        lambda: diagnostics.gradient_by_lag(CELL, init(), inputs(0, 5, 2)),
        "gradient_by_lag: needs at least one step (xs float32[0,5,2]",
    ),
    "diagnose-one-lag": value(
        lambda: diagnostics.decades(jnp.zeros((1, 5))),
        "decades: curve must have at least 2 lags, got float32[1,5]",
    ),
    "diagnose-count": value(
        lambda: diagnostics.lyapunov_exponents(CELL, init(), inputs(), count=9),
        "lyapunov_exponents: count must be at most 8, the floats of a state, got 9",
    ),
    "diagnose-burn-in": value(
        lambda: diagnostics.lyapunov_exponents(CELL, init(), inputs(), burn_in=7),
        "lyapunov_exponents: burn_in must be below 7, ",
        "the number of steps, got 7",
    ),
    "diagnose-gates": kind(
        lambda: diagnostics.gates(rj.Elman(4), init(rj.Elman(4)), inputs()),
        "gates: Elman(hidden_size=4) has no field gate_activation, ",
        "so it has no gates to listen to; of a wrapper, ask the cell within",
    ),
    # Weights of other libraries.
    "convert-kind": kind(
        lambda: convert.from_torch([np.ones((16, 2))]),
        "from_torch: state_dict must be a dictionary of arrays, got list",
    ),
    "convert-missing": value(
        lambda: of_torch(bias_hh_l0=None),
        "from_torch: _l0: the dictionary has no ['bias_hh']",
    ),
    "convert-prefix": value(
        lambda: of_torch(attention=np.ones(3, "f")),
        "from_torch: 'attention' is no weight of a recurrent module",
        "of a larger model pass prefix=",
    ),
    "convert-layers": value(
        lambda: convert.from_linen({"dense": {"kernel": np.ones((2, 3), "f")}}),
        "from_linen: ['dense'] are the parts of no cell of Flax",
        "of a larger model pass a list of the recurrent layers",
    ),
    "convert-shape": value(
        lambda: of_torch(weight_hh_l0=np.ones((16, 5), "f")),
        "from_torch: _l0 weight_hh has 16 rows for a hidden size of 5",
    ),
    "convert-dtypes": kind(
        lambda: of_torch(bias_hh_l0=np.ones(16, "float16")),
        "from_torch: _l0: the weight bias_hh is float16 but weight_ih is float32",
        "nothing is cast silently",
    ),
    "convert-integers": kind(
        lambda: of_torch(weight_ih_l0=np.ones((16, 2), int)),
        "from_torch: the weight weight_ih_l0 must be floating point, got int64[16,2]",
    ),
    "convert-double": kind(
        lambda: of_torch(weight_ih_l0=np.ones((16, 2))),
        "from_torch: weight_ih_l0 is float64, which JAX cannot hold",
        "jax.config.update('jax_enable_x64', True), or cast it",
    ),
    "convert-none": kind(
        lambda: to_torch(rj.UGRNN(4), init(rj.UGRNN(4))),
        "to_torch: PyTorch has no UGRNN(hidden_size=4); of ours it has Elman, LSTM",
    ),
    "convert-lossy": value(
        lambda: to_torch(RESETS_FIRST, init(RESETS_FIRST)),
        "to_torch: PyTorch resets after the recurrent product",
        "nearest=True gives the nearest and says what is lost",
    ),
    "convert-params": kind(
        lambda: to_torch(CELL, init(rj.GRU(4))),
        "to_torch: params must be LSTMParams, got GRUParams",
    ),
    "convert-file": value(
        lambda: broken_file(convert.read_safetensors, "model.safetensors"),
        "model.safetensors' is truncated or not a safetensors file",
    ),
    "convert-file/onnx": value(
        lambda: broken_file(convert.from_onnx, "model.onnx"),
        "model.onnx' is truncated or not of ONNX",
    ),
    "convert-nonlinearity": value(
        lambda: convert.from_torch(
            {"weight_ih_l0": inputs(4, 2), "weight_hh_l0": inputs(4, 4)}
        ),
        "from_torch: _l0: these are weights of an nn.RNN",
        'nonlinearity="tanh" (the default of PyTorch) or nonlinearity="relu"',
    ),
    "summary-features": kind(
        lambda: diagnostics.summary(CELL),
        "summary: the sizes of LSTM(hidden_size=4) depend on its input",
        "pass in_features=...",
    ),
    "summary-features/arrays": kind(
        lambda: diagnostics.summary(init(), in_features=2), "leave in_features out"
    ),
    "law-name": value(
        lambda: check_cell(CELL, laws=["gravity"]),
        "check_cell: no law is called ['gravity']",
        "there are ['scan', 'project'",
    ),
}
DOCUMENT = pathlib.Path(__file__).parent.parent / "docs" / "errors.md"
ROW = re.compile(
    r"^\| `([a-z-]+)` \| (.+) \| (`+) ?(.+?) ?\3 \| (.+) \|$", re.MULTILINE
)


def message(case):
    # Under a trace, so that whatever is raised is raised before compilation.
    with pytest.raises(case.error) as caught:
        jax.eval_shape(case.mistake)
    return str(caught.value)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_the_message_says_what_is_wrong(case):
    text = message(case)
    for part in case.holds:
        assert part in text


def test_the_document_has_a_row_for_every_situation():
    rows = [row[0] for row in ROW.findall(DOCUMENT.read_text())]
    assert rows == list(dict.fromkeys(name.partition("/")[0] for name in CASES))


@pytest.mark.parametrize("row", ROW.findall(DOCUMENT.read_text()), ids=lambda r: r[0])
def test_the_document_quotes_the_real_message(row):
    name, _, _, quote, _ = row
    pattern = ".*".join(map(re.escape, quote.split("…")))
    assert re.fullmatch(pattern, message(CASES[name]), re.DOTALL)


def traced(options):
    params, xs = jax.eval_shape(lambda: (init(), inputs()))
    jitted = jax.jit(lambda p, x: rj.unroll(CELL, p, x, **options))
    return jax.eval_shape(jitted, params, xs)


@pytest.mark.parametrize("where", [np.array, jnp.array])
@pytest.mark.parametrize("worst", [8, -1])
def test_concrete_lengths_are_looked_into_under_jit(where, worst):
    lengths = where([1, 2, 3, 4, worst])
    with pytest.raises(ValueError, match=f"between 0 and time=7, got {worst} "):
        traced({"lengths": lengths})


@pytest.mark.parametrize(
    "options",
    [
        {"lengths": np.ones(TIME, int)},
        {"mask": np.ones((BATCH, TIME), bool)},
        {"carry": rj.LSTM.Carry(np.zeros((6, 4)), np.zeros((6, 4)))},
        {"time_axis": 3},
    ],
    ids=lambda options: next(iter(options)),
)
def test_errors_come_while_tracing_and_nothing_is_compiled(options):
    compiled = []

    def listen(event, duration, **_):
        if "compile" in event and "trace" not in event:
            compiled.append(event)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        with pytest.raises(ValueError, match=rf"^unroll: {next(iter(options))}"):
            traced(options)
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
    assert not compiled


def test_traced_lengths_are_not_looked_into():
    run_ = jax.jit(lambda n: run(lengths=n))
    jax.eval_shape(run_, jax.ShapeDtypeStruct((BATCH,), "int32"))


LENGTHS = [7, 3, 0, 1, 6]
FINE = {
    "lengths_list": {"lengths": LENGTHS},
    "lengths_tuple": {"lengths": tuple(LENGTHS)},
    **{
        f"lengths_{dtype}": {"lengths": np.array(LENGTHS, dtype)}
        for dtype in ("int8", "uint8", "int16", "uint32", "int64")
    },
    "lengths_jax_uint8": {"lengths": jnp.array(LENGTHS, "uint8")},
    "mask_list": {"mask": [[True] * BATCH] * TIME},
    "mask_and_resets": {"mask": flags(7, 5), "resets": jnp.ones((7, 5), bool)},
    "reset_carry": {"resets": flags(7, 5), "reset_carry": start()},
    "carry_of_numpy": {"carry": jax.tree.map(np.asarray, start())},
    "reverse_of_numpy": {"reverse": np.True_},
    "time_axis_of_numpy": {"time_axis": np.int32(0)},
    "time_axis_from_the_end": {"time_axis": -3},
    "inputs_of_numpy": {"xs": np.ones((TIME, BATCH, FEATURES), "float32")},
    "params_of_numpy": {"params": jax.tree.map(np.asarray, init())},
    "no_steps": {"xs": np.ones((0, BATCH, FEATURES), "float32")},
    "no_sequences": {"xs": np.ones((TIME, 0, FEATURES), "float32")},
    "one_sequence": {"xs": np.ones((TIME, FEATURES), "float32"), "lengths": 3},
    "hidden_size_of_numpy": {"cell": rj.LSTM(np.int64(4)), "params": init()},
}


@pytest.mark.parametrize("options", FINE.values(), ids=FINE.keys())
def test_what_is_unusual_but_fine_is_accepted(options):
    jax.eval_shape(lambda: run(**options))


def test_lengths_of_few_bits_count_beyond_what_they_hold():
    xs = jnp.ones((200, 1, FEATURES))
    for dtype in ("int8", "uint8"):
        _, ys = rj.unroll(CELL, init(), xs, lengths=np.array([127], dtype))
        assert int(jnp.sum(jnp.any(ys != 0, axis=-1))) == 127


def test_lengths_of_another_width_than_the_default(x64):
    lengths = jax.ShapeDtypeStruct((BATCH,), "int32")
    jax.eval_shape(lambda n: run(lengths=n), lengths)
    jax.eval_shape(lambda: CELL.init(jax.random.key(0), np.int32(2)))
