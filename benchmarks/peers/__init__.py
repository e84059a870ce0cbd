# SPDX-License-Identifier: Apache-2.0
"""One file per library. Each has `contend(cell, shape)`, contenders by name.

A peer that has no such cell returns none. A file that cannot be imported, because its
library is not installed, takes itself out: it is named and skipped.
"""

import importlib
from collections.abc import Callable, Iterable

from benchmarks.contenders import Contender
from benchmarks.problems import Shape
from recurrent_jax import Cell

Contend = Callable[[Cell, Shape], dict[str, Contender]]

OURS = "ours"
JAX_PEERS = "linen", "nnx", "haiku", "equinox", "keras"
PEERS = *JAX_PEERS, "torch", "cudnn"


def load(names: Iterable[str]) -> tuple[dict[str, Contend], dict[str, str]]:
    """Return `contend` of each library that is there, and why others are not."""
    found, missing = {}, {}
    for name in (OURS, *names):
        try:
            found[name] = importlib.import_module(f"benchmarks.peers.{name}").contend
        except Exception as error:  # an installed library may break in any way
            if name == OURS:
                raise
            missing[name] = f"{type(error).__name__}: {error}"
    return found, missing
