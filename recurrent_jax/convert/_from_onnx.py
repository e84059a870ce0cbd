# SPDX-License-Identifier: Apache-2.0
"""Conversion from ONNX: chains of `RNN`, `LSTM` and `GRU` nodes."""

import os
from typing import TYPE_CHECKING, Any, Literal

from recurrent_jax import _checks
from recurrent_jax._core.cell import Cell
from recurrent_jax._core.network import Network
from recurrent_jax.activations import Clipped
from recurrent_jax.convert import _arrays, _layers, _onnx_cells
from recurrent_jax.convert._arrays import Array
from recurrent_jax.convert._layers import Direction
from recurrent_jax.convert._onnx_cells import CLIPPED, FIELDS, ROWS
from recurrent_jax.convert._onnx_graph import Graph, attributes_of, name_of

if TYPE_CHECKING:
    import onnx

    ModelProto = onnx.ModelProto
else:
    ModelProto = Any  # known only where ONNX is installed

_LARGEST = 2**31  # bytes, the limit of Protocol Buffers
_KNOWN = {
    "activation_alpha",
    "activation_beta",
    "activations",
    "clip",
    "direction",
    "hidden_size",
    "layout",
}
_MORE = {"RNN": set[str](), "LSTM": {"input_forget"}, "GRU": {"linear_before_reset"}}
_DEFAULTS = {"RNN": ["Tanh"], "GRU": ["Sigmoid", "Tanh"]}
_DEFAULTS["LSTM"] = ["Sigmoid", "Tanh", "Tanh"]


@_checks.checked
def from_onnx(
    model: ModelProto | str | os.PathLike[str],
    *,
    direction: Literal["forward", "reverse"] = "forward",
    layout: Literal[0, 1] = 0,
) -> tuple[Cell | Network, Any]:
    """Return a cell or network, and its parameters, from an ONNX model.

    The model is one node, or a chain of nodes as exporters write it. Every attribute is
    honoured or refused by name. Two of them do not belong to the cell but to the call,
    so you must pass them as well: `direction="reverse"` means `unroll(...,
    reverse=True)`, and `layout=1`, or a batch-major input, means `time_axis=1`.

    Args:
        model: a model, or its path. It must contain the weights.
        direction: the expected direction of nodes with one direction.
        layout: the expected layout of the input.

    Returns:
        An `Elman`, `LSTM`, `PeepholeLSTM`, `CIFG` or `GRU`, a `Bidirectional`, or a
        `Deep` for several nodes; and its parameters.

    Raises:
        ValueError: if the file is damaged, or contains anything that is not supported.
        TypeError: if weights have mixed dtypes or are not floats.
        ModuleNotFoundError: without the package `onnx` (extra `convert`).

    Example:
        >>> import jax
        >>> import recurrent_jax as rj
        >>> cell = rj.CIFG(4, peepholes=True)
        >>> params = cell.init(jax.random.key(0), in_features=2)
        >>> rj.convert.from_onnx(rj.convert.to_onnx(cell, params))[0]
        CIFG(hidden_size=4, peepholes=True)
    """
    try:
        return _convert(Graph(_load(model)), direction, layout)
    except RecursionError as error:
        raise ValueError("from_onnx: the graph is nested too deep") from error
    except UnicodeDecodeError as error:
        raise ValueError(
            "from_onnx: the model is damaged: a name in it is not UTF-8"
        ) from error


def _convert(graph: Graph, direction: str, layout: int) -> tuple[Cell | Network, Any]:
    """Return the layers of a graph as one network."""
    merges = graph.chain()
    ways = [_node(graph, node, direction, layout) for node in graph.recurrent]
    if graph.is_batch_first and layout == 0:
        raise ValueError(
            "from_onnx: the input is batch-first, transposed for the first node; pass "
            "layout=1, and run with time_axis=1"
        )
    parts = []
    for node, each, merge in zip(graph.recurrent, ways, merges, strict=True):
        if len(each) == 2 and merge == "first":
            raise ValueError(f"{name_of(node)}: an axis of two directions is squeezed")
        parts.append(_layers.either(each, merge))
    return _layers.deep("from_onnx", parts)


def _load(model: Any) -> ModelProto:
    _arrays.need("from_onnx", "onnx")
    import onnx
    from google.protobuf.message import DecodeError

    if not isinstance(model, onnx.ModelProto):
        path = _arrays.file("from_onnx", "model", model)
        if not os.path.exists(path):
            raise FileNotFoundError(f"from_onnx: model: there is no file {path!r}")
        if os.path.getsize(path) > _LARGEST:
            raise ValueError(
                f"from_onnx: {path!r} is truncated or not of ONNX: a model in one file "
                "has at most 2 GiB"
            )
        try:
            model = onnx.load(path, "protobuf", load_external_data=False)
        except (DecodeError, ValueError) as error:
            raise ValueError(
                f"from_onnx: {path!r} is truncated or not of ONNX: "
                f"{_arrays.reason(error)}"
            ) from error
    for tensor in model.graph.initializer:
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            raise ValueError(
                f"from_onnx: the weights {tensor.name!r} stand in another file; pass "
                "onnx.load(path), which reads it, and not the path"
            )
    try:
        onnx.checker.check_model(model)
    except onnx.checker.ValidationError as error:
        raise ValueError(
            f"from_onnx: not a valid model: {_arrays.reason(error)}"
        ) from error
    return model


