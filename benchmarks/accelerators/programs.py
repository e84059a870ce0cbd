# SPDX-License-Identifier: Apache-2.0
"""The programs that are compiled: every row of tests/cases.py in every exact way."""

import functools
import pathlib
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

import recurrent_jax as rj
from benchmarks import problems
from benchmarks.peers.ours import STRATEGIES, strategies
from benchmarks.problems import FORWARD
from recurrent_jax.testing._trees import floats, with_floats

sys.path.append(str(pathlib.Path(__file__).parents[2] / "tests"))
import cases  # noqa: E402

SIZE = 256  # of input and state of the cells whose operations are counted
SIZED = {f"{name}({SIZE})": name for name in ("elman", "gru", "lstm")}
FLAX = "linen.RNN", "nnx.RNN"
ROWS = (*SIZED, *FLAX, *cases.CELLS)
DEFAULT = "default"

# The ways to run a cell that give the same gradients. `Deferred` takes the steps
# itself, so it has no other method than `Sequential`.
WAYS: dict[str, dict[str, Any]] = {DEFAULT: {}, **strategies()} | {
    f"{type(method).__name__}, {type(strategy).__name__}": {
        "method": method,
        "backward": strategy,
    }
    for method in (rj.Chunked(), rj.Associative(), rj.Fused())
    for strategy in STRATEGIES
    if not getattr(strategy, "steps", True)
}


class Subject(NamedTuple):
    """What is run: a cell, or a module of Flax around one.

    Attributes:
        params: shapes and dtypes of its parameters.
        inputs: from `(time, batch)` to shapes and dtypes of inputs.
        run: a function of parameters, inputs, lengths and options, to the outputs.
        flops: from time and batch to the operations of its products, if counted.
    """

    params: Any
    inputs: Callable[[int, int], Any]
    run: Callable[..., Any]
    flops: Callable[[int, int, str], int] | None = None


def of_cell(cell: rj.Cell, features: int = 3, draw: Any = None) -> Subject:
    """Return a cell that is run by `unroll`."""

    def normal(key: jax.Array, lead: Any, dtype: Any) -> jax.Array:
        return jax.random.normal(key, (*lead, features), dtype)

    def inputs(time: int, batch: int) -> Any:
        drawn = functools.partial(draw or normal, lead=(time, batch), dtype=jnp.float32)
        return jax.eval_shape(drawn, jax.random.key(0))

    def run(params: Any, xs: Any, lengths: jax.Array, **options: Any) -> Any:
        return rj.unroll(cell, params, xs, lengths=lengths, **options)[1]

    init = functools.partial(cell.init, in_features=features, dtype=jnp.float32)
    return Subject(jax.eval_shape(init, jax.random.key(0)), inputs, run)


def subject(row: str) -> Subject:
    """Return what a row names."""
    if row in FLAX:
        return _of_flax(row)
    if row not in SIZED:
        return of_cell(cases.CELLS[row], draw=cases.INPUTS.get(row))
    cell = problems.CELLS[SIZED[row]](SIZE)
    found = of_cell(cell, SIZE)

    def flops(time: int, batch: int, direction: str) -> int:
        shape = problems.Shape(time, batch, SIZE, SIZE)
        problem = problems.Problem(cell, shape, found.params, None, None)
        return problem.flops(direction)

    return found._replace(flops=flops)


def _of_flax(row: str) -> Subject:
    """Return a module of Flax around an LSTM, with time first."""
    plain = of_cell(rj.LSTM(4))
    options: dict[str, Any] = {"time_axis": 0}

    if row == "linen.RNN":

        def linen(params: Any, xs: Any, lengths: Any, **way: Any) -> Any:
            layer = rj.linen.RNN(rj.LSTM(4), **options, **way)
            return layer.apply(params, xs, lengths=lengths)[1]

        layer = rj.linen.RNN(rj.LSTM(4), **options)
        params = jax.eval_shape(layer.init, jax.random.key(0), plain.inputs(2, 1))
        return plain._replace(params=params, run=linen)

    def build(**way: Any) -> nnx.Module:
        return rj.nnx.RNN(rj.LSTM(4), 3, rngs=nnx.Rngs(0), **options, **way)

    def run(params: Any, xs: Any, lengths: Any, **way: Any) -> Any:
        graph = nnx.split(nnx.eval_shape(functools.partial(build, **way)))[0]
        return nnx.merge(graph, params)(xs, lengths=lengths)[1]

    return plain._replace(params=nnx.split(nnx.eval_shape(build))[1], run=run)


def ways(row: str) -> list[str]:
    """Return the ways that a row can be run in: the methods that its cell allows."""
    return [way for way in WAYS if _allows(row, way)]


def _allows(row: str, way: str) -> bool:
    if "method" not in WAYS[way]:
        return True
    one = subject(row)
    lengths = jax.ShapeDtypeStruct((1,), jnp.int32)
    run = functools.partial(one.run, **WAYS[way])
    try:
        jax.eval_shape(run, one.params, one.inputs(2, 1), lengths)
    except TypeError:  # `unroll` refuses the method
        return False
    return True


def function(one: Subject, way: str, direction: str) -> Callable[..., Any]:
    """Return what is compiled: outputs, or gradients of parameters and inputs."""
    run = functools.partial(one.run, **WAYS[way])
    if direction == FORWARD:
        return run

    def gradient(params: Any, xs: Any, lengths: jax.Array) -> Any:
        def loss(given: Any) -> jax.Array:
            ys = run(*with_floats((params, xs), given), lengths)
            return sum(jnp.sum(jnp.square(y)) for y in floats(ys))

        return jax.grad(loss)(floats((params, xs)))

    return gradient
