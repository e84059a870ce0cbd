# SPDX-License-Identifier: Apache-2.0
"""The shapes of task: what stands before and after `unroll`, as plain functions.

| from | to | how |
|---|---|---|
| sequence | vector | `last_output` or `mean_output` of the outputs |
| sequence | sequence, aligned | a head on the outputs: `affine(ys, kernel, bias)` |
| vector | sequence | `repeat` it as the input, or start from it with `bridge` |
| sequence | sequence, unaligned | `encode`, then `delay` the targets: teacher forcing |

What feeds its own predictions back is in `recurrent_jax.generation`.
"""

from recurrent_jax.tasks._bridge import BridgeParams, bridge, init_bridge
from recurrent_jax.tasks._encode import (
    EncoderDecoderParams,
    encode,
    init_encoder_decoder,
)
from recurrent_jax.tasks._inputs import delay, repeat
from recurrent_jax.tasks._pool import last_output, mean_output
from recurrent_jax.tasks._scheduled import scheduled_sampling

__all__ = [
    "BridgeParams",
    "EncoderDecoderParams",
    "bridge",
    "delay",
    "encode",
    "init_bridge",
    "init_encoder_decoder",
    "last_output",
    "mean_output",
    "repeat",
    "scheduled_sampling",
]
