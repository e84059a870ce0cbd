# SPDX-License-Identifier: Apache-2.0
"""Names that a cell or the package does not have, and what to write instead."""

import difflib
from collections.abc import Iterable
from typing import Any, NoReturn

_RUN = "unroll(cell, params, xs) runs a sequence"
_INIT = "a cell holds no arrays: params = cell.init(key, in_features) returns them"
_MODE = "there is no mode: dropout acts where unroll gets key=..."
_SUMMARY = "diagnostics.summary(cell, in_features=...) has sizes and shapes"
_DENSE = (
    "this library has recurrent layers alone; a dense layer is ys @ kernel + bias, or "
    "one of Flax or Equinox"
)
_PADDED = "unroll takes lengths=... or mask=..., and nothing is packed"

# What objects of other libraries have, and a cell does not.
_OF_A_CELL = {
    **dict.fromkeys(("parameters", "state_dict", "get_weights", "weights"), _INIT),
    **dict.fromkeys(("params", "variables", "build"), _INIT),
    **dict.fromkeys(("shape", "dtype", "ndim", "size", "astype"), _INIT),
    **dict.fromkeys(("load_state_dict", "set_weights"), "convert reads weights"),
    **dict.fromkeys(("eval", "train", "training"), _MODE),
    **dict.fromkeys(("to", "cuda", "cpu"), "jax.device_put(params, device) moves them"),
    **dict.fromkeys(("apply", "forward", "predict", "unroll"), _RUN),
    **dict.fromkeys(
        ("initialize_carry", "init_carry", "initial_state", "zero_state"),
        "it is initial_carry(batch_shape) here",
    ),
    **dict.fromkeys(("get_initial_state", "init_hidden"), "it is initial_carry here"),
    "num_feature_axes": "loops of Flax run modules: linen.RNN(cell) is one, and "
    "linen.RNNCell(cell) a cell for flax.linen.RNN; nnx has both too",
    **dict.fromkeys(("summary", "tabulate", "count_params", "num_params"), _SUMMARY),
    **dict.fromkeys(("fit", "compile"), "a loop over Optax trains it, see training"),
    **dict.fromkeys(("units", "features", "num_units"), "it is hidden_size here"),
    **dict.fromkeys(
        ("reset_states", "reset_state"),
        "the carry goes in and comes out: unroll(..., carry=carry)",
    ),
}
# What other libraries have at their top.
_OF_THE_PACKAGE = {
    **dict.fromkeys(("Linear", "Dense", "TimeDistributed", "Embedding"), _DENSE),
    **dict.fromkeys(("Masking", "pack_padded_sequence"), _PADDED),
    "pad_packed_sequence": _PADDED,
    "pad_sequence": "it is ragged.pad here",
    **dict.fromkeys(("StackedRNNCells", "MultiRNNCell"), "Stack has cells in a cell"),
    **dict.fromkeys(("summary", "tabulate"), _SUMMARY),
    **dict.fromkeys(("scan", "dynamic_unroll", "dynamic_rnn"), _RUN),
    "nn": "cells are at the top, such as LSTM; modules are in linen and nnx",
    "rl": "it is reinforcement here",
    "flax": "modules are in linen and nnx",
}


def of_cell(cell: Any, name: str) -> AttributeError:
    """Return the error for an attribute that a cell or network does not have."""
    kind = type(cell).__name__
    if name == "step":  # of a network
        hint = (
            ", since a layer may need the whole sequence; unroll runs it, "
            "recurrent_jax.streaming.step steps a Deep, and a Stack of cells is a cell"
        )
    else:
        hint = f"; {_OF_A_CELL[name]}" if name in _OF_A_CELL else ""
    return AttributeError(f"{kind} has no attribute {name}{hint}", name=name, obj=cell)


def of_package(name: str, known: Iterable[str]) -> AttributeError:
    """Return the error for a name that the package does not have."""
    short = name.removesuffix("Cell").removesuffix("Layer")
    alike = {one.lower(): one for one in known if one != name}
    if name in known:
        hint = "; it is in __all__ and not imported"
    elif name in _OF_THE_PACKAGE:
        hint = f"; {_OF_THE_PACKAGE[name]}"
    elif name.startswith(("from_", "to_")):
        hint = "; converters are in convert"
    elif short.lower() in ("rnn", "simplernn", "vanillarnn"):
        hint = "; the plain RNN is Elman, and unroll runs any cell"
    elif close := difflib.get_close_matches(short.lower(), alike, 1, 0.75):
        hint = f"; did you mean {alike[close[0]]}?"
    else:
        hint = ""
    return AttributeError(
        f"module 'recurrent_jax' has no attribute {name!r}{hint}", name=name
    )


def of_module(room: str, name: str) -> AttributeError:
    """Return the error for a name that a room of modules does not have."""
    hint = "; modules run any cell, such as RNN(recurrent_jax.LSTM(...), ...)"
    hint = hint if name[:1].isupper() else ""  # not for what Python asks for
    return AttributeError(
        f"module 'recurrent_jax.{room}' has no attribute {name!r}{hint}", name=name
    )


def called_like_a_function(cell: Any, steps: bool) -> NoReturn:
    """Raise the error for a call of a cell, or of a network, which takes no steps."""
    step = "; cell.step(params, carry, x) takes one step" if steps else ""
    raise TypeError(
        f"{type(cell).__name__}: it is a value and not called: unroll(cell, params, "
        f"xs) runs it over a sequence{step}; linen.RNN(cell) and nnx.RNN(cell, ...) "
        "are modules that are called"
    )
