# SPDX-License-Identifier: Apache-2.0
"""The parameter trees of single cells of Flax."""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from recurrent_jax._core.types import Activation
from recurrent_jax.cells import (
    GRU,
    LSTM,
    MGU,
    UGRNN,
    ConvLSTM,
    ConvLSTMParams,
    Elman,
    ElmanParams,
    GRUParams,
    LSTMParams,
    MGUParams,
    ResidualElman,
    ResidualElmanParams,
    UGRNNParams,
)
from recurrent_jax.convert import _arrays, _biases, _layers
from recurrent_jax.convert._arrays import Array, join, nothing, split
from recurrent_jax.convert._gates import (
    Convention,
    add_to_forget,
    find,
    take_from_forget,
)
from recurrent_jax.convert._layers import Direction

Tree = Mapping[str, Any]


_COMPACT = re.compile(r"Cell_\d+$")  # as @nn.compact names cells


class Settings(NamedTuple):
    """What no parameter tells."""

    where: str
    argument: str
    gate_fn: Activation
    activation_fn: Activation
    spatial_shape: tuple[int, ...] | None
    residual: bool


class Form(NamedTuple):
    """A tree with one module for each gate and side: `ii` takes the input to gate i."""

    row: Convention
    kind: Any
    params: Any
    side: str  # that has the bias, `i` for input or `h` for state
    again: bool  # whether the last gate has another one, on the side of the state

    @property
    def gates(self) -> list[str]:
        """Names of the gates; that of a plain cell is empty."""
        return [""] if self.kind is Elman else list(self.row.gates)

    def biased(self) -> list[str]:
        """Return the modules with a bias."""
        return [self.side + g for g in self.gates] + ["h" + self.gates[-1]] * self.again


_UGRNN = find("flax.linen", "MGUCell(reset_gate=False)")
FORMS = (
    Form(find("flax.linen", "SimpleCell"), Elman, ElmanParams, "i", False),
    Form(find("flax.linen", "LSTMCell"), LSTM, LSTMParams, "h", False),
    Form(find("flax.linen", "GRUCell"), GRU, GRUParams, "i", True),
    Form(find("flax.linen", "MGUCell"), MGU, MGUParams, "i", True),
    Form(_UGRNN, UGRNN, UGRNNParams, "i", False),
)


def _read(where: str, tree: Tree) -> dict[str, Array]:
    """Return arrays by `module/name`; NNX writes `if_` for `if`, a word of Python's."""
    weights = {}
    for module, arrays in tree.items():
        _arrays.mapping(where, repr(module), arrays, "arrays")
        for name, value in arrays.items():
            full = f"{str(module).removesuffix('_')}/{name}"
            weights[full] = _arrays.read(where, full, value)
    return weights


def from_linen(settings: Settings, tree: Tree) -> Direction:
    """Return the cell that a tree belongs to, and its parameters."""
    modules = {str(name).removesuffix("_") for name in tree}
    if modules == {"ih", "hh"}:
        return _conv(settings, _read(settings.where, tree))
    for form in FORMS:
        if modules == {side + gate for side in "ih" for gate in form.gates}:
            weights = _read(settings.where, tree)
            if form.kind is MGU and "hn/bias" not in weights:
                continue  # without a reset gate, which is UGRNN
            return _by_gate(settings, form, weights)
    if cells := sorted(name for name in modules if _COMPACT.search(name)):
        raise ValueError(
            f"{settings.where}: this is a whole model, with the cells {cells}; pass "
            f"the parameters of its layers as a list, [params[{cells[0]!r}], ...], and "
            "of two directions {'forward': params[...], 'backward': params[...]} for "
            "each layer"
        )
    raise ValueError(
        f"{settings.where}: {sorted(modules)} are the parts of no cell of Flax. The "
        "cell of an RNN stands under 'cell', the layers of a Sequential under "
        "'layers_0' and so on; of a larger model pass a list of the recurrent layers, "
        "{'forward': ..., 'backward': ...} for two directions"
    )


