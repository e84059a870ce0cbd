# SPDX-License-Identifier: Apache-2.0
"""Steps that are linear in the state, and ways to compute many of them at once.

A `LinearCell` describes its step as one of these values. `rj.Associative` and
`rj.Chunked` run it.
"""

from recurrent_jax.scans._across import Across
from recurrent_jax.scans._blocks import Blocks
from recurrent_jax.scans._chunks import read_in_chunks
from recurrent_jax.scans._delta import Delta
from recurrent_jax.scans._diagonal import (
    Complex,
    Diagonal,
    Order,
    Tree,
    Walk,
    diagonal_states,
)
from recurrent_jax.scans._linear import LinearCell, MatrixCell, Query, Steps
from recurrent_jax.scans._outer import MatrixCarry, Outer
from recurrent_jax.scans._stabilised import Read, Stabilised, StabilisedCarry

__all__ = [
    "Across",
    "Blocks",
    "Complex",
    "Delta",
    "Diagonal",
    "LinearCell",
    "MatrixCarry",
    "MatrixCell",
    "Order",
    "Outer",
    "Query",
    "Read",
    "Stabilised",
    "StabilisedCarry",
    "Steps",
    "Tree",
    "Walk",
    "diagonal_states",
    "read_in_chunks",
]
