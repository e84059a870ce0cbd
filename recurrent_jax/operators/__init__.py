# SPDX-License-Identifier: Apache-2.0
"""Linear operators for `Structured`: square matrices in a structured form."""

from recurrent_jax.operators._masked import Masked, RandomWiring
from recurrent_jax.operators._operators import (
    BlockDiagonal,
    Diagonal,
    LowRank,
    LowRankFactors,
    Operator,
    Orthogonal,
)

__all__ = [
    "BlockDiagonal",
    "Diagonal",
    "LowRank",
    "LowRankFactors",
    "Masked",
    "Operator",
    "Orthogonal",
    "RandomWiring",
]
