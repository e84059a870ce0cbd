# SPDX-License-Identifier: Apache-2.0
"""One published cell per file."""

from recurrent_jax.cells._elman import Elman, ElmanCarry, ElmanParams
from recurrent_jax.cells._gru import GRU, GRUCarry, GRUParams
from recurrent_jax.cells._lstm import LSTM, LSTMCarry, LSTMParams
from recurrent_jax.cells._peephole_lstm import (
    PeepholeLSTM,
    PeepholeLSTMCarry,
    PeepholeLSTMParams,
)

__all__ = [
    "GRU",
    "LSTM",
    "Elman",
    "ElmanCarry",
    "ElmanParams",
    "GRUCarry",
    "GRUParams",
    "LSTMCarry",
    "LSTMParams",
    "PeepholeLSTM",
    "PeepholeLSTMCarry",
    "PeepholeLSTMParams",
]
