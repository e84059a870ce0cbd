# SPDX-License-Identifier: Apache-2.0
"""What cannot be converted is refused, or the nearest comes with a warning."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import recurrent_jax as rj
from convert.common import drawn, same_bits
from recurrent_jax import convert

H, D = 4, 3


def ones(*shape):
    return np.ones(shape, "float32")


BEFORE = rj.GRU(H, reset_after=False)
ODD = rj.LSTM(H, output_activation=jax.nn.identity)
# Who cannot compute what, and how the refusal says so.
LOSSY = {
    "torch_before": (convert.to_torch, BEFORE, "resets after the recurrent product"),
    "torch_activation": (convert.to_torch, ODD, "output_activation by jax.numpy.tanh"),
    "torch_sine": (
        convert.to_torch,
        rj.Elman(H, activation=jnp.sin),
        "but Elman(hidden_size=4, activation=jax.numpy.sin) by jax.numpy.sin",
    ),
    "torch_clip": (
        convert.to_torch,
        rj.ProjectedLSTM(H, 2, cell_clip=1.0),
        "no cell_clip",
    ),
    "cudnn_bias": (
        convert.to_cudnn,
        rj.LSTM(H, use_bias=False),
        "it gains one of zeros",
    ),
    "equinox_before": (convert.to_equinox, BEFORE, "resets after"),
    "keras_activation": (convert.to_keras, ODD, "so outputs will differ"),
    "keras_peephole": (
        convert.to_keras,
        rj.ConvLSTM(2, (4,)),
        "Keras has no peepholes",
    ),
    "linen_bias": (convert.to_linen, rj.Elman(H, use_bias=False), "without bias"),
    "linen_before": (convert.to_linen, BEFORE, "resets after"),
    "linen_mgu": (
        convert.to_linen,
        rj.MGU(H, reset_after=True),
        "Flax's MGU keeps the old state",
    ),
    "nnx_bias": (convert.to_nnx, rj.GRU(H), "no second bias of the candidate"),
    "haiku_after": (convert.to_haiku, rj.GRU(H), "resets before the recurrent prod"),
    "haiku_tanh": (convert.to_haiku, rj.Elman(H), "computes activation by jax.nn.relu"),
    "haiku_forget": (convert.to_haiku, rj.LSTM(H), "taking it off first rounds by up"),
}


@pytest.mark.parametrize("case", LOSSY)
def test_what_is_not_exact_is_refused_or_warned_of(case):
    to, cell, match = LOSSY[case]
    params = drawn(cell, D)
    with pytest.raises(ValueError) as caught:
        to(cell, params)
    assert match in str(caught.value) and "nearest=True" in str(caught.value)
    with pytest.warns(convert.LossyConversionWarning) as warned:
        to(cell, params, nearest=True)
    assert any(match in str(w.message) for w in warned)


def test_the_nearest_of_a_forget_bias_is_near():
    cell, params = rj.LSTM(H), drawn(rj.LSTM(H), D)
    with pytest.warns(convert.LossyConversionWarning):
        weights = convert.to_haiku(cell, params, nearest=True)
    again = convert.from_haiku(weights)[1]
    np.testing.assert_allclose(again.bias, params.bias, atol=1e-7)
    same_bits(again.kernel, params.kernel)


def test_the_nearest_of_a_second_bias_is_without():
    cell, params = rj.GRU(H), drawn(rj.GRU(H), D)
    with pytest.warns(convert.LossyConversionWarning):
        weights = convert.to_nnx(cell, params, nearest=True)
    again = convert.from_nnx(weights)[1]
    same_bits(again[:3], params[:3])
    assert not again.recurrent_bias.any()


class Foreign(rj.Elman):
    """A cell of a user's."""


