# SPDX-License-Identifier: Apache-2.0
"""recurrent_jax: `unroll` as it comes, then one row per backward strategy."""

from typing import Any

import recurrent_jax as rj
from benchmarks.contenders import Contender
from benchmarks.problems import Shape

DEFAULT = "recurrent_jax"
STRATEGIES = rj.Autodiff(), rj.Deferred(), rj.Checkpointed()


def strategies() -> dict[str, dict[str, Any]]:
    """Return options of `unroll` by the name of the strategy they choose."""
    return {type(value).__name__: {"backward": value} for value in STRATEGIES}


def contend(cell: rj.Cell, shape: Shape) -> dict[str, Contender]:
    """Return the default, and the strategies for the backward pass."""

    def entry(**options: Any) -> Contender:
        return Contender(
            run=lambda params, xs: rj.unroll(cell, params, xs, **options)[1],
            copy=lambda params: params,
            # Without a kernel, `Deferred` stands for the forward loop of all.
            backward_only=options.get("backward", rj.Deferred()) != rj.Deferred(),
        )

    rows = {f"{DEFAULT} {name}": entry(**how) for name, how in strategies().items()}
    if not isinstance(rj.kernels.find(cell), str):
        rows[f"{DEFAULT} Fused"] = entry(method=rj.Fused())
    return {DEFAULT: entry(), **rows}
