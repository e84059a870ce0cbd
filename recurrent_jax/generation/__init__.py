# SPDX-License-Identifier: Apache-2.0
"""Autoregressive models of text and numbers: each prediction is the next input.

Every function takes the model as one pure function `step(carry, x) -> (carry,
prediction)`. It may contain any cell, an embedding before it and a head after it.
"""

from recurrent_jax.generation._beam import Beams, beam_search
from recurrent_jax.generation._choose import top_k, top_p
from recurrent_jax.generation._forecast import (
    Interval,
    ensemble,
    forecast,
    interval,
    normal,
)
from recurrent_jax.generation._generate import Generated, generate

__all__ = [
    "Beams",
    "Generated",
    "Interval",
    "beam_search",
    "ensemble",
    "forecast",
    "generate",
    "interval",
    "normal",
    "top_k",
    "top_p",
]
