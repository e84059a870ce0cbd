# SPDX-License-Identifier: Apache-2.0
"""The programs that the laws run. Each is compiled once per cell for all laws."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from recurrent_jax._core.cell import Cell
from recurrent_jax._loop.unroll import unroll
from recurrent_jax.backward import Backward
from recurrent_jax.methods import Method
from recurrent_jax.testing._trees import at, floats, stack, waves, weigh, with_floats


class How(NamedTuple):
    """How `unroll` runs a cell: its arguments of the same names."""

    method: Method
    backward: Backward


@functools.lru_cache(maxsize=32)
def step(cell: Cell) -> Callable[..., Any]:
    """Return the compiled `cell.step`."""
    return jax.jit(cell.step)


@functools.lru_cache(maxsize=32)
def gradients(cell: Cell, how: How) -> Callable[..., Any]:
    """Return `run((params, carry, xs), options) -> (values, gradients)`."""

    def score(arguments: Any, options: dict[str, Any]) -> Any:
        params, carry, xs = arguments
        out = unroll(cell, params, xs, carry=carry, **how._asdict(), **options)
        return weigh(out), out

    @jax.jit
    def run(arguments: Any, options: dict[str, Any]) -> Any:
        both = jax.value_and_grad(score, has_aux=True, allow_int=True)
        (_, out), gradient = both(arguments, options)
        return out, with_floats(arguments, floats(gradient))

    return run


@functools.lru_cache(maxsize=32)
def derivatives(cell: Cell, how: How) -> Callable[..., Any]:
    """Return `run((params, carry, xs), direction) -> (score, gradient, values, bend)`.

    The values are what `unroll` returns, and the score is a linear function of them.
    The bend is the derivative of the gradient along `direction`, computed by forward
    mode over reverse mode.
    """

    @jax.jit
    def run(arguments: Any, direction: Any) -> Any:
        def score(given: Any) -> Any:
            params, carry, xs = with_floats(arguments, given)
            out = unroll(cell, params, xs, carry=carry, **how._asdict())
            return weigh(out), out

        both = jax.value_and_grad(score, has_aux=True)
        values, tangents = jax.jvp(both, (floats(arguments),), (direction,))
        (value, out), gradient = values
        return value, gradient, out, tangents[1]

    return run


@functools.lru_cache(maxsize=32)
def _pull(cell: Cell) -> Callable[..., Any]:
    """Return the map from cotangents after a step to cotangents before it."""

    @jax.jit
    def pull(arguments: Any, cotangents: Any) -> Any:
        def run(given: Any) -> Any:
            return floats(cell.step(*with_floats(arguments, given)))

        (back,) = jax.vjp(run, floats(arguments))[1](cotangents)
        return tuple(map(floats, with_floats(arguments, back)))

    return pull


def back_propagate(cell: Cell, params: Any, carry: Any, xs: Any) -> Any:
    """Return the gradients of a Python loop over `step`, computed step by step."""
    times = range(jax.tree.leaves(xs)[0].shape[0])
    before: list[Any] = [carry]
    ys: list[Any] = []
    for t in times:
        after, y = step(cell)(params, before[-1], at(xs, t))
        before.append(after)
        ys.append(y)
    d_carry, d_ys = map(floats, waves((before.pop(), stack(ys))))
    d_params = [np.zeros_like(p) for p in floats(params)]
    d_xs: list[Any] = []
    for t in reversed(times):
        cotangents = [*d_carry, *at(d_ys, t)]
        more, d_carry, d_x = _pull(cell)((params, before[t], at(xs, t)), cotangents)
        d_params = [a + np.asarray(b) for a, b in zip(d_params, more, strict=True)]
        d_xs.insert(0, d_x)
    given = [*d_params, *d_carry, *stack(d_xs)]
    return jax.device_get(with_floats((params, carry, xs), given))
