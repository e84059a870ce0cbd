# SPDX-License-Identifier: Apache-2.0
"""Conversion to ONNX: one `RNN`, `LSTM` or `GRU` node for each layer."""

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from recurrent_jax import _checks
from recurrent_jax._core.kinds import Params, Part
from recurrent_jax.convert import _arrays, _layers, _onnx_cells
from recurrent_jax.convert._layers import Direction
from recurrent_jax.convert._onnx_cells import OPERATORS
from recurrent_jax.networks import Bidirectional

if TYPE_CHECKING:
    import onnx

    ModelProto = onnx.ModelProto
else:
    ModelProto = Any  # known only where ONNX is installed

OPSET, IR_VERSION = 17, 8  # supported by runtimes of the last years
_MERGES = {"sum": "ReduceSum", "mean": "ReduceMean", "product": "ReduceProd"}
_AXIS = "axis_of_directions"


@_checks.checked
def to_onnx(
    network: Part,
    params: Params,
    *,
    direction: Literal["forward", "reverse"] = "forward",
    lengths: bool = False,
    initial_states: bool = False,
) -> ModelProto:
    """Return an ONNX model that computes the same as `unroll`.

    Every layer is one node: `RNN`, `LSTM` or `GRU`. Between the nodes are operations
    that move the axis of directions. The inputs are `X`, `(time, batch, features)`, and
    on request `sequence_lens`, int32 `(batch,)`, and for each layer n `initial_h_n` and
    `initial_c_n`, `(directions, batch, hidden)`. The outputs are `Y`, `Y_h_n` and
    `Y_c_n`. `from_onnx` restores the parameters bit for bit. Constants of activations
    and the clip are 32-bit floats in ONNX.

    Args:
        network: an `Elman`, `LSTM`, `PeepholeLSTM`, `CIFG` or `GRU`, a `Bidirectional`
            of two, or a `Deep` of such layers, with any activations that ONNX has.
            `activations.Clipped` becomes `clip` if all gates have it.
        params: its parameters.
        direction: `"reverse"` for `unroll(..., reverse=True)`.
        lengths: whether there is an input of lengths.
        initial_states: whether there are inputs for the carry, which is otherwise zero.

    Returns:
        A model of operator set 17, validated by ONNX's checker.

    Raises:
        TypeError: if ONNX has no such operator, or no such dtype.
        ValueError: if ONNX has no attribute for a field of a cell.
        ModuleNotFoundError: without the package `onnx` (extra `convert`).

    Example:
        >>> import jax
        >>> import recurrent_jax as rj
        >>> cell = rj.PeepholeLSTM(4)
        >>> params = cell.init(jax.random.key(0), in_features=2)
        >>> model = rj.convert.to_onnx(cell, params, lengths=True)
        >>> [node.op_type for node in model.graph.node]
        ['LSTM', 'Squeeze']

    References:
        ONNX. Operators: RNN, GRU, LSTM. https://onnx.ai/onnx/operators/
    """
    _arrays.need("to_onnx", "onnx")
    import onnx
    from onnx import helper, numpy_helper

    graph = _Graph(direction, lengths, initial_states)
    for layer, own in _layers.layers("to_onnx", network, params):
        graph.add(layer, own)
    last = graph.nodes[-1][2]
    last[last.index(graph.x)] = "Y"
    tensors = [numpy_helper.from_array(a, name) for name, a in graph.weights.items()]
    dtype = helper.np_dtype_to_tensor_dtype(graph.dtype)

    def info(name: str, shape: tuple[Any, ...]) -> Any:
        of = onnx.TensorProto.INT32 if name == "sequence_lens" else dtype
        return helper.make_tensor_value_info(name, of, shape)

    model = helper.make_model(
        helper.make_graph(
            [helper.make_node(*node, **more) for *node, more in graph.nodes],
            "recurrent_jax",
            [info(name, shape) for name, shape in graph.inputs.items()],
            [info("Y", graph.shape)]
            + [info(name, shape) for name, shape in graph.outputs.items()],
            tensors,
        ),
        producer_name="recurrent_jax",
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
    )
    onnx.checker.check_model(model, full_check=True)
    return model


