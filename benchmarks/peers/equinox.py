# SPDX-License-Identifier: Apache-2.0
"""Equinox: cells for one sequence, `vmap` over the batch, in a `lax.scan`."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

import recurrent_jax as rj
from benchmarks.contenders import Contender
from benchmarks.problems import Shape


def contend(cell: rj.Cell, shape: Shape) -> dict[str, Contender]:
    """Return the LSTM or the GRU."""
    key = jax.random.key(0)
    match cell:
        case rj.LSTM():
            module = eqx.nn.LSTMCell(shape.D, shape.H, key=key)
            start, output = (jnp.zeros((shape.B, shape.H)),) * 2, lambda state: state[0]
        case rj.GRU(reset_after=True):
            module = eqx.nn.GRUCell(shape.D, shape.H, key=key)
            start, output = jnp.zeros((shape.B, shape.H)), lambda state: state
        case _:
            return {}

    def run(module: Any, xs: jax.Array) -> jax.Array:
        def step(state: Any, x: jax.Array) -> Any:
            state = jax.vmap(module)(x, state)
            return state, output(state)

        return jax.lax.scan(step, start, xs)[1]

    def copy(params: Any) -> Any:
        W, U = params.kernel.T, params.recurrent_kernel.T
        return eqx.tree_at(_weights, module, (W, U, *params[2:]))

    return {f"equinox {type(module).__name__}": Contender(run=run, copy=copy)}


def _weights(module: Any) -> tuple:
    """Return the weights of a cell in the order of our fields."""
    extra = (module.bias_n,) if isinstance(module, eqx.nn.GRUCell) else ()
    return (module.weight_ih, module.weight_hh, module.bias, *extra)
