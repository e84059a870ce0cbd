# SPDX-License-Identifier: Apache-2.0
"""There and back is identity, bit for bit, for every library and whatever it has."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import recurrent_jax as rj
from convert.common import drawn, plain, same_bits
from recurrent_jax import convert

RELU = {"activation": jax.nn.relu}


def both(cell, merge="concatenate"):
    return rj.Bidirectional(cell, merge=merge)


def cudnn(network, params):
    """Flat weights do not know their sizes."""
    first = network.layers[0] if isinstance(network, rj.Deep) else network
    forward = first.forward if isinstance(first, rj.Bidirectional) else first
    kernel = jax.tree.leaves(params)[0]
    sizes = {
        "input_size": kernel.shape[0],
        "hidden_size": forward.hidden_size,
        "num_layers": len(network.layers) if isinstance(network, rj.Deep) else 1,
        "bidirectional": isinstance(first, rj.Bidirectional),
    }
    return convert.from_cudnn(convert.to_cudnn(network, params), **sizes)


def via(to, back, **settings):
    def there_and_back(network, params):
        return back(to(network, params), **settings)

    return there_and_back


torch = via(convert.to_torch, convert.from_torch)
keras = via(convert.to_keras, convert.from_keras)
linen = via(convert.to_linen, convert.from_linen)
nnx = via(convert.to_nnx, convert.from_nnx)
optimized = via(functools.partial(convert.to_nnx, optimized=True), convert.from_nnx)
haiku = via(convert.to_haiku, convert.from_haiku)
equinox = via(convert.to_equinox, convert.from_equinox)

MGU = {"gate_keeps_old": True, "reset_after": True}
# By library: the way there and back, and makers of what it has, by hidden size.
CASES = {
    "torch_rnn": (
        via(convert.to_torch, convert.from_torch, nonlinearity="tanh"),
        lambda H: rj.Elman(H),
    ),
    "torch_rnn_relu": (
        via(convert.to_torch, convert.from_torch, nonlinearity="relu"),
        lambda H: both(rj.Elman(H, **RELU)),
    ),
    "torch_lstm": (torch, lambda H: rj.LSTM(H)),
    "torch_lstm_no_bias": (torch, lambda H: rj.LSTM(H, use_bias=False)),
    "torch_lstm_projected": (torch, lambda H: both(rj.ProjectedLSTM(H + 1, H))),
    "torch_gru": (torch, lambda H: rj.GRU(H)),
    "torch_gru_deep": (
        via(convert.to_torch, convert.from_torch, dropout=0.1),
        lambda H: rj.Deep((both(rj.GRU(H)), both(rj.GRU(H))), dropout=0.1),
    ),
    "cudnn": (cudnn, lambda H: rj.LSTM(H)),
    "cudnn_deep": (cudnn, lambda H: rj.Deep((both(rj.LSTM(H)), both(rj.LSTM(H))))),
    "keras_rnn": (keras, lambda H: rj.Elman(H)),
    "keras_lstm": (keras, lambda H: rj.LSTM(H)),
    "keras_lstm_no_bias": (keras, lambda H: both(rj.LSTM(H, use_bias=False))),
    "keras_gru": (keras, lambda H: rj.GRU(H)),
    "keras_gru_no_bias": (keras, lambda H: rj.GRU(H, use_bias=False)),
    "keras_gru_before": (
        via(convert.to_keras, convert.from_keras, reset_after=False),
        lambda H: rj.GRU(H, reset_after=False),
    ),
    "keras_gru_mean": (
        via(convert.to_keras, convert.from_keras, merge_mode="ave"),
        lambda H: both(rj.GRU(H), merge="mean"),
    ),
    "keras_activations": (
        via(
            convert.to_keras,
            convert.from_keras,
            activation="softsign",
            recurrent_activation="hard_sigmoid",
        ),
        lambda H: rj.GRU(
            H, activation=jax.nn.soft_sign, gate_activation=jax.nn.hard_sigmoid
        ),
    ),
    "keras_conv": (
        via(convert.to_keras, convert.from_keras, spatial_shape=(5, 6), strides=2),
        lambda H: rj.ConvLSTM(
            H, (5, 6), (2, 3), strides=2, padding="VALID", use_peephole=False
        ),
    ),
    "keras_deep": (
        keras,
        lambda H: rj.Deep((both(rj.GRU(H)), rj.LSTM(2), rj.Elman(H))),
    ),
    "linen_simple": (linen, lambda H: rj.Elman(H)),
    "linen_residual": (
        via(convert.to_linen, convert.from_linen, residual=True),
        lambda H: rj.ResidualElman(H, activation=jnp.tanh),
    ),
    "linen_lstm": (linen, lambda H: rj.LSTM(H)),
    "linen_gru": (linen, lambda H: rj.GRU(H)),
    "linen_mgu": (linen, lambda H: rj.MGU(H, **MGU)),
    "linen_mgu_no_reset": (linen, lambda H: rj.UGRNN(H)),
    "linen_activations": (
        via(
            convert.to_linen,
            convert.from_linen,
            gate_fn=jax.nn.hard_sigmoid,
            activation_fn=jax.nn.relu,
        ),
        lambda H: rj.LSTM(
            H,
            activation=jax.nn.relu,
            output_activation=jax.nn.relu,
            gate_activation=jax.nn.hard_sigmoid,
        ),
    ),
    "linen_deep": (
        linen,
        lambda H: rj.Deep((both(rj.GRU(H)), rj.LSTM(2), both(rj.MGU(H, **MGU)))),
    ),
    "nnx_simple": (nnx, lambda H: rj.Elman(H)),
    "nnx_residual": (
        via(convert.to_nnx, convert.from_nnx, residual=True),
        lambda H: rj.ResidualElman(H, activation=jnp.tanh),
    ),
    "nnx_lstm": (nnx, lambda H: rj.LSTM(H)),
    "nnx_optimized_lstm": (optimized, lambda H: rj.LSTM(H)),
    "nnx_deep": (
        optimized,
        lambda H: rj.Deep((both(rj.LSTM(H)), rj.Elman(2), rj.LSTM(H))),
    ),
    "haiku_rnn": (haiku, lambda H: rj.Elman(H, **RELU)),
    "haiku_gru": (haiku, lambda H: rj.GRU(H, reset_after=False)),
    "haiku_deep": (haiku, lambda H: rj.Deep((rj.GRU(H, reset_after=False),) * 11)),
    "equinox_lstm": (equinox, lambda H: rj.LSTM(H)),
    "equinox_gru": (equinox, lambda H: rj.GRU(H)),
    "equinox_deep": (
        equinox,
        lambda H: rj.Deep((rj.GRU(H, use_bias=False), rj.LSTM(2))),
    ),
}
# A forget bias that the peer adds must be a number that can be taken apart again.
FORGET = {
    "haiku_lstm": (haiku, lambda H: rj.LSTM(H)),
    "linen_conv": (
        via(convert.to_linen, convert.from_linen, spatial_shape=(5, 6)),
        lambda H: rj.ConvLSTM(H, (5, 6), (2, 3), use_peephole=False),
    ),
}
few = settings(max_examples=5, deadline=None)


@pytest.mark.mostly_slow
@pytest.mark.parametrize("case", CASES)
@few
@given(hidden=st.integers(1, 5), features=st.integers(1, 4), seed=st.integers(0, 99))
def test_identity(case, hidden, features, seed):
    there_and_back, make = CASES[case]
    network = make(hidden)
    params = drawn(network, features, seed=seed)
    again, params_again = there_and_back(network, params)
    assert plain(again) == plain(network)
    same_bits(params_again, params)


@pytest.mark.parametrize("case", FORGET)
def test_identity_where_a_forget_bias_is_added(case):
    there_and_back, make = FORGET[case]
    network = make(3)
    params = drawn(network, 2)
    bias = jnp.asarray(np.where(np.arange(12) // 3 == 1, 1.25, params.bias), "float32")
    params = params._replace(bias=bias)
    again, params_again = there_and_back(network, params)
    assert plain(again) == plain(network)
    same_bits(params_again, params)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
@pytest.mark.parametrize("case", ["torch_gru", "keras_gru", "linen_gru", "equinox_gru"])
def test_identity_in_every_dtype(case, dtype, x64):
    there_and_back, make = CASES[case]
    params = drawn(make(3), 2, dtype)
    same_bits(there_and_back(make(3), params)[1], params)


def test_what_is_added_up_acts_the_same():
    """Two biases of PyTorch that are not zero come back as one."""
    rng = np.random.default_rng(0)
    shapes = {"weight_ih": (8, 2), "weight_hh": (8, 2), "bias_ih": 8, "bias_hh": 8}
    weights = {name: rng.normal(size=shape) for name, shape in shapes.items()}
    weights = {name: w.astype("float32") for name, w in weights.items()}
    again = convert.to_torch(*convert.from_torch(weights, nonlinearity="tanh"))
    for name in ("weight_ih", "weight_hh"):
        same_bits(again[f"{name}_l0"], weights[name])
    total = again["bias_ih_l0"] + again["bias_hh_l0"]
    same_bits(total, weights["bias_ih"] + weights["bias_hh"])


def test_from_one_library_to_another_and_back():
    """Keras to PyTorch to Equinox to Linen, by way of ours."""
    cell, params = rj.GRU(4), drawn(rj.GRU(4), 3)
    again = convert.from_keras(convert.to_keras(cell, params))
    again = convert.from_torch(convert.to_torch(*again))
    again = convert.from_equinox(convert.to_equinox(*again))
    again = convert.from_linen(convert.to_linen(*again))
    assert again[0] == cell
    same_bits(again[1], params)