STACK = rj.Deep((rj.GRU(H), rj.LSTM(H)))
# What the other library has nothing like.
NONE = {
    "torch": (convert.to_torch, rj.MGU(H), "PyTorch has no MGU(hidden_size=4)"),
    "torch_user": (convert.to_torch, Foreign(H), "PyTorch has no Foreign"),
    "torch_mixed": (convert.to_torch, STACK, "are all alike, got [GRU"),
    "torch_merge": (
        convert.to_torch,
        rj.Bidirectional(rj.GRU(H), merge="sum"),
        "must merge by one of ['concatenate']",
    ),
    "torch_skip": (convert.to_torch, rj.Deep((rj.GRU(H),), skip=True), "write skip"),
    "cudnn": (convert.to_cudnn, rj.GRU(H), "jax.experimental.rnn has no GRU"),
    "equinox": (convert.to_equinox, rj.Elman(H), "Equinox has no Elman"),
    "equinox_both": (
        convert.to_equinox,
        rj.Bidirectional(rj.GRU(H)),
        "Equinox has nothing like Bidirectional",
    ),
    "keras": (convert.to_keras, rj.PeepholeLSTM(H), "Keras has no PeepholeLSTM"),
    "linen": (convert.to_linen, rj.ProjectedLSTM(H), "flax.linen has no ProjectedLSTM"),
    "linen_conv": (
        convert.to_linen,
        rj.ConvLSTM(2, (4,), padding="VALID", use_peephole=False),
        "only with the default padding",
    ),
    "nnx": (convert.to_nnx, rj.UGRNN(H), "flax.nnx has no UGRNN"),
    "haiku": (convert.to_haiku, rj.CIFG(H), "Haiku has no CIFG"),
    "haiku_mixed": (convert.to_haiku, STACK, "gives no order to cores of several"),
}


@pytest.mark.parametrize("case", NONE)
def test_what_the_other_has_not_is_refused(case):
    to, network, match = NONE[case]
    with pytest.raises((ValueError, TypeError)) as caught:
        to(network, drawn(network, D))
    assert match in str(caught.value)


PARAMS = rj.LSTM.Params(ones(D, 16), ones(H, 16), ones(16))
SWAPPED = {
    "arguments": (PARAMS, rj.LSTM(H), "the order is (cell, params)"),
    "class": (rj.LSTM, PARAMS, "build one first"),
    "another_cell": (rj.GRU(H), PARAMS, "params must be GRUParams, got LSTMParams"),
    "another_size": (rj.LSTM(5), PARAMS, "params.kernel must be of shape (3, 20)"),
    "network": (STACK, PARAMS, "params must be a tuple of 2"),
}


@pytest.mark.parametrize("case", SWAPPED)
def test_cell_and_parameters_must_fit(case):
    network, params, match = SWAPPED[case]
    with pytest.raises((ValueError, TypeError)) as caught:
        convert.to_torch(network, params)
    assert match in str(caught.value)


TORCH = {"weight_ih_l0": ones(16, D), "weight_hh_l0": ones(16, H)}
BIASES = {"bias_ih_l0": ones(16), "bias_hh_l0": ones(16)}
KERAS = [ones(D, 16), ones(H, 16), ones(16)]
LINEN = {
    **{f"i{gate}": {"kernel": ones(D, H)} for gate in "ifgo"},
    **{f"h{gate}": {"kernel": ones(H, H), "bias": ones(H)} for gate in "ifgo"},
}
NNX = {
    "dense_i": {"kernel": ones(D, 16)},
    "dense_h": {"kernel": ones(H, 16), "bias": ones(16)},
}
HAIKU = {"lstm/linear": {"w": ones(D + H, 16), "b": ones(16)}}
EQUINOX = {"weight_ih": ones(16, D), "weight_hh": ones(16, H), "bias": ones(16)}
SIZES = {"input_size": D, "hidden_size": H}


def second(layer, features):
    return {f"weight_ih{layer}": ones(16, features), f"weight_hh{layer}": ones(16, H)}


