# SPDX-License-Identifier: Apache-2.0
"""Gradients that need no past: they are carried forward, step by step.

A learner is a value that holds a cell. `init` makes its state, `step` makes one step
of the cell, and `gradient` maps the cotangent of the last output to that of the
parameters.
Memory does not grow with the number of steps.

| learner | gradient | memory of a sequence, for S states and P parameters |
|---|---|---|
| `RTRL` | exact | S P; P for each number of a group if groups do not read each other |
| `SnAp1` | biased | P for each number of a unit, for most cells |
| `SnAp2` | biased | S P |
| `EProp` | biased | P for each number of a unit, for most cells |
| `UORO` | unbiased, noisy | P + S |
| `KFRTRL` | unbiased, less noisy | D + H + 1 + S G, for G columns of a kernel |
"""

from recurrent_jax.online._eprop import EProp
from recurrent_jax.online._kf_rtrl import KFRTRL
from recurrent_jax.online._learner import Learner, OnlineState
from recurrent_jax.online._rtrl import RTRL
from recurrent_jax.online._snap import SnAp1, SnAp2
from recurrent_jax.online._uoro import UORO

__all__ = [
    "KFRTRL",
    "RTRL",
    "UORO",
    "EProp",
    "Learner",
    "OnlineState",
    "SnAp1",
    "SnAp2",
]
