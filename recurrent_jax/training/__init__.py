# SPDX-License-Identifier: Apache-2.0
"""Recipes for training, on top of Optax."""

from recurrent_jax.training._batching import batch, windows
from recurrent_jax.training._checkpoints import CheckpointError, restore, save
from recurrent_jax.training._clipping import clipping
from recurrent_jax.training._labels import decayed, labels, relative_rates
from recurrent_jax.training._losses import cross_entropy, masked_mean, squared_error
from recurrent_jax.training._penalties import (
    activity_penalty,
    temporal_activity_penalty,
)
from recurrent_jax.training._recipes import adamw
from recurrent_jax.training._scaling import Standardiser, standardiser
from recurrent_jax.training._step import Metrics, State, init, step
from recurrent_jax.training._streams import Chunk, chunk, chunks, streams, truncated

__all__ = [
    "CheckpointError",
    "Chunk",
    "Metrics",
    "Standardiser",
    "State",
    "activity_penalty",
    "adamw",
    "batch",
    "chunk",
    "chunks",
    "clipping",
    "cross_entropy",
    "decayed",
    "init",
    "labels",
    "masked_mean",
    "relative_rates",
    "restore",
    "save",
    "squared_error",
    "standardiser",
    "step",
    "streams",
    "temporal_activity_penalty",
    "truncated",
    "windows",
]
