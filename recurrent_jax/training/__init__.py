# SPDX-License-Identifier: Apache-2.0
"""Recipes for training, on top of Optax."""

from recurrent_jax._core import serial
from recurrent_jax.training._batching import batch_indices, windows
from recurrent_jax.training._checkpoints import CheckpointError, restore, save
from recurrent_jax.training._clipping import clipping
from recurrent_jax.training._labels import decayed, labels, relative_rates
from recurrent_jax.training._losses import cross_entropy, masked_mean, squared_error
from recurrent_jax.training._penalties import (
    activity_penalty,
    temporal_activity_penalty,
)
from recurrent_jax.training._processes import process_indices
from recurrent_jax.training._recipes import adamw
from recurrent_jax.training._scaling import Standardiser, standardiser
from recurrent_jax.training._step import Metrics, State, init_state, train_step
from recurrent_jax.training._streams import (
    Chunk,
    count_chunks,
    cut_streams,
    take_chunk,
    train_chunk,
)

__all__ = [
    "CheckpointError",
    "Chunk",
    "Metrics",
    "Standardiser",
    "State",
    "activity_penalty",
    "adamw",
    "batch_indices",
    "clipping",
    "count_chunks",
    "cross_entropy",
    "cut_streams",
    "decayed",
    "init_state",
    "labels",
    "masked_mean",
    "process_indices",
    "relative_rates",
    "restore",
    "save",
    "squared_error",
    "standardiser",
    "take_chunk",
    "temporal_activity_penalty",
    "train_chunk",
    "train_step",
    "windows",
]

serial.register_loaded()
