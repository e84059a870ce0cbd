# SPDX-License-Identifier: Apache-2.0
"""What bad input is told: every message, and that docs/errors.md has them all."""

import dataclasses
import functools
import pathlib
import re
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import recurrent_jax as rj
from recurrent_jax import initializers
from recurrent_jax.testing import check_cell
from recurrent_jax.training import clipping

TIME, BATCH, FEATURES = 7, 5, 2
CELL = rj.LSTM(4)
BIG = rj.LSTM(8)
AXES = "read as (time=7, batch=5, features=2); cell LSTM(hidden_size=4))"
STEP_AXES = "read as (batch=5, features=2); cell LSTM(hidden_size=4))"
SWAP = "Time was read as the first axis: if it is not, pass time_axis=1"
STATE = "LSTMCarry(h, c)"
WEIGHTS = "LSTMParams(kernel, recurrent_kernel, bias)"
START = "LSTM(hidden_size=4).initial_carry((5,)) makes one"


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


def override_step():
    class Overrides(rj.Elman):
        def step(self, params, carry, x):
            return carry, x


@dataclasses.dataclass(frozen=True)
class Empty(rj.Cell):
    def init(self, key, in_features, dtype=float):
        return ()

    def initial_carry(self, batch_shape=(), dtype=float):
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
        f"unroll: carry must be {STATE}, got GRUCarry(h)",
        START,
    ),
    "carry-kind/tuple": kind(lambda: run(carry=tuple(start())), "got tuple of 2"),
    "carry-kind/list": kind(lambda: run(carry=list(start())), "got list of 2"),
    "carry-kind/array": kind(lambda: run(carry=start().h), "got float32[5,4]"),
    "carry-kind/bool": kind(lambda: run(carry=False), "got bool[]"),
    "carry-kind/none": kind(
        lambda: run(carry=rj.LSTMCarry(start().h, None)), "got LSTMCarry(h, c=None)"
    ),
    "carry-kind/step": kind(
        lambda: CELL.step(init(), None, inputs(BATCH, FEATURES)),
        f"LSTM.step: carry must be {STATE}, got None",
        START,
    ),
    "carry-kind/swapped": kind(
        lambda: CELL.step(start(), init(), inputs(BATCH, FEATURES)),
        f"LSTM.step: carry must be {STATE}, got {WEIGHTS}",
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
        lambda: run(carry=rj.LSTMCarry(0.0, 0.0)), "got float32[]", "broadcast_to"
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
    "carry-dtype/int": kind(lambda: run(carry=start(dtype=int)), "carry.h is int32"),
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
        "LSTM: field 'forget_bias' holds a ndarray",
        "which does not hash, so jit could not tell one cell from another",
        "fields are numbers, strings, functions and tuples of them",
        "the parameters that init returns",
    ),
    "field-hash/list": kind(
        lambda: rj.LSTM(4, kernel_init=[initializers.zeros]), "holds a list"
    ),
    "field-function": kind(
        lambda: rj.LSTM(4, activation="tanh"),
        "LSTM: field 'activation' must be a function, got 'tanh'",
        "pass one such as jax.numpy.tanh",
    ),
    "field-function/none": kind(lambda: rj.GRU(4, activation=None), "GRU: field 'acti"),
    "field-function/tuple": kind(
        lambda: rj.LSTM(4, activation=(jnp.tanh,)), "field 'activation' must be a func"
    ),
    "field-function/init": kind(
        lambda: rj.LSTM(4, kernel_init=("zeros",) * 4), "field 'kernel_init' must be a"
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
        "preset: no preset is called 'tensorflow'",
        "there are 'torch', 'keras', 'flax' and 'haiku'",
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
        "clipping: max_norm must be positive and finite, got 0.0",
        "None switches it off",
    ),
    "clipping/value": value(
        lambda: clipping(max_value=-1), "clipping: max_value", "-1"
    ),
    "clipping/inf": value(lambda: clipping(float("inf")), "got inf"),
    "clipping/nan": value(lambda: clipping(1.0, float("nan")), "max_value", "got nan"),
    "backward-class": kind(
        lambda: run(backward=rj.Deferred),
        "unroll: backward is the class Deferred; build one first: rj.Deferred(...)",
    ),
    "backward-kind": kind(
        lambda: run(backward="deferred"),
        "unroll: backward must be a strategy such as rj.Autodiff() or rj.Deferred()",
        "got 'deferred'",
    ),
    "truncated": value(
        lambda: rj.Truncated(k1=4, k2=3),
        "Truncated: k2=3 is less than k1=4",
        "give k2 >= k1",
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
        {"carry": rj.LSTMCarry(np.zeros((6, 4)), np.zeros((6, 4)))},
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
