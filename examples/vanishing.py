# SPDX-License-Identifier: Apache-2.0
"""Draw the classic figure of vanishing and exploding gradients.

It compares Elman networks, whose recurrent kernels have spectral radius 0.5, 1 and 2,
with LSTM and GRU with and without chrono biases. All are untrained and run over 500
steps. The figure shows the gradient of the last output with respect to the state, by
the number of steps between them. It also shows the Lyapunov exponents of the same
networks. The slope of the gradient converges to the largest exponent.

    python examples/vanishing.py --help

Exit status: 0; 1 if there is no result; 2 for a bad flag; 130 after Ctrl-C.
"""

import dataclasses
import sys
import threading
from pathlib import Path

import cli
import jax
import numpy as np
from rich.console import Console
from rich.table import Table

import recurrent_jax as rj
from recurrent_jax import diagnostics
from recurrent_jax.initializers import Chrono, SpectralRadius, timescales

SHOWN = (1, 10, 100)  # lags in the table, before the longest


@dataclasses.dataclass(frozen=True)
class Config:
    """Draw how gradients vanish and explode over time.

    Attributes:
        hidden_size: units of every network.
        steps: of the sequence.
        batch_size: sequences; the results are means over them.
        features: of the input.
        scale: standard deviation of the input, which is normal noise.
        seed: of the input and the networks.
        output: directory for the picture.
    """

    hidden_size: int = 64
    steps: int = 500
    batch_size: int = 8
    features: int = 4
    scale: float = 0.1
    seed: int = 0
    output: Path = Path("results")

    def __post_init__(self) -> None:
        for name, least in {"hidden_size": 2, "steps": 2, "batch_size": 1}.items():
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}")
        if self.features < 1 or not self.scale >= 0:
            raise ValueError("features must be at least 1, and scale not negative")


def cells(config: Config) -> dict[str, rj.Cell]:
    """Return the networks by name."""
    H = config.hidden_size
    elmans = {
        f"Elman, spectral radius {radius:g}": rj.Elman(
            H, recurrent_kernel_init=SpectralRadius(radius)
        )
        for radius in (0.5, 1.0, 2.0)
    }
    chrono = Chrono(max(3, config.steps))
    return elmans | {
        "LSTM": rj.LSTM(H),
        "LSTM, chrono": timescales(chrono, rj.LSTM(H)),
        "GRU": rj.GRU(H),
        "GRU, chrono": timescales(chrono, rj.GRU(H)),
    }


def measure(
    config: Config, console: Console, stop: threading.Event
) -> dict[str, diagnostics.Comparison]:
    """Return gradients and exponents of all networks on the same input."""
    key, key_xs = jax.random.split(jax.random.key(config.seed))
    shape = (config.steps, config.batch_size, config.features)
    xs = config.scale * jax.random.normal(key_xs, shape)
    found: dict[str, diagnostics.Comparison] = {}
    networks = cells(config)
    with cli.Bar(console, len(networks), "network") as bar:
        for name, cell in networks.items():
            bar.advance(0, name)
            found |= diagnostics.compare({name: cell}, xs, key=key)
            bar.advance()
            if stop.is_set():
                break
    return found


def table(console: Console, found: dict[str, diagnostics.Comparison]) -> None:
    """Print the decades, the gradient at some lags, and the largest exponent."""
    shown = Table(title="log10 of the gradient norm, by lag", title_justify="left")
    shown.add_column("")
    steps = len(next(iter(found.values())).gradient)
    lags = [*(lag for lag in SHOWN if lag < steps), steps]
    for lag in lags:
        shown.add_column(str(lag), justify="right")
    shown.add_column("decades / 100 steps", justify="right")
    shown.add_column("of the exponent", justify="right")
    for name, comparison in found.items():
        curve = np.asarray(comparison.gradient).mean(1)
        foretold = 100 * float(comparison.exponents[:, 0].mean()) / np.log(10)
        shown.add_row(
            name,
            *(f"{curve[lag - 1]:+.1f}" for lag in lags),
            f"[bold]{float(comparison.decades):+.2f}[/bold]",
            f"{foretold:+.2f}",
        )
    console.print(shown)
    console.print(
        "Slopes are least-squares fits. The last column is the largest Lyapunov\n"
        "exponent in the same unit. It is measured forward in time, the slope backward."
    )


def picture(path: Path, found: dict[str, diagnostics.Comparison]) -> None:
    """Save the figure."""
    figure = diagnostics.plot_comparison(found)
    figure.suptitle(
        "Untrained networks: the gradient of a later loss with respect to the state"
    )
    figure.savefig(path, dpi=130)


def run(config: Config, console: Console, stop: threading.Event) -> list[Path]:
    """Measure, print the table, save the picture; return its path."""
    found = measure(config, console, stop)
    table(console, found)
    path = config.output / "vanishing.png"
    picture(path, found)
    return [path]


def main() -> int:
    """Read the flags and run."""
    return cli.main(Config, run, "the result is of the networks that were measured.")


if __name__ == "__main__":
    sys.exit(main())
