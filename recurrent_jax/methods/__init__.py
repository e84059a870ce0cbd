# SPDX-License-Identifier: Apache-2.0
"""How time is run: one value per method, beside how gradients are made.

A method of your own is a value with what `Method` has.
"""

from recurrent_jax._loop.loop import Flags, Loop, Method, run_steps
from recurrent_jax.methods._sequential import Sequential

__all__ = ["Flags", "Loop", "Method", "Sequential", "run_steps"]
