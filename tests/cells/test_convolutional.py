# SPDX-License-Identifier: Apache-2.0
"""ConvLSTM (Shi et al., 2015) and ConvGRU (Ballas et al., 2016), and their peers."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest
from cases import images
from jax import lax
from parity.common import Draw, assert_parity

import recurrent_jax as rj
from cells.common import compare, count, sigmoid
from recurrent_jax.initializers import glorot_uniform

F = 2


def convolution(x, kernel, stride=1, padding="SAME"):
    """Sum the window over every place, number by number."""
    window, spatial = kernel.shape[:-2], x.shape[:-1]
    if padding == "SAME":
        out = [-(-n // stride) for n in spatial]
        total = [
            max((o - 1) * stride + k - n, 0)
            for o, k, n in zip(out, window, spatial, strict=True)
        ]
        x = np.pad(x, [*((p // 2, p - p // 2) for p in total), (0, 0)])
    else:
        out = [-(-(n - k + 1) // stride) for n, k in zip(spatial, window, strict=True)]
    y = np.zeros((*out, kernel.shape[-1]))
    for at in np.ndindex(*out):
        places = tuple(
            slice(stride * i, stride * i + k) for i, k in zip(at, window, strict=True)
        )
        y[at] = np.tensordot(x[places], kernel, kernel.ndim - 1)
    return y


def conv_lstm(p, carry, x, **options):
    h, c = carry
    a = convolution(x, p.kernel, **options) + convolution(h, p.recurrent_kernel)
    i, f, g, o = np.split(a if p.bias is None else a + p.bias, 4, axis=-1)
    p_i, p_f, p_o = np.zeros((3, 1)) if p.peephole is None else p.peephole
    i, f = sigmoid(i + p_i * c), sigmoid(f + p_f * c)
    c = f * c + i * np.tanh(g)
    h = sigmoid(o + p_o * c) * np.tanh(c)
    return (h, c), h


def conv_gru(p, carry, x, **options):
    h = carry.h
    a = convolution(x, p.kernel, **options) + (0 if p.bias is None else p.bias)
    a_r, a_z, a_n = np.split(a, 3, axis=-1)
    U_r, U_z, U_n = np.split(p.recurrent_kernel, 3, axis=-1)
    r, z = sigmoid(a_r + convolution(h, U_r)), sigmoid(a_z + convolution(h, U_z))
    n = np.tanh(a_n + convolution(r * h, U_n))
    h = (1 - z) * n + z * h
    return (h,), h


@pytest.mark.slow
def test_conv_lstm():
    cell = rj.ConvLSTM(1, (2, 3), kernel_shape=(1, 3), peephole_init=glorot_uniform)
    compare(cell, conv_lstm, inputs=images(2, 3))


@pytest.mark.slow
@pytest.mark.parametrize("options", [{"stride": 2}, {"stride": 2, "padding": "VALID"}])
def test_conv_lstm_on_a_line_with_strides(options):
    cell = rj.ConvLSTM(
        1,
        (5,),
        strides=2,
        padding=options.get("padding", "SAME"),
        use_bias=False,
        use_peephole=False,
    )

    def step(p, carry, x):
        return conv_lstm(p, carry, x, **options)

    compare(cell, step, inputs=images(5))


@pytest.mark.mostly_slow
@pytest.mark.parametrize(
    "shape, options", [((4,), {}), ((1, 3, 2), {"use_bias": False})]
)
def test_conv_gru(shape, options):
    cell = rj.ConvGRU(F, shape, kernel_shape=2, **options)
    compare(cell, conv_gru, inputs=images(*shape))


SPATIAL = {1: (5,), 2: (5, 4), 3: (4, 3, 5)}
KERAS = {
    1: keras.layers.ConvLSTM1D,
    2: keras.layers.ConvLSTM2D,
    3: keras.layers.ConvLSTM3D,
}
TIME, BATCH, CHANNELS = 3, 2, 3


@pytest.mark.mostly_slow
@pytest.mark.parametrize(
    "axes, strides, padding", [(1, 2, "valid"), (2, 1, "same"), (3, 2, "same")]
)
def test_keras(axes, strides, padding):
    draw, shape = Draw("float32"), SPATIAL[axes]
    peer = getattr(keras.layers, f"ConvLSTM{axes}D")(
        F,
        3,
        strides=strides,
        padding=padding,
        return_sequences=True,
        return_state=True,
    )
    peer.build((BATCH, TIME, *shape, CHANNELS))
    weights = [draw(*v.shape) for v in peer.trainable_variables]
    cell = rj.ConvLSTM(
        F, shape, strides=strides, padding=padding.upper(), use_peephole=False
    )
    carry = [draw(*leaf.shape) for leaf in cell.initial_carry((BATCH,))]
    args = weights, draw(BATCH, TIME, *shape, CHANNELS), carry

    def ours(weights, xs, carry):
        params = rj.ConvLSTM.Params(*weights, None)
        carry, ys = rj.unroll(
            cell, params, xs, carry=rj.ConvLSTM.Carry(*carry), time_axis=1
        )
        return [*carry], ys

    def theirs(weights, xs, carry):
        rest = [v.value for v in peer.non_trainable_variables]
        (ys, h, c), _ = peer.stateless_call(weights, rest, xs, initial_state=carry)
        return [h, c], ys

    assert_parity(ours, theirs, args, draw)


@pytest.mark.mostly_slow
@pytest.mark.parametrize("axes", SPATIAL)
def test_flax(axes, x64):
    draw, shape = Draw("float64"), SPATIAL[axes]
    peer = nn.ConvLSTMCell(F, (3,) * axes, param_dtype="float64")
    cell = rj.ConvLSTM(F, shape, use_peephole=False)
    xs = draw(TIME, BATCH, *shape, CHANNELS)
    carry = [draw(BATCH, *shape, F) for _ in "ch"]
    weights = jax.eval_shape(peer.init, jax.random.key(0), carry, xs[0])["params"]

    def reorder(a):
        """From i, g, f, o."""
        i, g, f, o = jnp.split(a, 4, axis=-1)
        return jnp.concatenate([i, f, g, o], axis=-1)

    def ours(weights, xs, carry):
        bias = reorder(weights["ih"]["bias"] + weights["hh"]["bias"])
        params = rj.ConvLSTM.Params(
            reorder(weights["ih"]["kernel"]),
            reorder(weights["hh"]["kernel"]),
            bias.at[F : 2 * F].add(1),  # which Flax adds at each step
            None,
        )
        c, h = carry
        (h, c), ys = rj.unroll(cell, params, xs, carry=rj.ConvLSTM.Carry(h, c))
        return [c, h], ys

    def theirs(weights, xs, carry):
        def step(carry, x):
            return peer.apply({"params": weights}, carry, x)

        carry, ys = lax.scan(step, tuple(carry), xs)
        return [*carry], ys

    assert_parity(ours, theirs, (draw.like(weights), xs, carry), draw)


def test_number_of_parameters():
    window, state = 3 * 2, 4 * 3
    products = window * (CHANNELS + F) * F
    cell = rj.ConvLSTM(F, (4, 3), kernel_shape=(3, 2))
    assert count(cell, CHANNELS) == 4 * (products + F) + 3 * state * F
    cell = rj.ConvLSTM(F, (4, 3), (3, 2), use_peephole=False, use_bias=False)
    assert count(cell, CHANNELS) == 4 * products
    cell = rj.ConvGRU(F, (4, 3), kernel_shape=(3, 2))
    assert count(cell, CHANNELS) == 3 * (products + F)


BAD_FIELDS = {
    "size": ({"features": 0}, ValueError, "features must be at least 1, got 0"),
    "shape": (
        {"spatial_shape": 16},
        TypeError,
        "spatial_shape must be a",
    ),
    "axes": ({"spatial_shape": (2,) * 4}, TypeError, "spatial_shape must be a"),
    "window": (
        {"kernel_shape": (3,)},
        ValueError,
        "kernel_shape must have one",
    ),
    "strides": ({"strides": (1, 1, 1)}, ValueError, "strides must have one"),
    "padding": ({"padding": "same"}, ValueError, "padding must be one of"),
    "fit": (
        {"kernel_shape": (3, 9), "padding": "VALID"},
        ValueError,
        r"kernel_shape=\(3, 9\) does not fit into",
    ),
}


@pytest.mark.parametrize("cell_type", [rj.ConvLSTM, rj.ConvGRU])
@pytest.mark.parametrize("change, error, message", BAD_FIELDS.values(), ids=BAD_FIELDS)
def test_fields_that_do_not_fit_are_refused(cell_type, change, error, message):
    fields = {"features": F, "spatial_shape": (8, 8)} | change
    with pytest.raises(error, match=f"^{cell_type.__name__}: {message}"):
        cell_type(**fields)
