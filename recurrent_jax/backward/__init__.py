# SPDX-License-Identifier: Apache-2.0
"""How gradients are made: one value per strategy, none knows a cell's equations.

A strategy runs a `Loop` and decides what its derivative is and what it costs.
`Autodiff`, `Deferred` and `Checkpointed` give the same gradient; `Truncated` and
`ClippedBackward` give another one on purpose. A strategy of your own is a value with
the `run` of `Backward`.
"""

from recurrent_jax._loop.blocks import in_blocks
from recurrent_jax._loop.loop import Backward, Flags, Loop, need_steps, run_steps
from recurrent_jax.backward._autodiff import Autodiff
from recurrent_jax.backward._checkpointed import Checkpointed
from recurrent_jax.backward._clipped import ClippedBackward
from recurrent_jax.backward._deferred import Deferred
from recurrent_jax.backward._truncated import Truncated

__all__ = [
    "Autodiff",
    "Backward",
    "Checkpointed",
    "ClippedBackward",
    "Deferred",
    "Flags",
    "Loop",
    "Truncated",
    "in_blocks",
    "need_steps",
    "run_steps",
]
