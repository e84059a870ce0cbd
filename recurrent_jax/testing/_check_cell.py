# SPDX-License-Identifier: Apache-2.0
"""`check_cell` checks one cell against all laws."""

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
    """Check that a cell satisfies the laws on small random inputs, mostly in float64.

    It compiles about twenty small programs, which takes about ten seconds.

    | law | what it says |
    |---|---|
    | scan | `unroll` equals a Python loop over `step` |
    | project | `step` equals `recur` after `project`, at once or not, jit or not |
    | split | running in two parts equals running in one |
    | padding | skipped steps, even NaN or inf, change no value and no gradient |
    | empty | without steps or sequences: the initial carry, finite gradients |
    | reset | a reset equals a fresh start, and no NaN survives it |
    | batch | a batch equals `vmap`, and equals a loop |
    | reverse | a reversed run equals flipping the valid part, running, flipping back |
    | causality | an output does not depend on later inputs |
    | types | the carry keeps its structure, shapes and dtypes, in four precisions |
    | gradients | first and second gradients equal those of a loop and of differences |
    | compilation | a jaxpr independent of T, no leaks or state, equality by value |
    | strategies | every method and exact strategy gives the same values and gradients |

    All laws but the last run the default method and strategy, with several short blocks
    or chunks.

    Args:
        cell: an instance, such as `MyCell(hidden_size=4)`.
        in_features: the number of input features of the trial.
        seed: the seed of all random draws.
        laws: the names of the laws to check. None checks all.
        inputs: a function that builds an input with a given leading shape from
            `(key, shape, dtype)`. Use it for a cell whose input is not one float array.

    Raises:
        LawViolation: if a law is broken. The message names every broken law, and says
            how it is broken.
        ValueError: if a name is not the name of a law.

    Example:
        >>> import recurrent_jax as rj
        >>> from recurrent_jax.testing import check_cell
        >>> check_cell(rj.Elman(4), laws=["scan", "causality"])
    """
    _checks.instance("check_cell", cell)
    names = _names(laws)
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
            except Exception as error:  # any error of the cell itself
                how = f"{type(error).__name__}: {str(error).strip()}"
                broken.append(f"law {number} ({name}): raised {how}")
    if broken:
        raise LawViolation(f"{cell!r} breaks\n  " + "\n  ".join(broken))


def _names(laws: Any) -> list[str]:
    """Return the names of laws, or of all of them."""
    if laws is None:
        return list(LAWS)
    try:
        names = list(laws)
    except TypeError:  # not iterable
        names = [laws]
    if isinstance(laws, str) or not all(isinstance(name, str) for name in names):
        raise TypeError(
            f"check_cell: laws must be a list of names, got {laws!r}; there are "
            f"{list(LAWS)}"
        )
    return names