class _Graph:
    """Nodes, weights, inputs and outputs of a model to which layers are added."""

    def __init__(self, direction: str, lengths: bool, initial_states: bool) -> None:
        self.direction, self.initial_states = direction, initial_states
        self.nodes: list[tuple[Any, ...]] = []
        self.weights: dict[str, Any] = {}
        self.inputs: dict[str, tuple[Any, ...]] = {}
        self.outputs: dict[str, tuple[Any, ...]] = {}
        self.lengths = "sequence_lens" if lengths else ""
        self.x, self.layers, self.dtype = "X", 0, np.dtype("float32")
        self.shape: tuple[Any, ...] = ()

    def node(self, op: str, inputs: list[str], outputs: list[str], **more: Any) -> None:
        self.nodes.append((op, inputs, outputs, more))

    def add(self, layer: Any, params: Any) -> None:
        """Add a layer, and operations that bring its output into our shape."""
        merges = ["concatenate", *_MERGES, None]
        ways = _layers.directions("to_onnx", layer, params, merges)
        for way in ways:
            _layers.one_of("to_onnx", "ONNX", way.cell, tuple(OPERATORS))
        n, op = self.layers, OPERATORS[type(ways[0].cell)]
        states = ["h", "c"] if op == "LSTM" else ["h"]
        attributes = _attributes("to_onnx", op, ways, self.direction)
        W, R, B, P = self._weights(n, ways)
        if not self.inputs:
            self._first(ways[0])
        starts = [""] * len(states)
        for k, state in enumerate(states):
            shape = (len(ways), "batch", ways[0].cell.hidden_size)
            self.outputs[f"Y_{state}_{n}"] = shape
            if self.initial_states:
                starts[k] = f"initial_{state}_{n}"
                self.inputs[starts[k]] = shape
        inputs = [self.x, W, R, B, self.lengths, *starts]
        inputs += [P] if op == "LSTM" else []
        while not inputs[-1]:
            inputs.pop()
        outputs = [f"Y_of_{n}", *(f"Y_{state}_{n}" for state in states)]
        self.node(op, inputs, outputs, **attributes)
        self._merge(layer, len(ways), ways[0].cell.hidden_size)
        self.layers += 1

    def _first(self, way: Direction) -> None:
        kernel = way.params.kernel
        if str(kernel.dtype) not in ("float16", "float32", "float64"):
            raise TypeError(
                f"to_onnx: operator set {OPSET} has no {kernel.dtype} for these nodes; "
                "cast the parameters: jax.tree.map(lambda p: p.astype('float32'), ...)"
            )
        self.dtype = kernel.dtype
        self.inputs["X"] = ("time", "batch", kernel.shape[0])
        if self.lengths:
            self.inputs[self.lengths] = ("batch",)

    def _weights(self, n: int, ways: tuple[Direction, ...]) -> list[str]:
        each = [_onnx_cells.write_weights(way) for way in ways]
        if any(set(own) != set(each[0]) for own in each):
            raise ValueError(
                "to_onnx: both directions of a node have a bias or none, and peepholes "
                f"or none; got {[way.cell for way in ways]}"
            )
        for name in each[0]:
            self.weights[f"{name}_{n}"] = np.stack([own[name] for own in each])
        return [f"{name}_{n}" if name in each[0] else "" for name in "WRBP"]

    def _merge(self, layer: Any, ways: int, H: int) -> None:
        merge = layer.merge if isinstance(layer, Bidirectional) else "first"
        raw, self.x = f"Y_of_{self.layers}", f"x_{self.layers + 1}"
        self.shape = ("time", "batch", H)
        if merge in ("first", "sum"):
            self.weights[_AXIS] = np.array([1])
        if merge == "first":
            self.node("Squeeze", [raw, _AXIS], [self.x])
        elif merge == "concatenate":
            swapped = f"swapped_{self.layers}"
            self.weights["shape_of_y"] = np.array([0, 0, -1])
            self.node("Transpose", [raw], [swapped], perm=[0, 2, 1, 3])
            self.node("Reshape", [swapped, "shape_of_y"], [self.x])
            self.shape = ("time", "batch", ways * H)
        elif merge == "sum":
            self.node("ReduceSum", [raw, _AXIS], [self.x], keepdims=0)
        elif merge is None:
            self.x, self.shape = raw, ("time", ways, "batch", H)
        else:
            self.node(_MERGES[merge], [raw], [self.x], axes=[1], keepdims=0)


def _attributes(
    where: str, op: str, ways: tuple[Direction, ...], direction: str
) -> dict[str, Any]:
    """Return all attributes of a node explicitly."""
    first = ways[0].cell
    both = [_onnx_cells.write_functions(where, way.cell, op) for way in ways]
    clips = {_onnx_cells.clip_of(where, way.cell, op) for way in ways}
    forms = {
        (type(cell) is _onnx_cells.CIFG, getattr(cell, "reset_after", None))
        for cell, _ in ways
    }
    sizes = {(OPERATORS[type(cell)], cell.hidden_size) for cell, _ in ways}
    if len(sizes) > 1 or len(forms) > 1 or len(clips) > 1:
        raise ValueError(
            f"{where}: both directions of a node are of one size, form and clip, got "
            f"{[way.cell for way in ways]}"
        )
    if len(ways) == 2 and direction == "reverse":
        raise ValueError(
            f"{where}: a Bidirectional has no direction='reverse' in ONNX; "
            "flip the input instead"
        )
    for way in ways:
        if getattr(way.cell, "cell_clip", None) is not None:
            raise ValueError(
                f"{where}: ONNX has no cell_clip, of {way.cell!r}; its clip is of "
                "gates, activations.Clipped"
            )
    (clip,) = clips
    attributes = {
        "hidden_size": first.hidden_size,
        "direction": "bidirectional" if len(ways) == 2 else direction,
        "activations": [name for own in both for name in own.names],
        "activation_alpha": [number for own in both for number in own.alpha],
        "activation_beta": [number for own in both for number in own.beta],
        "clip": clip,
        "input_forget": 1 if type(first) is _onnx_cells.CIFG else None,
        "linear_before_reset": int(first.reset_after) if op == "GRU" else None,
    }
    return {
        name: value for name, value in attributes.items() if value not in (None, [])
    }
