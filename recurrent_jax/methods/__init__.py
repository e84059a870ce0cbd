# SPDX-License-Identifier: Apache-2.0
"""How a cell is run over time: one value per method.

`rj.backward` decides separately how gradients are computed. To write your own method,
implement the attributes and functions of `Method`.
"""

from recurrent_jax._loop.loop import Flags, Loop, Method, run_steps
from recurrent_jax._newton.solve import NewtonReport
from recurrent_jax.methods._associative import Associative
from recurrent_jax.methods._chunked import Chunked
from recurrent_jax.methods._cudnn import CuDNN
from recurrent_jax.methods._fused import Fused
from recurrent_jax.methods._newton import Newton
from recurrent_jax.methods._sequential import Sequential
from recurrent_jax.methods._sharded import Sharded

__all__ = [
    "Associative",
    "Chunked",
    "CuDNN",
    "Flags",
    "Fused",
    "Loop",
    "Method",
    "Newton",
    "NewtonReport",
    "Sequential",
    "Sharded",
    "run_steps",
]
