# SPDX-License-Identifier: Apache-2.0
"""What users of other libraries write first, and that the answer has the right call."""

import copy
import pickle
import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pandas
import pytest
from flax import nnx

import recurrent_jax as rj

CELL = rj.LSTM(4)
PARAMS = jax.eval_shape(lambda: CELL.init(jax.random.key(0), 2))
CARRY = CELL.Carry(np.ones((5, 4), "f"), np.ones((5, 4), "f"))
X = np.ones((5, 2), "f")
XS = np.ones((7, 5, 2), "f")
FRAME = pandas.DataFrame(
    {"day": pandas.date_range("2020-01-01", periods=7), "y": np.ones(7)}
)
COMPACT = {f"LSTMCell_{n}": {"ii": {"kernel": np.ones((2, 4), "f")}} for n in (0, 1)}


def params():
    return jax.tree.map(lambda s: np.ones(s.shape, s.dtype), PARAMS)


def run(xs=XS, **options):
    return jax.eval_shape(lambda: rj.unroll(CELL, params(), xs, **options))


def step(*args, **options):
    return CELL.step(params(), *args, **options)


def weights(kind=nn.LSTMCell, features=2):
    shapes = jax.eval_shape(
        lambda: kind(4).init(
            jax.random.key(0), (jnp.ones(4), jnp.ones(4)), jnp.ones(features)
        )
    )
    return jax.tree.map(lambda s: np.ones(s.shape, "f"), shapes)["params"]


def state_dict(prefix=""):
    shapes = {"weight_ih_l0": (16, 2), "weight_hh_l0": (16, 4)}
    return {prefix + name: np.ones(shape, "f") for name, shape in shapes.items()}


class Torch:
    def state_dict(self):
        return {}


