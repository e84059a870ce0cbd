# SPDX-License-Identifier: Apache-2.0
"""The sizes that were measured: at which one way of running becomes the faster one."""

import math
from typing import NamedTuple

import jax


class Tuning(NamedTuple):
    """What is best on a platform; values and gradients never depend on it."""

    block_bytes: float  # of the projected input in a block of time
    remake_bytes: float  # of z, from which on gates are made again in the backward
    keep_terms: int  # unless their products add up more terms than this
    narrow: int  # how many times narrower than the state a jointly multiplied input is
    most_gates: int  # a cell of more is not cut: the guess of its gates may be wrong


# One two-core AMD EPYC. Blocks stay in its cache. The C library takes more than 32 MiB
# for temporary arrays from the system at each call, page by page, at 2 us a page.
_CPU = Tuning(2.5e6, remake_bytes=2**24, keep_terms=600, narrow=4, most_gates=8)
# Not measured.
_OTHER = _CPU._replace(remake_bytes=math.inf)


def tuning() -> Tuning:
    """Return what is best on the platform that JAX uses by default."""
    return _CPU if jax.default_backend() == "cpu" else _OTHER
