# SPDX-License-Identifier: Apache-2.0
"""Plots of gates."""

from typing import Any

import jax.numpy as jnp
import numpy as np

from recurrent_jax import _checks
from recurrent_jax.diagnostics._canvas import (
    Axes,
    Curves,
    axes_of,
    finish,
    styled,
)
from recurrent_jax.diagnostics._gates import saturation


@_checks.checked
def plot_gates(gates: Curves, *, axes: Axes | None = None) -> Any:
    """Plot how often the units of each gate are closed, and how often open.

    Each dot is a unit. Near the origin a gate takes intermediate values, along the
    diagonal it switches, and in a corner it is saturated.

    Args:
        gates: what `gates` returned.
        axes: Matplotlib's axes to draw on; of a new figure if None.

    Returns:
        The axes.

    Raises:
        ImportError: if Matplotlib is not installed.

    Example:
        >>> import jax.numpy as jnp
        >>> from recurrent_jax.diagnostics import plot_gates
        >>> axes = plot_gates({"f": jnp.full((7, 5, 3), 0.95)})
        >>> axes.get_xlabel()
        'share of steps shut (below 0.1)'
    """
    axes = axes_of(axes)
    axes.plot([0, 1], [1, 0], color="#bbbbbb", linewidth=1, zorder=0)
    for name, gate, style in styled(gates):
        shut, opened = (np.asarray(share) for share in saturation(jnp.asarray(gate)))
        axes.scatter(
            shut, opened, s=36, alpha=0.6, label=name, lw=0, color=style["color"]
        )
    axes.set_xlabel("share of steps shut (below 0.1)")
    axes.set_ylabel("share of steps open (above 0.9)")
    axes.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), aspect="equal")
    finish(axes)
    return axes


@_checks.checked
def plot_memory(spans: Curves, *, axes: Axes | None = None) -> Any:
    """Plot how long the units remember, in ascending order.

    Args:
        spans: by name, each what `effective_memory` returned, `(hidden,)`.
        axes: Matplotlib's axes to draw on; of a new figure if None.

    Returns:
        The axes.

    Raises:
        ImportError: if Matplotlib is not installed.

    Example:
        >>> import jax.numpy as jnp
        >>> from recurrent_jax.diagnostics import plot_memory
        >>> axes = plot_memory({"LSTM": jnp.array([2.0, 30.0, 7.0])})
        >>> axes.get_yscale()
        'log'
    """
    axes = axes_of(axes)
    for name, span, style in styled(spans):
        steps = np.sort(np.asarray(span, float))
        rank = (np.arange(len(steps)) + 0.5) / len(steps)
        axes.plot(rank, steps, label=name, linewidth=2, **style)
    axes.set_yscale("log")
    axes.set_xlabel("share of units that remember less")
    axes.set_ylabel("effective memory (steps)")
    finish(axes)
    return axes
