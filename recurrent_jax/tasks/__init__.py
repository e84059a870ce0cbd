# SPDX-License-Identifier: Apache-2.0
"""Functions for the common kinds of sequence task, to use before and after `unroll`.

| from | to | how |
|---|---|---|
| sequence | vector | `last_output` or `mean_output` of the outputs |
| sequence | sequence, aligned | a head on the outputs, `affine(ys, kernel, bias)` |
| vector | sequence | `repeat` it as input, or map it to a carry with `bridge` |
| sequence | sequence, unaligned | `encode`; `delay` the targets (teacher forcing) |

Models that read their own predictions are in `recurrent_jax.generation`.
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