def _by_gate(settings: Settings, form: Form, weights: dict[str, Array]) -> Direction:
    gates, biased = form.gates, form.biased()
    wanted = [f"{side}{gate}/kernel" for side in "ih" for gate in gates]
    wanted += [f"{module}/bias" for module in biased]
    _arrays.keys(settings.where, weights, wanted)
    _arrays.rank(settings.where, weights, {n: 1 + n.endswith("l") for n in wanted})
    features, H = weights[wanted[0]].shape
    shapes: dict[str, tuple[int, ...]] = {
        name: (H,) if name.endswith("bias") else (features if name[0] == "i" else H, H)
        for name in wanted
    }
    _arrays.check(settings.where, weights, shapes)
    parts = [
        join([weights[f"{side}{gate}/{name}"] for gate in gates])
        for side, name in (("i", "kernel"), ("h", "kernel"), (form.side, "bias"))
    ]
    parts += [weights[f"{biased[-1]}/bias"]] if form.again else []
    params = form.params(*parts)
    if form.kind is Elman and settings.residual:
        params = ResidualElmanParams(*parts)
    return Direction(_cell(settings, form.kind, H), params)


def _cell(settings: Settings, kind: Any, H: int) -> Any:
    phi, sigma = settings.activation_fn, settings.gate_fn
    if kind is Elman:
        return (ResidualElman if settings.residual else Elman)(H, activation=phi)
    if kind is LSTM:
        return LSTM(H, activation=phi, output_activation=phi, gate_activation=sigma)
    form = {"gate_keeps_old": True, "reset_after": True} if kind is MGU else {}
    return kind(H, activation=phi, gate_activation=sigma, **form)


