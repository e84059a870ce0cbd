# SPDX-License-Identifier: Apache-2.0
"""What Newton's method did for a cell, and whether it will be of use."""

import dataclasses
import math
from typing import Any, NamedTuple

import jax.numpy as jnp

from recurrent_jax import _checks
from recurrent_jax._core.input_types import Arrays, OneCell, Params
from recurrent_jax._loop.loop import Loop
from recurrent_jax._loop.unroll import unroll
from recurrent_jax.diagnostics._lyapunov import lyapunov_exponents
from recurrent_jax.methods import Newton, NewtonReport


@dataclasses.dataclass(frozen=True)
class _Reporting:
    """A strategy that returns the report in place of the final carry."""

    steps = False

    def run(self, loop: Loop, carry: Any) -> tuple[Any, Any]:
        if loop.time == 0 or 0 in loop.batch_shape:
            raise ValueError(
                f"newton_report: needs at least one step and one sequence, got "
                f"{loop.time} steps and the batch shape {loop.batch_shape}"
            )
        return loop.method.report(loop, carry), ()  # type: ignore[attr-defined]


@_checks.checked
def newton_report(
    cell: OneCell,
    params: Params,
    xs: Arrays,
    *,
    method: Newton | None = None,
    **options: Any,
) -> NewtonReport:
    """Return the iterations and residuals of `rj.Newton` for a sequence.

    Args:
        cell: any cell that `rj.Newton` can run.
        params: what `cell.init` returned.
        xs: the inputs, `(time, *batch, features)`.
        method: an `rj.Newton`. None takes the default one.
        options: any other argument of `rj.unroll`, such as `lengths` or `carry`.

    Returns:
        A `NewtonReport` with chunks of time as the first axis, of length one if the
        method has no `chunk`: `iterations`, int `(chunks,)`; `residuals`, `(chunks,
        max_iterations)`, NaN where there was no iteration; `converged`, bool `(chunks,
        *batch)`.

    Raises:
        TypeError, ValueError: as `rj.unroll`, or if `method` is another method, or
            there is no step.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> from recurrent_jax.diagnostics import newton_report
        >>> cell = rj.GRU(3)
        >>> params = cell.init(jax.random.key(0), in_features=2)
        >>> report = newton_report(cell, params, jnp.ones((50, 5, 2)))
        >>> bool(report.converged.all()), int(report.iterations[0]) < 10
        (True, True)
    """
    method = Newton() if method is None else method
    if not isinstance(method, Newton):
        raise TypeError(f"newton_report: method must be an rj.Newton, got {method!r}")
    if "backward" in options:
        raise TypeError("newton_report: backward has no meaning here, leave it out")
    how: Any = {"method": method, "backward": _Reporting(), **options}
    report: Any = unroll(cell, params, xs, **how)[0]
    return report


class Outlook(NamedTuple):
    """Whether Newton's method will be of use.

    Attributes:
        exponent: the largest Lyapunov exponent of all sequences, in nats per step.
        converges: whether few iterations are expected.
        sentence: the same in words.
    """

    exponent: float
    converges: bool
    sentence: str


@_checks.checked
def newton_outlook(
    cell: OneCell, params: Params, xs: Arrays, *, carry: Arrays | None = None
) -> Outlook:
    """Return whether `rj.Newton` will converge in few iterations, and why.

    A cell that forgets its state has a negative largest Lyapunov exponent. Then the
    error of a guess dies out along the sequence. A chaotic cell has a positive one, and
    about as many iterations are needed as there are steps. With large recurrent
    weights, a cell that forgets may still need many. Not for use under `jit`.

    Args:
        cell: any cell.
        params: what `cell.init` returned.
        xs: the inputs, `(time, *batch, features)`. A hundred steps or more.
        carry: the state to start from.

    Returns:
        An `Outlook`: `exponent`, `converges` and a `sentence`.

    Raises:
        ValueError, TypeError: as `lyapunov_exponents`.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> from recurrent_jax.diagnostics import newton_outlook
        >>> cell = rj.GRU(3)
        >>> params = cell.init(jax.random.key(0), in_features=2)
        >>> xs = jax.random.normal(jax.random.key(1), (200, 2))
        >>> newton_outlook(cell, params, xs).converges
        True

    References:
        Gonzalez et al., 2025. Predictability enables parallelization of nonlinear state
        space models. https://arxiv.org/abs/2508.16817
    """
    exponents = lyapunov_exponents(cell, params, xs, count=1, carry=carry)
    worst = float(jnp.max(exponents))
    if worst < 0:
        steps = 1 if math.isinf(worst) else max(1, round(-1 / worst))
        words = (
            f"The largest Lyapunov exponent is {worst:.3f} nats per step: the cell "
            f"forgets its state within about {steps} steps, so Newton's method should "
            "converge in few iterations."
        )
    else:
        words = (
            f"The largest Lyapunov exponent is {worst:.3f} nats per step: the cell "
            "does not forget its state, so Newton's method may need as many iterations "
            "as there are steps; use rj.Sequential()."
        )
    return Outlook(worst, worst < 0, words)
