# SPDX-License-Identifier: Apache-2.0
"""How gradients are computed: one value per strategy.

A strategy runs a `Loop` and decides how to differentiate it, what to save and what to
recompute. No strategy knows the equations of a cell. `Autodiff`, `Deferred`,
`Checkpointed` and `ParallelBackward` compute the same gradient. `Truncated` and
`ClippedBackward` change the gradient on purpose. To write your own strategy, implement
the `run` of `Backward`.
"""

from recurrent_jax._loop.blocks import in_blocks
from recurrent_jax._loop.loop import Backward, Flags, Loop, need_steps, run_steps
from recurrent_jax.backward._autodiff import Autodiff
from recurrent_jax.backward._checkpointed import Checkpointed
from recurrent_jax.backward._clipped import ClippedBackward
from recurrent_jax.backward._deferred import Deferred
from recurrent_jax.backward._parallel import ParallelBackward
from recurrent_jax.backward._truncated import Truncated

__all__ = [
    "Autodiff",
    "Backward",
    "Checkpointed",
    "ClippedBackward",
    "Deferred",
    "Flags",
    "Loop",
    "ParallelBackward",
    "Truncated",
    "in_blocks",
    "need_steps",
    "run_steps",
]
