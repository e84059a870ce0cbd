# SPDX-License-Identifier: Apache-2.0
"""Flax Linen: cells and networks as modules.

Inputs are batch-major, `(batch, time, features)`, as everywhere in Flax. Parameters are
a nested dict by field name: `{"kernel": ..., "recurrent_kernel": ..., "bias": ...}`.
"""

from typing import TYPE_CHECKING, Any

from recurrent_jax import _flax as _flax  # first: its error says how to install Flax
from recurrent_jax._checks import attributes as _attributes
from recurrent_jax._flax.axis_names import axis_rules
from recurrent_jax.linen._axes import logical_axes
from recurrent_jax.linen._from_flax import FromFlax
from recurrent_jax.linen._rnn_cell import RNNCell
from recurrent_jax.linen._sequence import RNN, Bidirectional, Deep
from recurrent_jax.linen._weights import from_flax, pack, to_flax, unpack

__all__ = [
    "RNN",
    "Bidirectional",
    "Deep",
    "FromFlax",
    "RNNCell",
    "axis_rules",
    "from_flax",
    "logical_axes",
    "pack",
    "to_flax",
    "unpack",
]

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        raise _attributes.of_module("linen", name)
