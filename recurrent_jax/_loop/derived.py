# SPDX-License-Identifier: Apache-2.0
"""A loop whose values are computed in one way and whose derivatives in another."""

import functools
from collections.abc import Callable
from typing import Any

import jax
from jax.custom_derivatives import SymbolicZero

from recurrent_jax._core.arrays import symbolic
from recurrent_jax._loop.loop import Arrays, Loop, Static, join, part

Run = Callable[[Loop, Any], tuple[Any, Any]]


def derived(values: Run, derivative: Run, loop: Loop, carry: Any) -> tuple[Any, Any]:
    """Return what `values` returns. Its derivative is that of `derivative`.

    Both return the final carry and all outputs. Both must hash, as methods of frozen
    dataclasses do.
    """
    return _derived(values, derivative, *part(loop), carry)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 1, 2))
def _derived(
    values: Run, derivative: Run, static: Static, arrays: Arrays, carry: Any
) -> tuple[Any, Any]:
    return values(join(static, arrays), carry)


def _tangents(
    values: Run, derivative: Run, static: Static, primals: Any, tangents: Any
) -> tuple[Any, Any]:
    """Return values and tangents of `derivative`, for the arrays that have tangents."""
    leaves, structure = jax.tree.flatten(primals)
    d = structure.flatten_up_to(tangents)
    moving = [i for i, t in enumerate(d) if not isinstance(t, SymbolicZero)]

    def run(moved: list[jax.Array]) -> Any:
        given = dict(zip(moving, moved, strict=True))
        filled = (given.get(i, leaf) for i, leaf in enumerate(leaves))
        arrays, carry = structure.unflatten(filled)
        return derivative(join(static, arrays), carry)

    out, d_out = jax.jvp(run, ([leaves[i] for i in moving],), ([d[i] for i in moving],))
    return out, symbolic(d_out, out)


_derived.defjvp(_tangents, symbolic_zeros=True)
