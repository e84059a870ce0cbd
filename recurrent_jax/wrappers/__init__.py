# SPDX-License-Identifier: Apache-2.0
"""Cells made from cells, one wrapper per file."""

from recurrent_jax.wrappers._attention import (
    Attention,
    AttentionCarry,
    AttentionParams,
    Memory,
)
from recurrent_jax.wrappers._input_dropout import InputDropout
from recurrent_jax.wrappers._learned_carry import LearnedCarry, LearnedCarryParams
from recurrent_jax.wrappers._masked import Masked, RandomWiring
from recurrent_jax.wrappers._operators import (
    BlockDiagonal,
    Diagonal,
    LowRank,
    LowRankFactors,
    Operator,
    Orthogonal,
)
from recurrent_jax.wrappers._output_dropout import OutputDropout
from recurrent_jax.wrappers._recurrent_dropout import RecurrentDropout
from recurrent_jax.wrappers._residual import Residual
from recurrent_jax.wrappers._stack import Stack
from recurrent_jax.wrappers._structured import Structured
from recurrent_jax.wrappers._weight_drop import weight_drop
from recurrent_jax.wrappers._wrapper import Wrapper
from recurrent_jax.wrappers._zoneout import Zoneout

__all__ = [
    "Attention",
    "AttentionCarry",
    "AttentionParams",
    "BlockDiagonal",
    "Diagonal",
    "InputDropout",
    "LearnedCarry",
    "LearnedCarryParams",
    "LowRank",
    "LowRankFactors",
    "Masked",
    "Memory",
    "Operator",
    "Orthogonal",
    "OutputDropout",
    "RandomWiring",
    "RecurrentDropout",
    "Residual",
    "Stack",
    "Structured",
    "Wrapper",
    "Zoneout",
    "weight_drop",
]
