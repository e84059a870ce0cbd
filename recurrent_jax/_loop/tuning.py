# SPDX-License-Identifier: Apache-2.0
"""Measured sizes at which one way to run a loop becomes faster than another."""

import math
from typing import Any, NamedTuple

from recurrent_jax._core.mesh import are_on_cpu


class Tuning(NamedTuple):
    """The best sizes on a platform. Values and gradients never depend on them."""

    block_bytes: float  # size of the projected input in one block of time
    remake_bytes: float  # size of z above which the backward pass recomputes gates
    keep_terms: int  # gates are saved anyway if their products sum more terms than this
    narrow: int  # joint product if the input is this many times narrower than the state
    walks: bool  # whether a diagonal chunk is a loop over its steps, and not a tree
    fused_steps: int  # fewer steps are not worth the call of a kernel
    fused_weights: int  # a kernel packs so many weights in the time it gains in one row
    fused_units: int  # more were not measured
    fused_bytes: float  # size of what a kernel keeps for a gradient; beyond, in blocks
    most_gates: int  # z is not cut if it seems to have more gates: the guess may be bad


# Measured on a two-core AMD EPYC. Blocks fit into its cache. If temporary arrays take
# more than 32 MiB, the C library requests them from the system at each call, page by
# page, at 2 us a page.
_CPU = Tuning(
    2.5e6,
    remake_bytes=2**24,
    keep_terms=600,
    narrow=4,
    walks=True,
    fused_steps=4,
    fused_weights=80_000,
    fused_units=1024,
    fused_bytes=2**28,
    most_gates=8,
)
# Not measured.
_OTHER = _CPU._replace(remake_bytes=math.inf, walks=False, fused_bytes=math.inf)


def tuning(arrays: Any) -> Tuning:
    """Return what is best where `arrays` are, or will be once compiled."""
    return _CPU if are_on_cpu(arrays) else _OTHER
