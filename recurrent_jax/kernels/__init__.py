# SPDX-License-Identifier: Apache-2.0
"""Compiled loops over a whole sequence, behind a pair of primitives.

Read the modules in this order:

- `_kernel`: which cells a kernel runs, and how its handlers are called.
- `_primitives`: a loop, its tangent and its cotangent as primitives of JAX.
- `_forms`: what these compute, in terms of the loop that any cell has.
- `_rules`: how JAX differentiates, transposes and batches them.
- `_native`: how they are lowered for a processor with the library.
- `_tpu`: how they are lowered for a TPU, to kernels in Pallas.
- `_gpu`, `_gpu_block`, `_mosaic`: the same for a GPU, one block of sequences on it, and
  the tiles of a block.
- `_pallas`, `_steps`, `_outside`: what such a kernel computes, a step of each cell, and
  what is left to XLA.
- `_library`: the shared library: where it is, and whether it fits.
- `_report`: what is in use, in words.
- `_table`: the kernel of each cell.
"""

from recurrent_jax.kernels._kernel import Kernel, find
from recurrent_jax.kernels._library import chosen_by_default, loaded
from recurrent_jax.kernels._report import show_backends
from recurrent_jax.kernels._rules import refuses, run

__all__ = [
    "Kernel",
    "chosen_by_default",
    "find",
    "loaded",
    "refuses",
    "run",
    "show_backends",
]
