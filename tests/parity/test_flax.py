# SPDX-License-Identifier: Apache-2.0
"""Flax: the cells of `linen` and `nnx`, each in its own `RNN`."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given
from hypothesis import strategies as st

import recurrent_jax as rj
from parity.common import (
    LENGTHS,
    SIZES,
    Draw,
    assert_parity,
    few,
    sizes_and_lengths,
    swap,
    zero_beyond,
)
from recurrent_jax.convert import from_linen, from_nnx

# Both spell the state of an LSTM (c, h), and that of the others as a bare array.


def elman_carry(h):
    return rj.Elman.Carry(h)


def lstm_carry(carry):
    c, h = carry
    return rj.LSTM.Carry(h=h, c=c)


def gru_carry(h):
    return rj.GRU.Carry(h)


LINEN = {
    "SimpleCell": (from_linen, elman_carry),
    "LSTMCell": (from_linen, lstm_carry),
    "OptimizedLSTMCell": (from_linen, lstm_carry),
    "GRUCell": (from_linen, gru_carry),
}
NNX = {
    "SimpleCell": (from_nnx, elman_carry),
    "LSTMCell": (from_nnx, lstm_carry),
    "OptimizedLSTMCell": (from_nnx, lstm_carry),
    "GRUCell": (from_nnx, gru_carry),
}
VARIANTS = {
    "plain": {},
    "lengths": {"lengths": LENGTHS},
    "reverse": {"reverse": True, "time_major": True},
    "reverse_lengths": {"reverse": True, "lengths": LENGTHS},
}


def linen(kind, sizes, dtype, **settings):
    """Return the shapes of the weights, and a function that runs them."""
    cell = getattr(nn, kind)(sizes.hidden, dtype=dtype, param_dtype=dtype)
    module = nn.RNN(cell, return_carry=True, keep_order=True, **settings)

    def run(weights, xs, carry, lengths):
        variables = {"params": {"cell": weights}}
        return module.apply(variables, xs, initial_carry=carry, seq_lengths=lengths)

    xs = jnp.zeros((sizes.time, sizes.batch, sizes.features), dtype)
    shapes = jax.eval_shape(module.init, jax.random.key(0), xs)
    return shapes["params"]["cell"], run


def nnx_(kind, sizes, dtype, **settings):
    """Do the same for the modules of NNX."""
    cell = getattr(nnx, kind)(
        sizes.features,
        sizes.hidden,
        dtype=dtype,
        param_dtype=dtype,
        recurrent_kernel_init=nnx.initializers.zeros,  # overwritten, and quicker
        rngs=nnx.Rngs(0),
    )
    graph, state, rest = nnx.split(cell, nnx.Param, ...)

    def run(weights, xs, carry, lengths):
        params = jax.tree.unflatten(jax.tree.structure(state), jax.tree.leaves(weights))
        cell = nnx.merge(graph, params, rest)
        module = nnx.RNN(
            cell, return_carry=True, keep_order=True, rngs=nnx.Rngs(0), **settings
        )
        return module(xs, initial_carry=carry, seq_lengths=lengths)

    return nnx.to_pure_dict(state), run


def check(
    make,
    convert,
    carry_from,
    kind,
    dtype,
    sizes=SIZES,
    lengths=None,
    reverse=False,
    time_major=False,
):
    shapes, run = make(kind, sizes, dtype, reverse=reverse, time_major=time_major)
    draw = Draw(dtype)
    weights, xs = draw.like(shapes), draw(*sizes.xs)
    if not time_major:
        xs = np.swapaxes(xs, 0, 1)
    cell, _ = convert(weights)
    parts = [draw(*sizes.h) for _ in cell.initial_carry()]
    carry = tuple(parts) if len(parts) > 1 else parts[0]

    def ours(weights, xs, carry):
        return rj.unroll(
            cell,
            convert(weights)[1],
            xs,
            carry=carry_from(carry),
            lengths=lengths,
            reverse=reverse,
            time_axis=0 if time_major else 1,
        )

    def theirs(weights, xs, carry):
        carry, ys = run(weights, xs, carry, lengths)
        if lengths is not None:
            ys = swap(zero_beyond(swap(ys), lengths))
        return carry_from(carry), ys

    assert_parity(ours, theirs, (weights, xs, carry), draw)


@pytest.mark.mostly_slow
@pytest.mark.parametrize("kind", LINEN)
@pytest.mark.parametrize("variant", VARIANTS)
def test_linen(kind, variant, dtype):
    check(linen, *LINEN[kind], kind, dtype, **VARIANTS[variant])


@pytest.mark.mostly_slow
@pytest.mark.parametrize("kind", NNX)
@pytest.mark.parametrize("variant", ["plain", "reverse_lengths"])
def test_nnx(kind, variant, dtype):
    check(nnx_, *NNX[kind], kind, dtype, **VARIANTS[variant])


@pytest.mark.slow
@few
@given(
    drawn=sizes_and_lengths(),
    kind=st.sampled_from(["SimpleCell", "OptimizedLSTMCell", "GRUCell"]),
    reverse=st.booleans(),
)
def test_any_size(drawn, kind, reverse):
    sizes, lengths = drawn
    with jax.enable_x64(True):
        check(linen, *LINEN[kind], kind, "float64", sizes, lengths, reverse)
