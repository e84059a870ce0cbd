# SPDX-License-Identifier: Apache-2.0
"""The carry of every step, beside the output."""

import dataclasses
from typing import Any, NamedTuple

from recurrent_jax.wrappers._wrapper import Wrapper


class Recorded(NamedTuple):
    """The output of a step, and the carry after it."""

    y: Any
    carry: Any


@dataclasses.dataclass(frozen=True)
class WithCarry(Wrapper):
    r"""Return the carry after each step beside its output.

    $$ y_t \leftarrow (y_t, s_t) $$

    Outputs are `Recorded(y, carry)`, where each part of the carry has a time axis. The
    state is not changed. Like any output, both are zero at a skipped step. To start
    from step t later, pass the carry at t - 1 as `carry=` of `unroll`.

    Args:
        cell: any cell. As a part of a network it must be the last layer.

    Raises:
        TypeError: if `cell` is not a cell.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> cell = rj.LSTM(3)
        >>> params = cell.init(jax.random.key(0), in_features=2)
        >>> xs = jnp.ones((7, 5, 2))
        >>> carry, (ys, carries) = rj.unroll(rj.WithCarry(cell), params, xs)
        >>> carries.c.shape
        (7, 5, 3)
        >>> print(jnp.array_equal(carries.c[-1], carry.c))
        True
    """

    def update(self, params: Any, carry: Any, z: Any, u: Any) -> tuple[Any, Recorded]:
        """Return the carry of the inner cell, and the output with the carry."""
        carry, y = super().update(params, carry, z, u)
        return carry, Recorded(y, carry)

    def read(self, carry: Any, y: Recorded) -> Recorded:
        """Return the output for a carry that was changed, and that carry."""
        return Recorded(self.cell.read(carry, y.y), carry)
