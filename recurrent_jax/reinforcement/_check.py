# SPDX-License-Identifier: Apache-2.0
"""Checks of the arguments of what agents need."""

from typing import Any

from recurrent_jax.streaming import _looks_ahead


def causal(where: str, cell: Any) -> None:
    """Check that a cell or network can run step by step."""
    if _looks_ahead(cell):
        raise TypeError(
            f"{where}: cell {cell!r} holds a Bidirectional, which reads later inputs; "
            "an agent has none yet. Use cells, or Deep layers of them"
        )
