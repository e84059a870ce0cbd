# SPDX-License-Identifier: Apache-2.0
"""Plots of gradients and Jacobians."""

import math
from collections.abc import Callable, Mapping
from typing import Annotated, Any

import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from recurrent_jax import _checks
from recurrent_jax._checks.input_kinds import Named, Object, OneArray
from recurrent_jax.diagnostics._canvas import (
    Axes,
    Curves,
    axes_of,
    figure_of,
    finish,
    signed,
    styled,
)
from recurrent_jax.diagnostics._compare import Comparison
from recurrent_jax.diagnostics._gradients import decades

Spectra = Annotated[ArrayLike, OneArray("floating-point", 2, "(time, *batch, S)")]
Comparisons = Annotated[
    Mapping[str, Comparison],
    Named(
        Object("a Comparison, of compare", lambda v: isinstance(v, Comparison)), least=1
    ),
]


@_checks.checked
def plot_gradients(curves: Curves, *, axes: Axes | None = None) -> Any:
    """Plot gradients by lag. The legend has the decades that each gains in 100 steps.

    Args:
        curves: by name, each what `gradient_by_lag` returned, `(time, *batch)`. The
            line is the mean over the batch. The shaded area is the range.
        axes: Matplotlib's axes to draw on; of a new figure if None.

    Returns:
        The axes; `axes.figure.savefig(path)` saves them.

    Raises:
        ImportError: if Matplotlib is not installed.

    Example:
        >>> import jax.numpy as jnp
        >>> from recurrent_jax.diagnostics import plot_gradients
        >>> axes = plot_gradients({"fades": jnp.linspace(0.0, -9.0, 100)})
        >>> axes.get_ylabel()
        'gradient norm'
    """
    axes = axes_of(axes)
    axes.axhline(0, color="#bbbbbb", linewidth=1, zorder=0)
    for name, curve, style in styled(curves):
        each = np.asarray(curve, float).reshape(len(curve), -1)
        lag = np.arange(1, len(each) + 1)
        # Only finite values are drawn. A gradient of zero has none.
        mean, low, high = (
            np.where(np.isfinite(a), a, np.nan)
            for a in (each.mean(1), each.min(1), each.max(1))
        )
        label = name
        if len(each) > 1:
            slope = signed(decades(jnp.asarray(curve, float)))
            label += f" ({slope} decades / 100 steps)"
        axes.plot(lag, mean, label=label, linewidth=2, **style)
        if each.shape[1] > 1:
            axes.fill_between(lag, low, high, color=style["color"], alpha=0.15, lw=0)
    axes.set_xlabel("steps back from the loss")
    axes.set_ylabel("gradient norm")
    axes.yaxis.set_major_formatter(lambda y, _: f"$10^{{{y:g}}}$")
    finish(axes)
    return axes


@_checks.checked
def plot_singular_values(values: Spectra, *, axes: Axes | None = None) -> Any:
    """Plot the singular values of the Jacobians over time.

    Args:
        values: what `singular_values` returned, `(time, *batch, S)`.
        axes: Matplotlib's axes to draw on; of a new figure if None.

    Returns:
        The axes.

    Raises:
        ImportError: if Matplotlib is not installed.

    Example:
        >>> import jax.numpy as jnp
        >>> from recurrent_jax.diagnostics import plot_singular_values
        >>> axes = plot_singular_values(jnp.ones((20, 3, 8)))
        >>> len(axes.lines)
        4
    """
    axes = axes_of(axes)
    values = np.asarray(values, float)
    values = values.reshape(len(values), -1, values.shape[-1]).mean(1)
    time = np.arange(1, len(values) + 1)
    axes.axhline(1, color="#bbbbbb", linewidth=1, zorder=0)
    each = {"largest": 0, "median": values.shape[1] // 2, "smallest": -1}
    for name, place, style in styled(each):
        axes.plot(time, values[:, place], label=name, linewidth=2, **style)
    axes.set_yscale("log" if (values > 0).all() else "linear")
    axes.set_xlabel("step")
    axes.set_ylabel("singular value of the Jacobian")
    finish(axes)
    return axes


@_checks.checked
def plot_exponents(exponents: Curves, *, axes: Axes | None = None) -> Any:
    """Plot Lyapunov spectra, largest exponent first.

    Args:
        exponents: by name, each what `lyapunov_exponents` returned, `(*batch, count)`.
        axes: Matplotlib's axes to draw on; of a new figure if None.

    Returns:
        The axes.

    Raises:
        ImportError: if Matplotlib is not installed.

    Example:
        >>> import jax.numpy as jnp
        >>> from recurrent_jax.diagnostics import plot_exponents
        >>> axes = plot_exponents({"cell": jnp.array([0.1, -0.2, -0.5])})
        >>> axes.get_xlabel()
        'number of the exponent'
    """
    axes = axes_of(axes)
    axes.axhline(0, color="#bbbbbb", linewidth=1, zorder=0)
    for name, values, style in styled(exponents):
        spectrum = np.asarray(values, float)
        spectrum = spectrum.reshape(-1, spectrum.shape[-1]).mean(0)
        place = np.arange(1, len(spectrum) + 1)
        shown = np.where(np.isfinite(spectrum), spectrum, np.nan)
        axes.plot(place, shown, marker="o", markersize=4, label=name, **style)
    axes.set_xlabel("number of the exponent")
    axes.set_ylabel("Lyapunov exponent (nats per step)")
    axes.xaxis.get_major_locator().set_params(integer=True)
    finish(axes)
    return axes


def _times(factor: float) -> Callable[[Any], Any]:
    return lambda value: factor * np.asarray(value)


@_checks.checked
def plot_comparison(comparisons: Comparisons) -> Any:
    """Plot the result of `compare`: gradients by lag and Lyapunov spectra.

    Args:
        comparisons: by name.

    Returns:
        Matplotlib's figure; `figure.savefig(path)` saves it.

    Raises:
        ImportError: if Matplotlib is not installed.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> from recurrent_jax.diagnostics import compare, plot_comparison
        >>> found = compare({"GRU": rj.GRU(3)}, jnp.ones((9, 2)), key=jax.random.key(0))
        >>> len(plot_comparison(found).axes)
        2
    """
    figure = figure_of((12, 5.5))
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    plot_gradients({k: c.gradient for k, c in comparisons.items()}, axes=left)
    plot_exponents({k: c.exponents for k, c in comparisons.items()}, axes=right)
    left.set_title("gradient by lag")
    right.set_title("Lyapunov spectrum")
    # The unit of the slopes on the left, so that both can be compared.
    decade = math.log(10) / 100
    unit = right.secondary_yaxis(
        "right", functions=(_times(1 / decade), _times(decade))
    )
    unit.set_ylabel("decades / 100 steps")
    # One legend for both, outside of the axes.
    handles, labels = left.get_legend_handles_labels()
    left.get_legend().remove()
    right.get_legend().remove()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
    return figure
