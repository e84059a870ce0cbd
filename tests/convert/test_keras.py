# SPDX-License-Identifier: Apache-2.0
"""Keras, live: what has several arrays of weights, and training there and here."""

import jax
import jax.numpy as jnp
import keras
import numpy as np
import optax
import pytest

import recurrent_jax as rj
from convert.common import run, same_bits
from recurrent_jax.convert import from_keras, to_keras

RNG = np.random.default_rng(0)
XS = RNG.normal(size=(4, 5, 3)).astype("float32")  # batch first


def random_weights(layer):
    weights = [0.5 * RNG.normal(size=w.shape) for w in layer.get_weights()]
    layer.set_weights([w.astype("float32") for w in weights])
    return layer.get_weights()


@pytest.mark.parametrize("merge_mode", ["concat", "ave", "mul"])
def test_bidirectional(merge_mode):
    inner = keras.layers.GRU(4, return_sequences=True, recurrent_initializer="zeros")
    layer = keras.layers.Bidirectional(inner, merge_mode=merge_mode)
    layer.build(XS.shape)
    network, params = from_keras(random_weights(layer), merge_mode=merge_mode)
    got = run(network, params, XS, time_axis=1)
    np.testing.assert_allclose(got, layer(XS), 1e-5, 1e-5)


@pytest.mark.parametrize("padding", ["valid", "same"])
def test_convolutional(padding):
    shape = {"strides": (1, 2), "padding": padding}
    layer = keras.layers.ConvLSTM2D(2, (2, 3), return_sequences=True, **shape)
    images = RNG.normal(size=(2, 3, 5, 6, 2)).astype("float32")
    layer.build(images.shape)
    weights = random_weights(layer)
    cell, params = from_keras(weights, spatial_shape=(5, 6), **shape)
    got = run(cell, params, images, time_axis=1)
    np.testing.assert_allclose(got, layer(images), 1e-5, 1e-5)


@pytest.mark.slow
def test_trained_there_trained_here_and_returned():
    """A stack of GRUs, in both forms."""
    options = {"return_sequences": True, "recurrent_initializer": "zeros"}
    model = keras.Sequential(
        [
            keras.layers.GRU(4, **options),
            keras.layers.GRU(3, reset_after=False, **options),
        ]
    )
    model.build(XS.shape)
    random_weights(model)
    target = np.full((4, 5, 3), 0.3, "float32")
    model.compile(optimizer=keras.optimizers.Adam(0.01), loss="mse", jit_compile=False)
    with jax.numpy_dtype_promotion("standard"):
        model.fit(XS, target, epochs=3, verbose=0)

    network, params = from_keras([layer.get_weights() for layer in model.layers])
    assert network == rj.Deep((rj.GRU(4), rj.GRU(3, reset_after=False)))

    @jax.jit
    def train(params, state):
        def loss(params):
            ys = rj.unroll(network, params, XS, time_axis=1)[1]
            return jnp.mean((ys - target) ** 2), ys

        (value, ys), grads = jax.value_and_grad(loss, has_aux=True)(params)
        with jax.numpy_dtype_promotion("standard"):
            updates, state = optax.adam(0.01).update(grads, state)
        return optax.apply_updates(params, updates), state, value, ys

    state, values = optax.adam(0.01).init(params), []
    start = np.asarray(model(XS))
    for n in range(6):
        before = params
        params, state, value, ys = train(params, state)
        values.append(float(value))
        if n == 0:
            np.testing.assert_allclose(ys, start, 1e-5, 1e-5)
    assert values[-1] < 0.98 * values[0]

    for layer, weights in zip(model.layers, to_keras(network, before), strict=True):
        layer.set_weights(weights)
    np.testing.assert_allclose(ys, model(XS), 1e-5, 1e-5)
    again = from_keras([layer.get_weights() for layer in model.layers])
    same_bits(again[1], before)
