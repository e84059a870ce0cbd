# SPDX-License-Identifier: Apache-2.0
"""What a contender is, and how its answer is compared with ours."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.problems import BOTH, FORWARD, Problem


class Ready(NamedTuple):
    """A contender with its data in place; each call returns when all is computed."""

    calls: dict[str, Callable[[], Any]]  # FORWARD: ys; BOTH: (ys, (weights, xs))
    fetch: Callable[[Any], Any] = lambda array: array  # to an array that NumPy reads


def in_jax(contender: "Contender", problem: Problem) -> Ready:
    """Compile `contender.run`, and its `jax.vjp` with the given cotangent."""
    weights = jax.jit(contender.copy)(problem.params)
    xs, cotangent = contender.turn(problem.xs), contender.turn(problem.cotangent)
    jax.block_until_ready((weights, xs, cotangent))
    forward = jax.jit(contender.run)

    @jax.jit
    def both(weights: Any, xs: jax.Array, cotangent: jax.Array) -> Any:
        ys, pull = jax.vjp(contender.run, weights, xs)
        return ys, pull(cotangent)

    return Ready(
        {
            FORWARD: lambda: jax.block_until_ready(forward(weights, xs)),
            BOTH: lambda: jax.block_until_ready(both(weights, xs, cotangent)),
        }
    )


@dataclasses.dataclass(frozen=True)
class Contender:
    """One way to run a cell over a sequence.

    Attributes:
        run: a function `(weights, xs) -> ys`; pure and in JAX if `ready` is `in_jax`.
        copy: a JAX function from our parameters to `weights`. Its transpose takes
            gradients back, so no contender spells that way out.
        batch_major: whether `run` wants `(B, T, D)`; else `(T, B, D)`, as ours.
        lacks: fields of our parameters that it has no weights for.
        backward_only: do not time it forward, where it is the same as another.
        ready: puts data in place and compiles.
    """

    run: Callable[[Any, Any], Any]
    copy: Callable[[Any], Any]
    batch_major: bool = False
    lacks: tuple[str, ...] = ()
    backward_only: bool = False
    ready: Callable[["Contender", Problem], Ready] = in_jax

    @property
    def layout(self) -> str:
        """The order of axes that it is given."""
        return "batch-major" if self.batch_major else "time-major"

    def turn(self, array: Any) -> Any:
        """Exchange time and batch if the contender has them the other way round."""
        return jnp.swapaxes(array, 0, 1) if self.batch_major else array

    def answer(self, problem: Problem, which: str, result: Any, fetch: Any) -> dict:
        """Return a result in our terms: arrays by name, gradients by our fields."""
        result = jax.tree.map(lambda a: jnp.asarray(fetch(a)), result)
        if which == FORWARD:
            return {"outputs": self.turn(result)}
        ys, (weights, xs) = result
        _, back = jax.vjp(self.copy, problem.params)
        (params,) = back(weights)
        gradients = {k: v for k, v in params._asdict().items() if v is not None}
        return {
            "outputs": self.turn(ys),
            "gradient of xs": self.turn(xs),
            **{f"gradient of {name}": g for name, g in gradients.items()},
        }


def tolerance() -> float:
    """Return how far contenders may differ; more where products round to TF32."""
    return 1e-3 if jax.default_backend() == "cpu" else 5e-2


def disagreement(got: dict, want: dict, lacks: tuple[str, ...]) -> tuple[float, str]:
    """Return the worst difference, relative to the norm, and where it is.

    Norms, because rounding decides the slope of a ReLU at zero. One unit that is within
    rounding of it at one step changes a few numbers of a gradient by as much as 1 %.
    """
    worst = 0.0, "outputs"
    for name, ours in want.items():
        if name in [f"gradient of {field}" for field in lacks]:
            continue
        a, b = np.asarray(got[name], float), np.asarray(ours, float)
        if a.shape != b.shape:
            return float("inf"), f"{name}, of shape {a.shape}, not {b.shape},"
        error = np.linalg.norm(a - b) / max(np.linalg.norm(b), 1e-30)
        # A NaN is worse than any number.
        worst = max(worst, (float(np.nan_to_num(error, nan=np.inf)), name))
    return worst
