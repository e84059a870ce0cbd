# SPDX-License-Identifier: Apache-2.0
"""The one table of who orders gates how, which the converters read.

`docs/conventions.md` shows it, and a test keeps the two the same. To write it anew:
`python -m recurrent_jax.convert._gates`.
"""

import dataclasses

import numpy as np

from recurrent_jax.convert._arrays import Array, join, lose, split

# What stands side by side in our arrays.
ORDERS = {
    "Elman": "h",
    "LSTM": "ifgo",
    "PeepholeLSTM": "ifgo",
    "CIFG": "igo",
    "ProjectedLSTM": "ifgo",
    "GRU": "rzn",
    "MGU": "fn",
    "UGRNN": "fn",  # g and c in its own equations
    "ConvLSTM": "ifgo",
}
PEEPHOLES = "ifo"


@dataclasses.dataclass(frozen=True)
class Convention:
    """How one library lays out one layer; gates by the letters of our equations."""

    peer: str
    layer: str
    cell: str
    gates: str
    out_first: bool
    biases: str
    form: str
    start: str
    state: str
    negated: str = ""  # gates that open there where ours close
    forget: float = 0.0  # what is added to the forget gate at each step

    def ours(self, array: Array) -> Array:
        """Return a kernel or a bias of theirs in our layout."""
        array = array.T if self.out_first and array.ndim == 2 else array
        return _arrange(array, self.gates, ORDERS[self.cell], self.negated)

    def theirs(self, array: Array) -> Array:
        """Return a kernel or a bias of ours in their layout."""
        array = _arrange(array, ORDERS[self.cell], self.gates, self.negated)
        return array.T if self.out_first and array.ndim == 2 else array


def _arrange(array: Array, source: str, target: str, negated: str) -> Array:
    if source == target and not negated:
        return array
    parts = dict(zip(source, split(array, len(source)), strict=True))
    return join([-parts[gate] if gate in negated else parts[gate] for gate in target])


def arrange(array: Array, source: str, target: str) -> Array:
    """Return gates side by side in another order."""
    return _arrange(array, source, target, "")


def add_to_forget(row: Convention, bias: Array) -> Array:
    """Return a bias of ours that holds what they add to the forget gate."""
    parts = dict(zip(ORDERS[row.cell], split(bias, len(ORDERS[row.cell])), strict=True))
    parts["f"] = parts["f"] + np.asarray(row.forget, bias.dtype)
    return join(list(parts.values()))


def take_from_forget(where: str, row: Convention, bias: Array, nearest: bool) -> Array:
    """Return a bias of ours without what they will add to it, if that is exact."""
    parts = dict(zip(ORDERS[row.cell], split(bias, len(ORDERS[row.cell])), strict=True))
    less = parts["f"] - np.asarray(row.forget, bias.dtype)
    again = less + np.asarray(row.forget, bias.dtype)
    if (lost := np.abs(again - parts["f"])).any():
        lose(
            where,
            f"{row.peer} adds {row.forget} to the forget bias at each step, and "
            f"taking it off first rounds by up to {float(lost.max()):.1e}",
            nearest,
        )
    parts["f"] = less
    return join(list(parts.values()))


_TORCH = "all uniform in ±1/√H"
_KERAS = "Glorot uniform, orthogonal (all gates as one), 0"
_FLAX = "LeCun normal, orthogonal gate by gate, 0"
_HAIKU = "normal of variance 1/fan-in, cut, 0"
_AFTER = "reset after the product"
_BEFORE = "reset before the product"
_KEEPS = "z keeps the old"
_STORED = "forget bias 1, stored"
_NONE = "forget bias 0"

