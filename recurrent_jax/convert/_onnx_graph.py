# SPDX-License-Identifier: Apache-2.0
"""The graph of an ONNX model: recurrent nodes, and what stands between them."""

from typing import TYPE_CHECKING, Any

import numpy as np

from recurrent_jax.convert import _arrays
from recurrent_jax.convert._arrays import Array
from recurrent_jax.convert._onnx_cells import ROWS

if TYPE_CHECKING:
    import onnx

_REDUCE = {"ReduceSum": "sum", "ReduceMean": "mean", "ReduceProd": "product"}
# What may happen to states on their way into the graph and out of it.
_SHAPES = {"Concat", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze"}
_PICKS = {"Expand", "Gather", "Identity", "Reshape", "Slice", "Squeeze", "Unsqueeze"}


def name_of(node: Any) -> str:
    """Return the start of a message about a node."""
    at = node.name or ", ".join(node.output)
    return f"from_onnx: {node.op_type} {at!r}"


def attributes_of(node: Any) -> dict[str, Any]:
    """Return attributes as plain values of Python."""
    from onnx import helper

    def plain(value: Any) -> Any:
        if isinstance(value, bytes):
            return value.decode(errors="replace")
        return [plain(v) for v in value] if _arrays.is_list(value) else value

    return {a.name: plain(helper.get_attribute_value(a)) for a in node.attribute}


def _value(where: str, name: str, tensor: Any) -> Array:
    """Return the array that a tensor of a file says it is."""
    from onnx import numpy_helper

    try:
        return numpy_helper.to_array(tensor)
    # A KeyError is of a dtype that there is not.
    except (ValueError, TypeError, KeyError, OverflowError, MemoryError) as error:
        raise ValueError(
            f"{where}: {name!r} is damaged: {_arrays.reason(error)}"
        ) from error


class Graph:
    """The nodes of a model, and what is known of the values between them."""

    def __init__(self, model: "onnx.ModelProto") -> None:
        self.outputs = [o.name for o in model.graph.output]
        self.makers = {name: n for n in model.graph.node for name in n.output if name}
        self.tensors = {t.name: t for t in model.graph.initializer}
        self.inputs = {i.name for i in model.graph.input} - set(self.tensors)
        self.recurrent = [
            n
            for n in model.graph.node
            if n.op_type in ROWS and n.domain in ("", "ai.onnx")
        ]
        self.is_batch_first = self.is_merged = False
        self._states: dict[str, bool] = {}
        self._starts: dict[str, bool] = {}
        if not self.recurrent:
            raise ValueError(
                "from_onnx: there is no RNN, LSTM or GRU among the nodes "
                f"{sorted({n.op_type for n in model.graph.node})}"
            )

    def chain(self) -> list[str | None]:
        """Check that nodes follow on one another, and return how each is merged."""
        merges: list[str | None] = []
        for n, node in enumerate(self.recurrent):
            source, merge = self.source(node.input[0])
            if source != n - 1:
                raise ValueError(
                    f"{name_of(node)}: X is neither the output of the recurrent node "
                    "before it nor the input of the model; branches are not understood"
                )
            if n and merge is None:
                raise ValueError(f"{name_of(node)}: X has an axis of directions")
            merges.append(merge)
        last: set[str | None] = set()
        for name in self.outputs:
            if not self._is_state(name):
                source, merge = self.source(name)
                last.add(merge)
                if source != len(self.recurrent) - 1 or len(last) > 1:
                    raise ValueError(
                        f"from_onnx: the output {name!r} is not that of the last "
                        "recurrent node, or one of several forms of it"
                    )
        merges.append(last.pop() if last else None)
        self.is_merged = merges[-1] is not None
        return merges[1:]

    def source(self, name: str) -> tuple[int, str | None]:
        """Return which node made a value, -1 for an input, and by what merge."""
        if name in self.inputs:
            return -1, None
        node = self._maker(name)
        op, more = node.op_type, attributes_of(node)
        if any(node is n for n in self.recurrent) and name == node.output[0]:
            return [node is n for n in self.recurrent].index(True), None
        if op == "Identity":
            return self.source(node.input[0])
        if op == "Transpose" and more.get("perm") == [1, 0, 2]:
            index, merge = self.source(node.input[0])
            self.is_batch_first |= index == -1
            if index in (-1, len(self.recurrent) - 1):
                return index, merge
        elif op == "Reshape" and self._joins(node):
            return self._raw(self._maker(node.input[0]).input[0]), "concatenate"
        elif op == "Squeeze" and self._axes(node, more) == [1]:
            return self._raw(node.input[0]), "first"
        elif op in _REDUCE and self._axes(node, more) == [1]:
            if more.get("keepdims", 1) == 0:
                return self._raw(node.input[0]), _REDUCE[op]
        raise ValueError(
            f"{name_of(node)} is not understood; only recurrent nodes and what brings "
            "their axes in order can be converted: onnx.utils.extract_model takes that "
            "part of a model out"
        )

    def _maker(self, name: str) -> Any:
        if name not in self.makers:
            raise ValueError(
                f"from_onnx: {name!r} is a constant, not an input or output"
            )
        return self.makers[name]

    def _raw(self, name: str) -> int:
        """Return which node made an output that still has an axis of directions."""
        index, merge = self.source(name)
        if index < 0 or merge is not None:
            raise ValueError(f"from_onnx: {name!r} has no axis of directions to merge")
        return index

    def _joins(self, node: Any) -> bool:
        """Whether this puts directions side by side, behind a transpose."""
        before = self.makers.get(node.input[0])
        if before is None or before.op_type != "Transpose":
            return False
        is_swap = attributes_of(before).get("perm") == [0, 2, 1, 3]
        shape = self.constant(name_of(node), node.input[1])
        return is_swap and shape.tolist() == [0, 0, -1]

    def _axes(self, node: Any, more: dict[str, Any]) -> Any:
        if "axes" in more or len(node.input) < 2:
            return more.get("axes")
        return self.constant(name_of(node), node.input[1]).tolist()

    def constant(self, where: str, name: str) -> Array:
        """Return the value of an initialiser, or of a node `Constant`."""
        node, tensor = self.makers.get(name), self.tensors.get(name)
        if node is not None and node.op_type == "Identity":
            return self.constant(where, node.input[0])
        if node is not None and node.op_type == "Constant":
            tensor = attributes_of(node).get("value")
        if tensor is None:
            raise ValueError(f"{where}: {name!r} must be a constant in the model")
        return _value(where, name, tensor)

    def _is_state(self, name: str) -> bool:
        """Whether a value is made of final states, however arranged."""
        node = self.makers.get(name)
        if name not in self._states:
            if node is None:
                known = False
            elif any(node is n for n in self.recurrent):
                known = name != node.output[0]
            else:
                data = node.input if node.op_type == "Concat" else node.input[:1]
                is_shape = node.op_type in _SHAPES and len(data) > 0
                known = is_shape and all(map(self._is_state, data))
            self._states[name] = known
        return self._states[name]

    def is_start(self, name: str) -> bool:
        """Whether a value is zero, or cut out of an input of the model."""
        node = self.makers.get(name)
        if name not in self._starts:
            if name in self.inputs:
                known = True
            elif node is None or node.op_type == "Constant":
                known = not np.any(self.constant("from_onnx", name))
            elif node.op_type == "ConstantOfShape":
                value = attributes_of(node).get("value")
                known = value is None or not np.any(_value("from_onnx", name, value))
            else:
                known = node.op_type in _PICKS and self.is_start(node.input[0])
            self._starts[name] = known
        return self._starts[name]
