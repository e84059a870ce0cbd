# SPDX-License-Identifier: Apache-2.0
"""All laws on one cell."""

from collections.abc import Callable, Iterable
from typing import Any

import jax

from recurrent_jax import _checks
from recurrent_jax._core.cell import Cell
from recurrent_jax._core.types import Count, Size
from recurrent_jax.testing._compare import LawViolation
from recurrent_jax.testing._laws import LAWS
from recurrent_jax.testing._trial import Trial


@_checks.checked
def check_cell(
    cell: Cell,
    *,
    in_features: Size = 3,
    seed: Count = 0,
    laws: Iterable[str] | None = None,
    inputs: Callable[[jax.Array, tuple[int, ...], Any], Any] | None = None,
) -> None:
    """Check that a cell keeps the laws, mostly in float64, on small drawn inputs.

    It compiles some twenty small programs, which takes about ten seconds.

    | law | what it says |
    |---|---|
    | scan | `unroll` equals a Python loop over `step` |
    | project | `step` is `recur` after `project`, at once or not, with `jit` or not |
    | split | running in two parts equals running in one |
    | padding | skipped steps change nothing, NaN and inf included, gradients included |
    | empty | no steps or no sequences: initial carry, finite gradients |
    | reset | a reset equals a fresh start, and no NaN survives it |
    | batch | a batch equals `vmap` equals a loop |
    | reverse | reversed equals flipping the valid part, running, flipping back |
    | causality | an output does not depend on later inputs |
    | types | the carry keeps structure, shapes and dtypes, in four precisions |
    | gradients | those of the plain loop and of differences, first and second order |
    | compilation | a jaxpr independent of T, no leaks or state, a cell by value |
    | strategies | `Autodiff` and `Checkpointed` give the same values and gradients |

    All but the last run the default strategy, `Deferred`, over several short blocks.

    Args:
        cell: an instance, such as `MyCell(hidden_size=4)`.
        in_features: the number of input features to try it with.
        seed: of all draws.
        laws: names of the laws to check; all if None.
        inputs: makes an input of given leading shape from `(key, shape, dtype)`, for
            a cell whose input is not one float array.

    Raises:
        LawViolation: naming every law that is broken, and how.
        ValueError: if a law has no such name.

    Example:
        >>> import recurrent_jax as rj
        >>> from recurrent_jax.testing import check_cell
        >>> check_cell(rj.Elman(4), laws=["scan", "causality"])
    """
    _checks.instance("check_cell", cell)
    names = list(LAWS) if laws is None else list(laws)
    if unknown := set(names) - set(LAWS):
        raise ValueError(
            f"check_cell: no law is called {sorted(unknown)}; there are {list(LAWS)}"
        )
    broken = []
    with jax.enable_x64(True):
        trial = Trial(cell, in_features=in_features, seed=seed, inputs=inputs)
        for name in names:
            number = list(LAWS).index(name) + 1
            try:
                LAWS[name](trial)
            except LawViolation as violation:
                broken.append(f"law {number} ({name}): {violation}")
            except Exception as error:  # the cell's own, whatever it is
                how = f"{type(error).__name__}: {str(error).strip()}"
                broken.append(f"law {number} ({name}): raised {how}")
    if broken:
        raise LawViolation(f"{cell!r} breaks\n  " + "\n  ".join(broken))
