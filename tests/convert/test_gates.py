# SPDX-License-Identifier: Apache-2.0
"""The table of conventions: that of the docs is that of the code, and it is true."""

import pathlib

import equinox as eqx
import flax.linen as nn
import haiku as hk
import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest
from flax import nnx

from recurrent_jax.convert import _gates

DOCUMENT = pathlib.Path(__file__).parents[2] / "docs" / "conventions.md"
H = 24
X = jnp.ones((2, 5, 3))


def test_the_document_has_the_table():
    assert _gates.table() in DOCUMENT.read_text()


def test_every_row_has_our_gates():
    for row in _gates.CONVENTIONS:
        assert sorted(row.gates) == sorted(_gates.ORDERS[row.cell]), row
        assert set(row.negated) <= set(row.gates)


@pytest.mark.parametrize("row", _gates.CONVENTIONS, ids=lambda r: f"{r.peer}-{r.layer}")
def test_there_and_back_is_the_same(row):
    a = np.arange(2.0 * 12 * len(row.gates)).reshape(2, -1)
    np.testing.assert_array_equal(row.ours(row.theirs(a)), a)


def test_order_of_gates_by_hand():
    """One number for each gate, so that a table wrong both ways does not pass."""
    iofg = _gates.find("ONNX", "LSTM")
    assert iofg.ours(np.array([[1], [2], [3], [4]])).tolist() == [[1, 3, 4, 2]]
    zrn = _gates.find("Haiku", "GRU")
    assert zrn.ours(np.array([1.0, 2.0, 3.0])).tolist() == [2, -1, 3]
    igfo = _gates.find("Haiku", "LSTM")
    assert igfo.theirs(np.array([1, 2, 3, 4])).tolist() == [1, 3, 2, 4]


def keras_layer(kind):
    layer = getattr(keras.layers, kind)(H)
    layer.build(X.shape)
    return dict(zip(("kernel", "recurrent", "bias"), layer.get_weights(), strict=True))


def linen(cell):
    tree = nn.RNN(cell).init(jax.random.key(0), X)["params"]["cell"]
    kernels = {name: part["kernel"] for name, part in tree.items()}
    biases = {name: part["bias"] for name, part in tree.items() if "bias" in part}
    return kernels, biases


def is_orthogonal(a):
    return bool(jnp.allclose(a @ a.T, jnp.eye(len(a)), atol=1e-5))


@pytest.mark.slow
def test_keras_starts_as_the_table_says():
    lstm, gru = keras_layer("LSTM"), keras_layer("GRU")
    assert is_orthogonal(lstm["recurrent"]) and is_orthogonal(gru["recurrent"])
    bias = np.zeros((4, H))
    bias[1] = 1  # i, f, c, o: a forget bias, stored
    np.testing.assert_array_equal(lstm["bias"].reshape(4, H), bias)
    assert gru["bias"].shape == (2, 3 * H) and not gru["bias"].any()


def test_linen_starts_as_the_table_says():
    kernels, biases = linen(nn.LSTMCell(H))
    assert all(is_orthogonal(kernels[f"h{gate}"]) for gate in "ifgo")
    assert set(biases) == {"hi", "hf", "hg", "ho"}
    assert not any(b.any() for b in biases.values())
    _, biases = linen(nn.GRUCell(H))
    assert set(biases) == {"ir", "iz", "in", "hn"}
    _, biases = linen(nn.MGUCell(H))
    assert set(biases) == {"if", "in", "hn"}
    assert (biases["if"] == 1).all() and not biases["in"].any()


@pytest.mark.slow
def test_nnx_starts_as_the_table_says():
    cell = nnx.OptimizedLSTMCell(3, H, rngs=nnx.Rngs(0))
    assert is_orthogonal(cell.dense_h.kernel[...])
    assert cell.dense_i.bias is None or cell.dense_i.bias[...] is None
    cell = nnx.GRUCell(3, H, rngs=nnx.Rngs(0))
    assert is_orthogonal(cell.dense_h.kernel[...])
    assert "bias" not in nnx.to_pure_dict(nnx.state(cell, nnx.Param))["dense_h"]


@pytest.mark.parametrize("kind", ["LSTMCell", "GRUCell"])
def test_equinox_starts_as_the_table_says(kind):
    cell = getattr(eqx.nn, kind)(3, H, key=jax.random.key(0))
    bound = H**-0.5
    for a in jax.tree.leaves(eqx.filter(cell, eqx.is_array)):
        assert 0.8 * bound < jnp.abs(a).max() <= bound


@pytest.mark.slow
def test_haiku_starts_as_the_table_says():
    def lstm(x):
        core = hk.LSTM(H)
        return core(x, core.initial_state(2))

    weights = hk.transform(lstm).init(jax.random.key(0), X[:, 0])["lstm/linear"]
    assert weights["w"].shape == (3 + H, 4 * H) and not weights["b"].any()
    assert 0.7 < float(weights["w"].std()) * (3 + H) ** 0.5 < 1.1
