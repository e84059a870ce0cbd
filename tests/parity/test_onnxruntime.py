# SPDX-License-Identifier: Apache-2.0
"""ONNX: the operators `RNN`, `LSTM` and `GRU`, as ONNX Runtime computes them."""

import jax
import numpy as np
import pytest

import recurrent_jax as rj
from parity.common import LENGTHS, SIZES, TOLERANCE, Draw, assert_same
from recurrent_jax.convert import from_onnx

onnx = pytest.importorskip("onnx", reason="ONNX is not installed")
onnxruntime = pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")

# Weights are the operator's inputs of one direction: W (G*H, in), R (G*H, H), B of
# twice G*H, for W and then for R, and P (3*H), the peepholes.

H = SIZES.hidden
# The operator, its attributes, its gates, and what it is for us.
KINDS = {
    "rnn": ("RNN", {}, 1, rj.Elman(H)),
    "rnn_relu": (
        "RNN",
        {"activations": ["Relu"]},
        1,
        rj.Elman(H, activation=jax.nn.relu),
    ),
    "lstm": ("LSTM", {}, 4, rj.LSTM(H)),
    "peephole_lstm": ("LSTM", {}, 4, rj.PeepholeLSTM(H)),
    "gru_reset_before": (
        "GRU",
        {"linear_before_reset": 0},
        3,
        rj.GRU(H, reset_after=False),
    ),
    "gru": ("GRU", {"linear_before_reset": 1}, 3, rj.GRU(H)),
}


def imported(operator, attributes, weights):
    """Return the cell and the parameters of a model that holds these weights."""
    names = ["X", *(name if name in weights else "" for name in ("W", "R", "B"))]
    names += ["", "", "", "P"] if "P" in weights else []
    node = onnx.helper.make_node(operator, names, ["Y"], **attributes)

    def info(name):
        return onnx.helper.make_tensor_value_info(name, 1, ("any",) * 3)

    tensors = [onnx.numpy_helper.from_array(a[None], n) for n, a in weights.items()]
    graph = onnx.helper.make_graph([node], "it", [info("X")], [info("Y")], tensors)
    opset = onnx.helper.make_opsetid("", 14)
    model = onnx.helper.make_model(graph, opset_imports=[opset], ir_version=8)
    return from_onnx(model, direction=attributes["direction"])


def run_onnx(operator, attributes, feeds, outputs):
    """Run one operator; `feeds` are its inputs in order, None where left out."""
    given = {f"input_{n}": a for n, a in enumerate(feeds) if a is not None}
    names = [f"input_{n}" if a is not None else "" for n, a in enumerate(feeds)]
    node = onnx.helper.make_node(operator, names, outputs, **attributes)

    def info(name, array=None):
        of = np.float32 if array is None else array.dtype
        dtype = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(of))
        shape = None if array is None else array.shape
        return onnx.helper.make_tensor_value_info(name, dtype, shape)

    graph = onnx.helper.make_graph(
        [node],
        "graph",
        [info(name, a) for name, a in given.items()],
        [info(name) for name in outputs],
    )
    # Old versions of operator set and format, so that old runtimes load them.
    opset = onnx.helper.make_opsetid("", 14)
    model = onnx.helper.make_model(graph, opset_imports=[opset], ir_version=8)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return session.run(None, given)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["full", "lengths"])
def test_operator(kind, reverse, lengths):
    operator, attributes, gates, cell = KINDS[kind]
    direction = "reverse" if reverse else "forward"
    attributes = attributes | {"hidden_size": H, "direction": direction}
    draw = Draw("float32")
    weights = {
        "W": draw(gates * H, SIZES.features),
        "R": draw(gates * H, H),
        "B": draw(2 * gates * H),
    }
    if isinstance(cell, rj.PeepholeLSTM):
        weights["P"] = draw(3 * H)
    carry_type = type(cell.initial_carry())
    xs, carry = draw(*SIZES.xs), [draw(*SIZES.h) for _ in carry_type._fields]

    feeds = [xs] + [weights[name][None] for name in "WRB"]
    feeds += [None if lengths is None else lengths.astype(np.int32)]
    feeds += [part[None] for part in carry]
    if "P" in weights:
        feeds += [weights["P"][None]]
    outputs = ["Y", "Y_h", "Y_c"][: 1 + len(carry)]
    ys, *final = run_onnx(operator, attributes, feeds, outputs)
    found, params = imported(operator, attributes, weights)
    assert found == cell
    got_carry, got_ys = rj.unroll(
        cell,
        params,
        xs,
        carry=carry_type(*carry),
        lengths=lengths,
        reverse=reverse,
    )
    # The second axis of Y, and the first of the rest, is that of directions.
    want = [*(part[0] for part in final), ys[:, 0]]
    assert_same([*got_carry, got_ys], want, TOLERANCE["float32"], "float32")
