# SPDX-License-Identifier: Apache-2.0
"""Networks of cells that read a whole sequence, one network per file."""

from recurrent_jax._core.network import Network, Options
from recurrent_jax.networks._bidirectional import (
    Bidirectional,
    BidirectionalCarry,
    BidirectionalParams,
)
from recurrent_jax.networks._deep import Deep

__all__ = [
    "Bidirectional",
    "BidirectionalCarry",
    "BidirectionalParams",
    "Deep",
    "Network",
    "Options",
]