CONVENTIONS = (
    Convention(
        *("recurrent_jax", "Elman", "Elman", "h", False, "one", "tanh"),
        *("Glorot uniform, orthogonal, 0", "h"),
    ),
    Convention(
        *("recurrent_jax", "LSTM", "LSTM", "ifgo", False, "one", _STORED),
        *("Glorot uniform and orthogonal gate by gate, 0", "h, c"),
    ),
    Convention(
        *("recurrent_jax", "GRU", "GRU", "rzn", False),
        *("one, and one more of n (none if reset before)", f"{_AFTER}; {_KEEPS}"),
        *("Glorot uniform and orthogonal gate by gate, 0", "h"),
    ),
    Convention(
        *("PyTorch", "RNN", "Elman", "h", True, "two, added", "tanh or ReLU"),
        *(_TORCH, "h"),
    ),
    Convention(
        *("PyTorch", "LSTM", "LSTM", "ifgo", True, "two, added", _NONE),
        *(_TORCH, "h, c"),
    ),
    Convention(
        *("PyTorch", "GRU", "GRU", "rzn", True, "two; of r and z added"),
        *(f"{_AFTER}; {_KEEPS}", _TORCH, "h"),
    ),
    Convention(
        *("cuDNN", "LSTM", "LSTM", "ifgo", True, "two, added, behind all matrices"),
        *(_NONE, _TORCH, "h, c"),
    ),
    Convention(
        *("Keras", "SimpleRNN", "Elman", "h", False, "one", "tanh", _KERAS, "h"),
    ),
    Convention(
        *("Keras", "LSTM", "LSTM", "ifgo", False, "one", _STORED, _KERAS, "h, c"),
    ),
    Convention(
        *("Keras", "GRU", "GRU", "zrn", False),
        *("two rows if reset after, else one", f"{_AFTER} or before; {_KEEPS}"),
        *(_KERAS, "h"),
    ),
    Convention(
        *("Keras", "ConvLSTM2D", "ConvLSTM", "ifgo", False, "one"),
        *(f"{_STORED}; no padding of inputs", _KERAS, "h, c"),
    ),
    Convention(
        *("flax.linen", "SimpleCell", "Elman", "h", False, "one, of the input"),
        *("tanh", _FLAX, "h"),
    ),
    Convention(
        *("flax.linen", "LSTMCell", "LSTM", "ifgo", False, "one, of the state"),
        *(_NONE, _FLAX, "c, h"),
    ),
    Convention(
        *("flax.linen", "GRUCell", "GRU", "rzn", False),
        *("one of the input, one more of n", f"{_AFTER}; {_KEEPS}", _FLAX, "h"),
    ),
    Convention(
        *("flax.linen", "MGUCell", "MGU", "fn", False),
        *("one of the input, one more of n", f"{_AFTER}; f keeps the old"),
        *(f"{_FLAX}, 1 of f", "h"),
    ),
    Convention(
        *("flax.linen", "MGUCell(reset_gate=False)", "UGRNN", "fn", False),
        *("one, of the input", "f keeps the old", f"{_FLAX}, 1 of f", "h"),
    ),
    Convention(
        *("flax.linen", "ConvLSTMCell", "ConvLSTM", "igfo", False, "two, added"),
        *("1 added to f at each step", "LeCun normal, 0", "c, h"),
        forget=1.0,
    ),
    Convention(
        *("flax.nnx", "SimpleCell", "Elman", "h", False, "one, of the input"),
        *("tanh", _FLAX, "h"),
    ),
    Convention(
        *("flax.nnx", "LSTMCell", "LSTM", "ifgo", False, "one, of the state"),
        *(_NONE, _FLAX, "c, h"),
    ),
    Convention(
        *("flax.nnx", "OptimizedLSTMCell", "LSTM", "ifgo", False),
        *("one, of the state", _NONE),
        *("LeCun normal, orthogonal (all gates as one), 0", "c, h"),
    ),
    Convention(
        *("flax.nnx", "GRUCell", "GRU", "rzn", False, "one, of the input"),
        *(f"{_AFTER}; {_KEEPS}", "LeCun normal, orthogonal (all gates as one), 0", "h"),
    ),
    Convention(
        *("Haiku", "VanillaRNN", "Elman", "h", False, "two, added", "ReLU"),
        *(_HAIKU, "h"),
    ),
    Convention(
        *("Haiku", "LSTM", "LSTM", "igfo", False, "one"),
        *("1 added to f at each step", _HAIKU, "h, c"),
        forget=1.0,
    ),
    Convention(
        *("Haiku", "GRU", "GRU", "zrn", False, "one"),
        *(f"{_BEFORE}; z takes the new", _HAIKU, "h"),
        negated="z",
    ),
    Convention(
        *("Equinox", "LSTMCell", "LSTM", "ifgo", True, "one", _NONE, _TORCH, "h, c"),
    ),
    Convention(
        *("Equinox", "GRUCell", "GRU", "rzn", True, "one, and one more of n"),
        *(f"{_AFTER}; {_KEEPS}", _TORCH, "h"),
    ),
    Convention(
        *("ONNX", "RNN", "Elman", "h", True, "two, added", "tanh by default", "-", "h"),
    ),
    Convention(
        *("ONNX", "LSTM", "LSTM", "iofg", True, "two, added"),
        *("peepholes i, o, f; o sees the new c", "-", "h, c"),
    ),
    Convention(
        *("ONNX", "GRU", "GRU", "zrn", True, "two; of z and r added"),
        *(f"{_BEFORE} or after (`linear_before_reset`); {_KEEPS}", "-", "h"),
    ),
)


def find(peer: str, layer: str) -> Convention:
    """Return the row of one layer."""
    (row,) = (c for c in CONVENTIONS if (c.peer, c.layer) == (peer, layer))
    return row


def table() -> str:
    """Return the table of `docs/conventions.md`, in Markdown."""
    head = "library|layer|ours|gates|weights|biases|form|at the start|state".split("|")
    rows = [
        (
            c.peer,
            f"`{c.layer}`",
            f"`{c.cell}`",
            ", ".join(c.gates),
            "(out, in)" if c.out_first else "(in, out)",
            *(c.biases, c.form, c.start, c.state),
        )
        for c in CONVENTIONS
    ]
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    print(table())