def _conv(settings: Settings, weights: dict[str, Array]) -> Direction:
    where, shape = settings.where, settings.spatial_shape
    biases = [n for n in ("ih/bias", "hh/bias") if n in weights]
    _arrays.keys(where, weights, ["ih/kernel", "hh/kernel", *(biases and _CONV[2:])])
    if shape is None:
        raise ValueError(
            f"{where}: a ConvLSTMCell needs the size of its images, spatial_shape=(...)"
        )
    n = len(shape)
    _arrays.rank(where, weights, {m: n + 2 if "k" in m else 1 for m in weights})
    *window, _, wide = weights["ih/kernel"].shape
    shapes: dict[str, tuple[int, ...]] = {n: (wide,) for n in biases}
    shapes["hh/kernel"] = (*window, wide // 4, wide)
    _arrays.check(where, weights, shapes)
    row = find("flax.linen", "ConvLSTMCell")
    bias = None
    if biases:
        both = _biases.added(row, weights["ih/bias"], weights["hh/bias"])
        bias = add_to_forget(row, both)
    cell = ConvLSTM(
        wide // 4,
        shape,
        kernel_shape=tuple(window),
        use_bias=bool(biases),
        use_peephole=False,
    )
    kernel, recurrent_kernel = (row.ours(weights[name]) for name in _CONV[:2])
    return Direction(cell, ConvLSTMParams(kernel, recurrent_kernel, bias, None))


_CONV = ("ih/kernel", "hh/kernel", "ih/bias", "hh/bias")


def to_linen(where: str, way: Direction, nearest: bool) -> dict[str, Any]:
    """Return the tree of one cell."""
    _check(where, way, nearest)
    if isinstance(way.cell, ConvLSTM):
        return _to_conv(where, way, nearest)
    cell, params = _layers.with_bias(where, "Flax", way, nearest)
    kind = Elman if isinstance(cell, ResidualElman) else type(cell)
    (form,) = (f for f in FORMS if f.kind is kind)
    tree: dict[str, Any] = {}
    for side, wide in (("i", params.kernel), ("h", params.recurrent_kernel)):
        for gate, kernel in zip(form.gates, split(wide, len(form.gates)), strict=True):
            tree[side + gate] = {"kernel": kernel}
    for gate, bias in zip(form.gates, split(params.bias, len(form.gates)), strict=True):
        tree[form.side + gate]["bias"] = bias
    if form.again:
        bias = params.recurrent_bias
        bias = nothing(params.bias[: cell.hidden_size]) if bias is None else bias
        tree[form.biased()[-1]]["bias"] = bias
    return tree


def _check(where: str, way: Direction, nearest: bool) -> None:
    cell, params = way
    if isinstance(cell, LSTM | ConvLSTM):
        same = {"output_activation": (cell.activation,)}
        _layers.activations(where, "Flax", cell, nearest, **same)
    if isinstance(cell, GRU | MGU):
        _layers.reset_after(where, "Flax", cell, nearest)
    if isinstance(cell, MGU) and not cell.gate_keeps_old:
        _arrays.lose(where, "the gate of Flax's MGU keeps the old state", nearest)
    if getattr(params, "peephole", None) is not None:
        _arrays.lose(where, "Flax has no peepholes, so outputs will differ", nearest)


def _to_conv(where: str, way: Direction, nearest: bool) -> dict[str, Any]:
    cell, params = way
    plain = ConvLSTM(1, cell.spatial_shape)
    for name in ("activation", "gate_activation", "strides", "padding"):
        if getattr(cell, name) != getattr(plain, name):
            raise ValueError(
                f"{where}: a ConvLSTMCell is converted only with the default {name}, "
                f"got {cell!r}"
            )
    row = find("flax.linen", "ConvLSTMCell")
    tree = {
        "ih": {"kernel": row.theirs(params.kernel)},
        "hh": {"kernel": row.theirs(params.recurrent_kernel)},
    }
    if params.bias is not None:
        bias = row.theirs(take_from_forget(where, row, params.bias, nearest))
        tree["ih"]["bias"], tree["hh"]["bias"] = bias, nothing(bias)
    return tree


def from_nnx(settings: Settings, tree: Tree) -> Direction:
    """Return the cell that a tree belongs to, and its parameters."""
    if {str(name) for name in tree} != {"dense_i", "dense_h"}:
        return from_linen(settings, tree)
    where, weights = settings.where, _read(settings.where, tree)
    names = ("dense_i/kernel", "dense_h/kernel", "dense_i/bias", "dense_h/bias")
    wanted = [n for n in names if n in weights or n.endswith("kernel")]
    _arrays.keys(where, weights, wanted)
    _arrays.rank(where, weights, {n: 1 + n.endswith("l") for n in wanted})
    kernel, U, b, b_r = (weights.get(name) for name in names)
    assert kernel is not None and U is not None
    H, wide = U.shape
    shapes: dict[str, tuple[int, ...]] = {n: (wide,) for n in wanted[2:]}
    _arrays.check(where, weights, {"dense_i/kernel": (kernel.shape[0], wide)} | shapes)
    if wide == 4 * H and b is None and b_r is not None:
        return Direction(_cell(settings, LSTM, H), LSTMParams(kernel, U, b_r))
    if wide == 3 * H and b is not None:
        pair = _biases.gru_added(_GRU, b, nothing(b) if b_r is None else b_r)
        return Direction(_cell(settings, GRU, H), GRUParams(kernel, U, *pair))
    if wide == H and b is not None and b_r is None:
        plain = ResidualElmanParams if settings.residual else ElmanParams
        return Direction(_cell(settings, Elman, H), plain(kernel, U, b))
    raise ValueError(
        f"{where}: kernels of {wide} columns for {H} units, with {wanted[2:]}, are of "
        "no cell: an OptimizedLSTMCell has four times as many and dense_h/bias, a "
        "GRUCell three times and a SimpleCell as many, and dense_i/bias"
    )


_GRU = find("flax.nnx", "GRUCell")


def to_nnx(
    where: str, way: Direction, optimized: bool, nearest: bool
) -> dict[str, Any]:
    """Return the tree of one cell."""
    if isinstance(way.cell, LSTM) and not optimized:
        tree = to_linen(where, way, nearest)
        return {"if_" if name == "if" else name: part for name, part in tree.items()}
    _check(where, way, nearest)
    cell, params = _layers.with_bias(where, "Flax", way, nearest)
    second = getattr(params, "recurrent_bias", None)
    if second is not None and np.any(second):
        _arrays.lose(
            where,
            "the GRUCell of flax.nnx has no second bias of the candidate, which here "
            f"is up to {float(np.abs(second).max()):.1e}, so outputs will differ",
            nearest,
        )
    on_input, on_state = {"bias": params.bias}, dict[str, Array]()
    if isinstance(cell, LSTM):
        on_input, on_state = on_state, on_input
    return {
        "dense_i": {"kernel": params.kernel, **on_input},
        "dense_h": {"kernel": params.recurrent_kernel, **on_state},
    }