CALLS = {
    # A cell is a value.
    "call": (lambda: CELL(X, CARRY), TypeError, "LSTM: .* not called: unroll(cell, "),
    "call/network": (lambda: rj.Deep((CELL,))(XS), TypeError, "Deep: .* not called"),
    "parameters": (lambda: CELL.parameters(), AttributeError, "init(key, in_feat"),
    "units": (lambda: CELL.units, AttributeError, "it is hidden_size here"),
    "eval": (lambda: rj.Deep((CELL,)).eval(), AttributeError, "where unroll gets key"),
    "function": (
        lambda: rj.Elman(4, activation=CELL),
        TypeError,
        "activation must be a function, got LSTM(hidden_size=4)",
    ),
    # The package.
    "Linear": (lambda: rj.Linear, AttributeError, "ys @ kernel + bias"),
    "Masking": (lambda: rj.Masking, AttributeError, "lengths=... or mask=..."),
    "linen.LSTM": (lambda: rj.linen.LSTM, AttributeError, "RNN(recurrent_jax.LSTM("),
    "nnx.LSTMCell": (lambda: rj.nnx.LSTMCell, AttributeError, "modules run any cell"),
    "to_onnx": (lambda: rj.to_onnx, AttributeError, "converters are in convert"),
    # One step.
    "step/order": (
        lambda: step(X, CARRY),
        TypeError,
        "LSTM.step: a carry came last; the order is (params, carry, x)",
    ),
    "step/torch": (lambda: CELL.step(X, CARRY), TypeError, "x is missing; the order"),
    "step/resets": (
        lambda: step(CARRY, X, resets=X > 0),
        TypeError,
        "jnp.where selects the new carry, see reinforcement",
    ),
    "step/time": (
        lambda: step(CARRY, XS.swapaxes(0, 1)),
        ValueError,
        "unroll takes all steps, step takes x[t]",
    ),
    # A sequence.
    "flags/axis": (
        lambda: run(resets=np.ones((7, 5, 1), bool)),
        ValueError,
        "Pass resets[..., 0]",
    ),
    "carry/layers": (
        lambda: run(carry=jax.tree.map(lambda a: a[None], CARRY)),
        ValueError,
        "It has an axis of layers",
    ),
    "hidden_state": (lambda: run(hidden_state=0), TypeError, "it is carry here"),
    "terminated": (lambda: run(terminated=0), TypeError, "resets_from_dones"),
    "training": (lambda: run(training=True), TypeError, "where unroll gets key=..."),
    "tokens": (
        lambda: run(np.ones((5, 7), int)),
        ValueError,
        "Tokens need an embedding first",
    ),
    "frame": (
        lambda: run(FRAME),
        TypeError,
        "Columns of times and of words are no numbers",
    ),
    "index": (
        lambda: run(FRAME["day"]),
        TypeError,
        "frame[names].to_numpy('float32')",
    ),
    "go_backwards": (
        lambda: rj.GRU(4, go_backwards=True),
        TypeError,
        "unroll(cell, params, xs, reverse=True)",
    ),
    "merge": (
        lambda: rj.Bidirectional(CELL, merge="concat"),
        ValueError,
        "did you mean 'concatenate'?",
    ),
    # Flax.
    "linen/features": (
        lambda: rj.linen.RNN(CELL, 3),
        TypeError,
        "takes 1 argument by position, (cell), got 2; pass the others by name, such as "
        "in_features=...",
    ),
    "linen/none": (lambda: rj.linen.RNN(), TypeError, "cell is missing; the order is "),
    "linen/module": (
        lambda: rj.linen.Bidirectional(rj.linen.RNN(CELL)),
        TypeError,
        "got a module, RNN; pass the cell that is in it",
    ),
    "linen/loop": (
        lambda: nn.RNN(CELL).init(jax.random.key(0), XS),
        AttributeError,
        "linen.RNNCell(cell) a cell for flax.linen.RNN",
    ),
    "linen/order": (
        lambda: rj.linen.RNNCell(CELL).init(jax.random.key(0), X, CARRY),
        TypeError,
        "RNNCell: a carry came last; the order is (carry, inputs)",
    ),
    "linen/train": (
        lambda: rj.linen.RNN(CELL).init(jax.random.key(0), XS, train=True),
        TypeError,
        "it is deterministic=not training here",
    ),
    "nnx/order": (
        lambda: rj.nnx.RNNCell(CELL, 2, rngs=nnx.Rngs(0))(X, CARRY),
        TypeError,
        "RNNCell: a carry came last; the order is (carry, inputs)",
    ),
    "nnx/rngs": (lambda: rj.nnx.RNN(CELL, 2), TypeError, "rngs is missing; pass rngs="),
    "nnx/stream": (
        lambda: rj.nnx.RNN(rj.Deep((CELL,), dropout=0.1), 2, rngs=nnx.Rngs(params=0)),
        ValueError,
        "pass nnx.Rngs(0), or nnx.Rngs(params=0, dropout=1)",
    ),
    # Weights.
    "flax/whole": (
        lambda: rj.convert.from_linen({**COMPACT, "Dense_0": {}}),
        ValueError,
        "a whole model, with the cells ['LSTMCell_0', 'LSTMCell_1']",
    ),
    "flax/pair": (
        lambda: rj.convert.from_linen([weights(), weights()]),
        ValueError,
        "if they are two directions of one layer, pass {'forward': ..., 'backward'",
    ),
    "torch/module": (
        lambda: rj.convert.from_torch(Torch()),
        TypeError,
        "got Torch; pass module.state_dict()",
    ),
    "torch/path": (
        lambda: rj.convert.from_torch("model.pt"),
        TypeError,
        "read the file first",
    ),
    "torch/none": (
        lambda: rj.convert.to_torch(rj.LRU(2), rj.LRU(2).init(jax.random.key(0), 2)),
        TypeError,
        "the other libraries have no LRU(hidden_size=2), whose kernel is Complex(",
    ),
    "torch/dot": (
        lambda: rj.convert.from_torch(state_dict("enc."), prefix="enc"),
        ValueError,
        "prefix must end with its dot: prefix='enc.'",
    ),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_first_guess_is_answered_with_the_right_call(name):
    call, kind, words = CALLS[name]
    with pytest.raises(kind) as raised:
        call()
    pattern = ".*".join(map(re.escape, words.split(" .* ")))
    assert re.search(pattern, str(raised.value))
    assert len(str(raised.value)) < 700


def test_a_tensor_that_requires_a_gradient_is_named():
    torch = pytest.importorskip("torch")
    with pytest.raises(TypeError, match=r"xs must be arrays\..*detach"):
        run(torch.ones(7, 5, 2, requires_grad=True))


def test_two_directions_of_compact_cells_are_one_layer():
    layers = [{"forward": weights(), "backward": weights()}] * 1
    assert rj.convert.from_linen(layers)[0] == rj.Bidirectional(CELL)


def test_a_cell_is_copied_and_compared_as_before():
    assert copy.deepcopy(CELL) == CELL == pickle.loads(pickle.dumps(CELL))
    assert not hasattr(CELL, "initialize_carry")
