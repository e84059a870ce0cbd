# SPDX-License-Identifier: Apache-2.0
"""Haiku, Equinox and `jax.experimental.rnn`, live: what has several layers."""

import equinox as eqx
import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import rnn
from parity.common import Draw, swap, zero_beyond

import recurrent_jax as rj
from convert.common import drawn, run, same_bits
from recurrent_jax import convert

XS = Draw("float32")(5, 4, 3)


def test_haiku_deep():
    """Eleven cores, so that `lstm_10` must not come before `lstm_2`."""

    @hk.without_apply_rng
    @hk.transform
    def network(xs):
        core = hk.DeepRNN([hk.LSTM(4) for _ in range(11)])
        return hk.dynamic_unroll(core, xs, core.initial_state(4))[0]

    weights = Draw("float32").like(jax.eval_shape(network.init, jax.random.key(0), XS))
    deep, params = convert.from_haiku(weights)
    assert deep == rj.Deep((rj.LSTM(4),) * 11)
    want = network.apply(weights, XS)
    np.testing.assert_allclose(run(deep, params, XS), want, 1e-5, 1e-5)
    back = convert.to_haiku(deep, params)
    assert jax.tree.structure(back) == jax.tree.structure(weights)
    again = network.apply(back, XS)
    np.testing.assert_allclose(again, want, 1e-5, 1e-5)


def test_haiku_module_in_a_model_and_one_bias():
    @hk.transform
    def network(x):
        with hk.name_scope("model"):
            core = hk.VanillaRNN(4, double_bias=False)
            return core(x, core.initial_state(4))

    weights = jax.eval_shape(network.init, jax.random.key(0), XS[0])
    weights = Draw("float32").like(weights)
    cell, params = convert.from_haiku(weights)
    assert cell == rj.Elman(4, activation=jax.nn.relu)
    same_bits(params.bias, weights["model/vanilla_rnn/linear"]["b"])


def test_equinox_module_and_its_dictionary():
    module = eqx.nn.GRUCell(3, 4, key=jax.random.key(0))
    cell, params = convert.from_equinox(module)
    assert cell == rj.GRU(4)
    weights = convert.to_equinox(cell, params)
    for name, value in weights.items():
        same_bits(value, getattr(module, name))
    assert "bias" not in convert.to_equinox(
        rj.LSTM(4, use_bias=False), drawn(rj.LSTM(4, use_bias=False), 3)
    )


@pytest.mark.parametrize("bidirectional", [False, True])
def test_cudnn_layers_with_lengths(bidirectional):
    sizes = {
        "input_size": 3,
        "hidden_size": 4,
        "num_layers": 2,
        "bidirectional": bidirectional,
    }
    count = rnn.get_num_params_in_lstm(*sizes.values())
    weights, lengths = Draw("float32")(count), jnp.array([5, 2, 1, 4], "int32")
    network, params = convert.from_cudnn(weights, **sizes)
    start = jnp.zeros((2 * (1 + bidirectional), 4, 4))
    parts = rnn.unpack_lstm_weights(jnp.asarray(weights), *sizes.values())
    ys, _, _ = rnn.lstm_ref(
        swap(XS), start, start, *parts, lengths, 3, 4, 2, 0.0, bidirectional
    )
    got = run(network, params, XS, lengths=lengths)
    np.testing.assert_allclose(got, zero_beyond(swap(ys), lengths), 1e-5, 1e-5)
    # All of a bias stands in the first, so the sums alone are the same.
    again = rnn.unpack_lstm_weights(convert.to_cudnn(network, params), *sizes.values())
    for got_part, want_part in zip(again[:2], parts[:2], strict=True):
        for n in want_part:
            same_bits(got_part[n], want_part[n])
    for n in parts[2]:
        same_bits(again[2][n] + again[3][n], np.asarray(parts[2][n] + parts[3][n]))
