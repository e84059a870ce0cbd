# SPDX-License-Identifier: Apache-2.0
"""Common parts of all plots. Matplotlib is imported only when a plot is drawn."""

import itertools
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import numpy as np
from jax.typing import ArrayLike

from recurrent_jax._checks.input_kinds import Named, Object, OneArray
from recurrent_jax._core import extras

# Colours that colour-blind people can distinguish (Okabe and Ito, 2008).
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
_LINES = ("-", "--", "-.", ":")


def figure_of(size: tuple[float, float]) -> Any:
    """Return an empty figure."""
    # Not pyplot, which has global state and figures to close.
    figure = extras.package("matplotlib.figure", "plots need Matplotlib", "matplotlib")
    return figure.Figure(figsize=size, layout="constrained")


def _has_axes(value: Any) -> bool:
    return hasattr(value, "plot") and hasattr(value, "figure")


Axes = Annotated[Any, Object("axes of Matplotlib", _has_axes)]
Curves = Annotated[
    Mapping[str, ArrayLike], Named(OneArray("floating-point", least=1), least=1)
]


def axes_of(axes: Any) -> Any:
    """Return the given axes, or those of a new figure."""
    return figure_of((7, 5)).subplots() if axes is None else axes


def styled(things: Mapping[str, Any]) -> Iterator[tuple[str, Any, dict[str, Any]]]:
    """Yield names and things, each with its own colour and line style."""
    # Lines differ too, so that one line does not hide another.
    styles = zip(itertools.cycle(_COLOURS), itertools.cycle(_LINES), strict=False)
    for (name, thing), (colour, line) in zip(things.items(), styles, strict=False):
        yield name, thing, {"color": colour, "linestyle": line}


def signed(value: ArrayLike) -> str:
    """Return a number as text with its sign."""
    return f"{float(np.asarray(value)):+.1f}".replace("-", "\N{MINUS SIGN}")


def finish(axes: Any) -> None:
    """Add grid and legend to axes."""
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
