# SPDX-License-Identifier: Apache-2.0
"""Recurrent networks in JAX: cells as pure functions, one loop, exact gradients."""

import importlib
from typing import Any

from recurrent_jax import initializers
from recurrent_jax._backward import (
    Autodiff,
    Checkpointed,
    ClippedBackward,
    Deferred,
    Truncated,
)
from recurrent_jax._cell import Cell, Sampled, affine, lift
from recurrent_jax._unroll import unroll
from recurrent_jax.cells import (
    GRU,
    LSTM,
    Elman,
    ElmanCarry,
    ElmanParams,
    GRUCarry,
    GRUParams,
    LSTMCarry,
    LSTMParams,
    PeepholeLSTM,
    PeepholeLSTMCarry,
    PeepholeLSTMParams,
)

__version__ = "0.1.0"

__all__ = [
    "GRU",
    "LSTM",
    "Autodiff",
    "Cell",
    "Checkpointed",
    "ClippedBackward",
    "Deferred",
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
    "Sampled",
    "Truncated",
    "affine",
    "initializers",
    "lift",
    "testing",
    "training",
    "unroll",
]


def __getattr__(name: str) -> Any:
    # Loaded on first use: `training` needs Optax, the core needs JAX alone.
    if name in ("testing", "training"):
        return importlib.import_module(f"recurrent_jax.{name}")
    raise AttributeError(f"module 'recurrent_jax' has no attribute {name!r}")
