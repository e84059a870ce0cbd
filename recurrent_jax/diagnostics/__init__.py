# SPDX-License-Identifier: Apache-2.0
"""Diagnostics: gradients through time, Jacobians, chaos, gates and memory.

Each is a pure function of a cell, its parameters and a sequence, for any cell. Each has
a plot, which needs Matplotlib.

| question | function | plot |
|---|---|---|
| Does the gradient vanish? | `gradient_by_lag`, `decades` | `plot_gradients` |
| What does one step do? | `jacobians`, `singular_values` | `plot_singular_values` |
| Is it chaotic? | `lyapunov_exponents` | `plot_exponents` |
| Are the gates open, closed or saturated? | `gates`, `saturation` | `plot_gates` |
| How many steps does a unit remember? | `effective_memory` | `plot_memory` |
| Does `rj.Newton` converge? | `newton_outlook`, `newton_report` | |
| Which cell or initialisation is better? | `compare` | `plot_comparison` |

`summary` lists the arrays of a cell, a network or any tree, and counts parameters.
"""

from recurrent_jax._core import serial
from recurrent_jax.diagnostics._compare import Comparison, compare
from recurrent_jax.diagnostics._gate_plots import plot_gates, plot_memory
from recurrent_jax.diagnostics._gates import (
    Saturation,
    effective_memory,
    gates,
    saturation,
)
from recurrent_jax.diagnostics._gradients import decades, gradient_by_lag
from recurrent_jax.diagnostics._jacobians import jacobians, singular_values
from recurrent_jax.diagnostics._lyapunov import lyapunov_exponents
from recurrent_jax.diagnostics._newton import Outlook, newton_outlook, newton_report
from recurrent_jax.diagnostics._plots import (
    plot_comparison,
    plot_exponents,
    plot_gradients,
    plot_singular_values,
)
from recurrent_jax.diagnostics._summary import Row, Summary, summary

__all__ = [
    "Comparison",
    "Outlook",
    "Row",
    "Saturation",
    "Summary",
    "compare",
    "decades",
    "effective_memory",
    "gates",
    "gradient_by_lag",
    "jacobians",
    "lyapunov_exponents",
    "newton_outlook",
    "newton_report",
    "plot_comparison",
    "plot_exponents",
    "plot_gates",
    "plot_gradients",
    "plot_memory",
    "plot_singular_values",
    "saturation",
    "singular_values",
    "summary",
]

serial.register_loaded()
