# SPDX-License-Identifier: Apache-2.0
"""Networks of cells, each in a file of its own."""

from recurrent_jax.networks._bidirectional import (
    Bidirectional,
    BidirectionalCarry,
    BidirectionalParams,
)
from recurrent_jax.networks._deep import Deep

__all__ = ["Bidirectional", "BidirectionalCarry", "BidirectionalParams", "Deep"]