# Files from strangers, as dictionaries: what is wrong, and how the message says so.
WRONG = {
    "torch_unknown": (convert.from_torch, TORCH | {"fc.weight": ones(1)}, "prefix="),
    "torch_none": (convert.from_torch, {}, "no name starts with ''"),
    "torch_list": (convert.from_torch, [1], "must be a dictionary of arrays, got list"),
    "torch_missing": (
        convert.from_torch,
        {"weight_ih_l0": ones(16, D)},
        "has no ['weight_hh']",
    ),
    "torch_one_bias": (
        convert.from_torch,
        TORCH | {"bias_ih_l0": ones(16)},
        "has no ['bias_hh']",
    ),
    "torch_no_layer": (
        convert.from_torch,
        TORCH | second("_l2", H),
        "there is no weight_ih_l1",
    ),
    "torch_many_layers": (
        convert.from_torch,
        TORCH | second("_l99999", H),
        "is no weight of a recurrent module",
    ),
    "torch_no_reverse": (
        convert.from_torch,
        TORCH | second("_l0_reverse", D) | second("_l1", 2 * H),
        "there is no weight_ih_l1_reverse",
    ),
    "torch_between": (
        convert.from_torch,
        TORCH | second("_l1", H + 1),
        "layer 1 takes [5] features, but is given 4",
    ),
    "torch_directions": (
        convert.from_torch,
        TORCH | second("_l0_reverse", D + 1),
        "layer 0 takes [3, 4] features, but is given one and the same input",
    ),
    "torch_shape": (
        convert.from_torch,
        TORCH | {"bias_ih_l0": ones(15), "bias_hh_l0": ones(16)},
        "bias_ih must be of shape (16,), got float32[15]",
    ),
    "torch_gates": (
        convert.from_torch,
        {"weight_ih_l0": ones(8, D), "weight_hh_l0": ones(8, H)},
        "weight_hh has 8 rows for a hidden size of 4",
    ),
    "torch_rank": (
        convert.from_torch,
        TORCH | {"weight_hh_l0": ones(16)},
        "weight_hh must have 2 axes, got float32[16]",
    ),
    "torch_empty": (
        convert.from_torch,
        TORCH | {"weight_hh_l0": ones(0, 0)},
        "weight_hh is empty",
    ),
    "torch_dtypes": (
        convert.from_torch,
        TORCH | {name: b.astype("float16") for name, b in BIASES.items()},
        "bias_ih is float16 but weight_ih is float32",
    ),
    "torch_dropout": (
        lambda w: convert.from_torch(w, dropout=0.5),
        TORCH,
        "dropout=0.5 acts between layers, and there is one",
    ),
    "torch_no_dropout": (
        lambda w: convert.from_torch(w, dropout=-1.0),
        TORCH,
        "dropout must be at least 0 and below 1, got -1.0",
    ),
    "torch_twice": (
        convert.from_torch,
        TORCH | {"weight_ih": ones(16, D)},
        "'weight_ih' is there twice",
    ),
    "torch_integers": (
        convert.from_torch,
        TORCH | {"weight_hh_l0": np.ones((16, H), int)},
        "weight_hh_l0 must be floating point, got int64[16,4]",
    ),
    "torch_object": (
        convert.from_torch,
        TORCH | {"weight_hh_l0": object()},
        "weight_hh_l0 must be an array, got object",
    ),
    "torch_ragged": (
        convert.from_torch,
        TORCH | {"weight_hh_l0": [[1.0], [1.0, 2.0]]},
        "weight_hh_l0 must be an array",
    ),
    "cudnn_size": (
        lambda w: convert.from_cudnn(w, **SIZES),
        ones(100),
        "weights must be of shape (144,)",
    ),
    "cudnn_hidden": (
        lambda w: convert.from_cudnn(w, input_size=3, hidden_size=0),
        ones(144),
        "hidden_size must be at least 1",
    ),
    "cudnn_directions": (
        lambda w: convert.from_cudnn(w, **SIZES, bidirectional=10**12),
        ones(144),
        "bidirectional must be a Python bool, got 1000000000000",
    ),
    "cudnn_no_directions": (
        lambda w: convert.from_cudnn(w, **SIZES, bidirectional=None),
        ones(144),
        "bidirectional must be a Python bool, got None",
    ),
    "cudnn_layers": (
        lambda w: convert.from_cudnn(w, **SIZES, num_layers=10**12),
        ones(144),
        "weights must be of shape (159999999999984,)",
    ),
    "keras_array": (convert.from_keras, ones(3), "weights must be a list of arrays"),
    "keras_count": (convert.from_keras, KERAS * 3, "got 9"),
    "keras_shape": (
        convert.from_keras,
        [*KERAS[:2], ones(12)],
        "bias must be of shape (16,)",
    ),
    "keras_gates": (
        convert.from_keras,
        [ones(D, 10), ones(H, 10)],
        "recurrent_kernel float32[4,10] is of no layer",
    ),
    "keras_conv": (
        convert.from_keras,
        [ones(3, 3, 1, 16), ones(3, 3, H, 16)],
        "spatial_shape=(..., ..., )",
    ),
    "keras_name": (
        lambda w: convert.from_keras(w, activation="tan"),
        KERAS,
        "activation must be one of",
    ),
    "keras_merge": (
        lambda w: convert.from_keras(w, merge_mode="max"),
        KERAS,
        "merge_mode must be one of",
    ),
    "linen_unknown": (
        convert.from_linen,
        {"Dense_0": {"kernel": ones(1, 1)}},
        "are the parts of no cell of Flax",
    ),
    "linen_missing": (
        convert.from_linen,
        LINEN | {"hf": {"kernel": ones(H, H)}},
        "has no ['hf/bias']",
    ),
    "linen_more": (
        convert.from_linen,
        LINEN | {"ii": {"kernel": ones(D, H), "bias": ones(H)}},
        "has the unknown ['ii/bias']",
    ),
    "linen_shape": (
        convert.from_linen,
        LINEN | {"io": {"kernel": ones(D, 5)}},
        "io/kernel must be of shape (3, 4)",
    ),
    "linen_layers": (
        convert.from_linen,
        {"layers_0": LINEN, "layers_2": LINEN},
        "pass a list of the recurrent ones",
    ),
    "linen_array": (
        convert.from_linen,
        ones(3),
        "variables must be dictionaries of modules, got ndarray",
    ),
    "linen_conv": (
        convert.from_linen,
        {"ih": {"kernel": ones(3, 1, 8)}, "hh": {"kernel": ones(3, 2, 8)}},
        "needs the size of its images",
    ),
    "nnx_gates": (
        convert.from_nnx,
        NNX | {"dense_h": {"kernel": ones(H, 16)}},
        "kernels of 16 columns for 4 units",
    ),
    "nnx_shape": (
        convert.from_nnx,
        NNX | {"dense_i": {"kernel": ones(D, 12)}},
        "dense_i/kernel must be of shape (3, 16)",
    ),
    "haiku_missing": (
        convert.from_haiku,
        HAIKU | {"lstm_1/linear": {"w": ones(8, 16)}},
        "lstm_1: the dictionary has no ['linear/b']",
    ),
    "haiku_mixed": (
        convert.from_haiku,
        HAIKU | {"gru": {"w_i": ones(4, 12)}},
        "the order of the cores ['gru', 'lstm'] cannot be read",
    ),
    "haiku_empty": (convert.from_haiku, {}, "the order of the cores []"),
    "haiku_arrays": (convert.from_haiku, {"lstm": ones(3)}, "'lstm' must be a dict"),
    "haiku_shape": (
        convert.from_haiku,
        {"lstm/linear": {"w": ones(7, 15), "b": ones(15)}},
        "linear/w must be (in + H, 4H)",
    ),
    "equinox_other": (convert.from_equinox, object(), "module must be an LSTMCell"),
    "equinox_gates": (
        convert.from_equinox,
        EQUINOX | {"bias_n": ones(H)},
        "is neither that of an LSTMCell",
    ),
    "equinox_unknown": (
        convert.from_equinox,
        EQUINOX | {"weight": ones(1)},
        "has the unknown ['weight']",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_weights_from_strangers(case):
    convert_, weights, match = WRONG[case]
    with pytest.raises((ValueError, TypeError)) as caught:
        convert_(weights)
    assert match in str(caught.value)


def test_the_same_weights_without_the_mistake():
    """So that none of the refusals above has another reason."""
    assert convert.from_torch(TORCH | BIASES)[0] == rj.LSTM(H)
    deep = convert.from_torch(TORCH | second("_l1", H))[0]
    assert deep == rj.Deep((rj.LSTM(H, use_bias=False),) * 2)
    assert convert.from_cudnn(ones(144), **SIZES)[0] == rj.LSTM(H)
    assert convert.from_keras(KERAS)[0] == rj.LSTM(H)
    assert convert.from_linen(LINEN)[0] == rj.LSTM(H)
    assert convert.from_nnx(NNX)[0] == rj.LSTM(H)
    assert convert.from_haiku(HAIKU)[0] == rj.LSTM(H)
    assert convert.from_equinox(EQUINOX)[0] == rj.LSTM(H)


def test_64_bits_are_not_cut_silently():
    weights = {name: w.astype("float64") for name, w in TORCH.items()}
    with pytest.raises(TypeError, match="jax_enable_x64"):
        convert.from_torch(weights)
    with jax.enable_x64(True):
        assert convert.from_torch(weights)[1].kernel.dtype == jnp.float64
