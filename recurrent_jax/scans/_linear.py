# SPDX-License-Identifier: Apache-2.0
"""The protocol of cells whose step is linear in the state."""

import abc
import dataclasses
from typing import Any, NamedTuple

import jax

from recurrent_jax._core.cell import C, Cell, P
from recurrent_jax._loop.loop import Flags
from recurrent_jax.scans._across import Across
from recurrent_jax.scans._chunks import read_in_chunks
from recurrent_jax.scans._diagonal import Diagonal, Order, diagonal_states
from recurrent_jax.scans._wide import like, wide


class Steps(NamedTuple):
    """How many steps are computed at once, and which of them are skipped or reset.

    Attributes:
        flags: which steps are valid and which are reset first.
        fresh: the carry that a reset restarts from.
        order: the order in which the states of diagonal steps are computed.
        chunk: the number of steps in a chunk of a matrix state. None computes every
            state, as `order` says.
        across: the mesh axis that shares time, or None if one device has all steps.
    """

    flags: Flags
    fresh: Any
    order: Order
    chunk: int | None
    across: Across | None = None

    def states(self, element: Any, carry: Any) -> tuple[Any, Any]:
        """Return the final carry, and the carry after each step."""
        element, start, fresh = wide((element, carry, self.fresh))
        if not isinstance(element, Diagonal):
            element = element.diagonal(start)
        if self.across is not None:
            given = self.order, element, start, self.flags, fresh
            _, states, final = self.across.states(*given)
            return like(final, carry), like(states, carry)
        states = diagonal_states(self.order, element, start, self.flags, fresh)
        states = like(states, carry)
        return jax.tree.map(lambda a: a[-1], states), states


@dataclasses.dataclass(frozen=True)
class LinearCell(Cell[P, C]):
    r"""A cell whose step is linear in the state, so that time can run in parallel.

    $$ s_t = A_t s_{t-1} + b_t, \qquad y_t = \mathrm{emit}(s_t, z_t) $$

    A subclass defines `init`, `element` and `emit`. Both get the projected input z of
    one step or of many, with any leading axes. The recurrence follows from them.

    Example: A leaky integrator, $h' = 0.9 h + x$, all steps at once:

        >>> import dataclasses
        >>> import jax, jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> @dataclasses.dataclass(frozen=True)
        ... class Leaky(rj.LinearCell):
        ...     hidden_size: int
        ...     Carry = rj.cells.HiddenCarry
        ...     output = "h"
        ...     def init(self, key, in_features, dtype=float):
        ...         return ()
        ...     def element(self, params, z):
        ...         decay = jnp.full((1,) * z.ndim, 0.9, z.dtype)
        ...         return rj.scans.Diagonal(decay, self.Carry(z))
        ...     def emit(self, params, carry, z):
        ...         return carry.h
        >>> cell, xs = Leaky(hidden_size=2), jnp.ones((3, 2))
        >>> carry, ys = rj.unroll(cell, (), xs, method=rj.Associative())
        >>> print(ys[:, 0])
        [1.   1.9  2.71]
    """

    chunked = True

    @property
    def linear(self) -> bool:  # type: ignore[override]
        """Whether the recurrence is that of `element` and `emit`."""
        return type(self).recur is LinearCell.recur

    @abc.abstractmethod
    def element(self, params: Any, z: Any) -> Any:
        """Return the linear step that an input makes: a value of `rj.scans`."""

    @abc.abstractmethod
    def emit(self, params: Any, carry: C, z: Any) -> Any:
        """Return the output for the carry after a step."""

    def recur(self, params: Any, carry: C, z: Any) -> tuple[C, Any]:
        """Return `(carry, y)`: apply the step, then read the output."""
        carry = self.element(params, z).apply(carry)
        return carry, self.emit(params, carry, z)

    def steps(self, params: Any, carry: C, z: Any, how: Steps) -> tuple[C, Any]:
        """Return the final carry and all outputs, with time as the first axis of z."""
        final, states = how.states(self.element(params, z), carry)
        return final, self.emit(params, states, z)


class Query(NamedTuple):
    """The projected input of a `MatrixCell`.

    Attributes:
        query: what the state is asked, `(*lead, heads, K)`.
        step: what the step does to the state: `Outer`, `Delta` or `Stabilised`.
    """

    query: jax.Array
    step: Any


@dataclasses.dataclass(frozen=True)
class MatrixCell(LinearCell[P, C]):
    r"""A linear cell with a matrix as its state, which queries read.

    $$ o_t = S_t^\top q_t, \qquad y_t = \mathrm{finish}(o_t, z_t) $$

    A subclass defines `init`, a carry, and `project`, which returns `Query`: the
    queries, and the step that the input makes. Or it overrides `query` and `element`,
    which read these from z. The output is what the heads have read, side by side,
    unless the subclass overrides `finish`. A chunk of steps is computed by products of
    matrices, without the states between.

    Example: Linear attention of one head, whose parts come from the input itself:

        >>> import dataclasses
        >>> import jax, jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> @dataclasses.dataclass(frozen=True)
        ... class LinearAttention(rj.MatrixCell):
        ...     hidden_size: int
        ...     Carry = rj.scans.MatrixCarry
        ...     output = None
        ...     def init(self, key, in_features, dtype=float):
        ...         return ()
        ...     def initial_carry(self, batch_shape=(), dtype=float, params=None):
        ...         N = self.hidden_size
        ...         return self.Carry(jnp.zeros((*batch_shape, 1, N, N), dtype))
        ...     def project(self, params, x):
        ...         no_decay = jnp.zeros((*x.shape[:-1], 1), x.dtype)
        ...         key = x[..., None, :]  # (*lead, heads, K)
        ...         step = rj.scans.Outer(no_decay, key, value=key)
        ...         return rj.scans.Query(query=key, step=step)
        >>> _, ys = rj.unroll(LinearAttention(2), (), jnp.eye(2))
        >>> print(ys)
        [[1. 0.]
         [0. 1.]]
    """

    def element(self, params: Any, z: Any) -> Any:
        """Return the linear step that an input makes: `z.step` by default."""
        return z.step

    def query(self, params: Any, z: Any) -> jax.Array:
        """Return the queries, `(*lead, heads, K)`: `z.query` by default."""
        return z.query

    def finish(self, params: Any, read: Any, z: Any) -> Any:
        """Return the output: by default what the heads have read, side by side."""
        return read.reshape(*read.shape[:-2], read.shape[-2] * read.shape[-1])

    def emit(self, params: Any, carry: C, z: Any) -> Any:
        """Return the output for the carry after a step."""
        read = self.element(params, z).look(self.query(params, z), carry)
        return self.finish(params, read, z)

    def steps(self, params: Any, carry: C, z: Any, how: Steps) -> tuple[C, Any]:
        """Return the final carry and all outputs, with time as the first axis of z."""
        if how.chunk is None:
            return super().steps(params, carry, z, how)
        element, query = self.element(params, z), self.query(params, z)
        final, read = read_in_chunks(
            element,
            query,
            carry,
            how.flags,
            how.fresh,
            how.chunk,
            how.order,
            how.across,
        )
        return final, self.finish(params, read, z)
