# SPDX-License-Identifier: Apache-2.0
"""Models that read what they write: text, and forecasts.

All take the model as one pure function, `step(carry, x) -> (carry, prediction)`: any
cell of this library or the user's, with an embedding before and a head after it.
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
