# SPDX-License-Identifier: Apache-2.0
"""Flax NNX: cells and networks as modules.

Inputs are batch-major, `(batch, time, features)`, as everywhere in Flax. Parameters are
`nnx.Param` leaves by field name: `rnn.params.kernel`, `rnn.params.recurrent_kernel`.
"""

from typing import TYPE_CHECKING, Any

from recurrent_jax import _flax as _flax  # first: its error says how to install Flax
from recurrent_jax._checks import attributes as _attributes
from recurrent_jax._flax.axis_names import axis_rules
from recurrent_jax.nnx._axes import logical_axes
from recurrent_jax.nnx._from_flax import FromFlax
from recurrent_jax.nnx._module import unpack
from recurrent_jax.nnx._rnn_cell import RNNCell
from recurrent_jax.nnx._sequence import RNN, Bidirectional, Deep
from recurrent_jax.nnx._weights import from_flax, load, to_flax

__all__ = [
    "RNN",
    "Bidirectional",
    "Deep",
    "FromFlax",
    "RNNCell",
    "axis_rules",
    "from_flax",
    "load",
    "logical_axes",
    "to_flax",
    "unpack",
]

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        raise _attributes.of_module("nnx", name)
