# SPDX-License-Identifier: Apache-2.0
"""Cells made from cells, one wrapper per file."""

from recurrent_jax._core.cell import Sampled
from recurrent_jax.wrappers._attention import (
    Attention,
    AttentionCarry,
    AttentionParams,
    Memory,
)
from recurrent_jax.wrappers._input_dropout import InputDropout
from recurrent_jax.wrappers._learned_carry import LearnedCarry, LearnedCarryParams
from recurrent_jax.wrappers._mixed_precision import (
    MixedPrecision,
    MixedPrecisionPrepared,
)
from recurrent_jax.wrappers._output_dropout import OutputDropout
from recurrent_jax.wrappers._recurrent_dropout import RecurrentDropout
from recurrent_jax.wrappers._residual import Residual
from recurrent_jax.wrappers._stack import Stack
from recurrent_jax.wrappers._structured import Structured, StructuredParams
from recurrent_jax.wrappers._weight_drop import weight_drop
from recurrent_jax.wrappers._with_carry import Recorded, WithCarry
from recurrent_jax.wrappers._wrapper import Wrapper
from recurrent_jax.wrappers._zoneout import Zoneout

__all__ = [
    "Attention",
    "AttentionCarry",
    "AttentionParams",
    "InputDropout",
    "LearnedCarry",
    "LearnedCarryParams",
    "Memory",
    "MixedPrecision",
    "MixedPrecisionPrepared",
    "OutputDropout",
    "Recorded",
    "RecurrentDropout",
    "Residual",
    "Sampled",
    "Stack",
    "Structured",
    "StructuredParams",
    "WithCarry",
    "Wrapper",
    "Zoneout",
    "weight_drop",
]
