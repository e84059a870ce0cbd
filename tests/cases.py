# SPDX-License-Identifier: Apache-2.0
"""Every cell that the generic tests run over: a new cell is one more row."""

import jax

import recurrent_jax as rj
from recurrent_jax.testing import Trial

CELLS = {
    "elman": rj.Elman(4),
    "elman_relu": rj.Elman(4, activation=jax.nn.relu, use_bias=False),
    "lstm": rj.LSTM(4),
    "lstm_no_output_activation": rj.LSTM(
        4, output_activation=jax.nn.identity, use_bias=False
    ),
    "peephole_lstm": rj.PeepholeLSTM(4, peephole_init=rj.initializers.glorot_uniform),
    "gru": rj.GRU(4),
    "gru_no_bias": rj.GRU(4, use_bias=False),
    "gru_reset_before": rj.GRU(4, reset_after=False),
}

# Enough for tests of the loop and of strategies, which know no cell.
FEW = dict(CELLS)

# The rest of the field: one row for each cell and each form of it.
CELLS |= {}

# What a cell reads that is not one array `(*lead, 3)`: a function of key, lead, dtype.
INPUTS = {}


def trial(name, **options):
    """Return a trial of the cell in a row."""
    return Trial(CELLS[name], inputs=INPUTS.get(name), **options)