def _node(graph: Graph, node: Any, direction: str, layout: int) -> list[Direction]:
    """Return the directions of a node."""
    where, op, more = name_of(node), node.op_type, attributes_of(node)
    if unknown := sorted(set(more) - _KNOWN - _MORE[op]):
        raise ValueError(f"{where}: the attributes {unknown} are not understood")
    given = more.get("direction", "forward")
    if given not in (direction, "bidirectional"):
        raise ValueError(
            f"{where}: direction is {given!r}; say so, direction={given!r}, and run it "
            f"with unroll(..., reverse={given == 'reverse'})"
        )
    if given == "bidirectional" and direction != "forward":
        raise ValueError(f"{where}: direction is 'bidirectional', not {direction!r}")
    _layout(where, more.get("layout", 0), layout, graph)
    ways = 1 + (given == "bidirectional")
    weights, H = _weights(graph, where, op, node, ways, more)
    fields = _fields(where, op, ways, more)
    return [
        _onnx_cells.read_weights(
            op, H, {name: w[n] for name, w in weights.items()}, fields[n]
        )
        for n in range(ways)
    ]


def _layout(where: str, given: int, expected: int, graph: Graph) -> None:
    if given not in (0, 1) or (given == 1 and expected == 0):
        raise ValueError(
            f"{where}: layout is {given}; pass layout={given}, and run it with "
            f"time_axis={given}"
        )
    if given == 1 and (graph.is_batch_first or graph.is_merged):
        raise ValueError(
            f"{where}: layout is 1, which is understood of a single node alone"
        )
    if given == 0 and expected == 1 and not graph.is_batch_first:
        raise ValueError(f"{where}: layout is 0, and the input is not transposed")


def _weights(
    graph: Graph, where: str, op: str, node: Any, ways: int, more: dict[str, Any]
) -> tuple[dict[str, Array], int]:
    """Return W, R, B and P, each with a first axis of directions, and H."""
    inputs = [*node.input, *([""] * 8)][:8]
    named = zip("XWRBlhcP", inputs, strict=True)
    given = {name: value for name, value in named if value}
    weights = {
        name: _arrays.read(where, name, graph.constant(where, given[name]))
        for name in "WRBP"
        if name in given
    }
    _arrays.rank(where, weights, {n: 3 if n in "WR" else 2 for n in weights})
    H = weights["R"].shape[2]
    wide = H * len(ROWS[op].gates)
    shapes = {
        "W": (ways, wide, weights["W"].shape[2]),
        "R": (ways, wide, H),
        "B": (ways, 2 * wide),
        "P": (ways, 3 * H),
    }
    _arrays.check(where, weights, {name: shapes[name] for name in weights})
    if more.get("hidden_size", H) != H:
        raise ValueError(
            f"{where}: hidden_size is {more['hidden_size']}, but R is of {H} units"
        )
    for name in set("hc") & set(given):
        if not graph.is_start(given[name]):
            raise ValueError(
                f"{where}: initial_{name} is neither zero nor an input of the model; "
                "remove it, and pass it as unroll(..., carry=...)"
            )
    if "l" in given and given["l"] not in graph.inputs:
        raise ValueError(
            f"{where}: sequence_lens is computed or constant, not an input of the "
            "model; remove it, and pass it as unroll(..., lengths=...)"
        )
    return weights, H


def _fields(
    where: str, op: str, ways: int, more: dict[str, Any]
) -> list[dict[str, Any]]:
    """Return the fields of the cell of each direction, from the attributes."""
    names = more.get("activations", _DEFAULTS[op] * ways)
    count = len(FIELDS[op])
    if len(names) != count * ways:
        raise ValueError(
            f"{where}: activations must be {count * ways}, got {list(names)}"
        )
    alpha, beta = more.get("activation_alpha", []), more.get("activation_beta", [])
    functions = _onnx_cells.read_functions(where, names, alpha, beta)
    clip = more.get("clip")
    if clip is not None and not 0 < clip < float("inf"):
        raise ValueError(f"{where}: clip must be positive and finite, got {clip}")
    for flag in ("input_forget", "linear_before_reset"):
        if more.get(flag, 0) not in (0, 1):
            raise ValueError(f"{where}: {flag} must be 0 or 1, got {more[flag]}")
    found = []
    for n in range(ways):
        own = functions[n * count : (n + 1) * count]
        fields: dict[str, Any] = dict(zip(FIELDS[op], own, strict=True))
        if clip is not None:
            bound = _onnx_cells.number(clip)
            fields |= {k: Clipped(fields[k], bound) for k in CLIPPED[op]}
        if op == "LSTM":
            fields["input_forget"] = bool(more.get("input_forget", 0))
        if op == "GRU":
            fields["reset_after"] = bool(more.get("linear_before_reset", 0))
        found.append(fields)
    return found
