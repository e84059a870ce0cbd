# SPDX-License-Identifier: Apache-2.0
"""Diagonal steps, and two orders in which many of them can be computed."""

import dataclasses
import functools
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
from jax import lax

from recurrent_jax._core.arrays import expand_like, select
from recurrent_jax._loop.loop import Flags


class Complex(NamedTuple):
    """A complex array as two real ones, as XLA compiles complex scans slowly."""

    real: jax.Array
    imag: jax.Array


class Diagonal(NamedTuple):
    r"""The step $s_t = a \odot s_{t-1} + b$, for one step or for many.

    Attributes:
        decay: a, an array with the rank of the state, or `Complex`. An axis of size one
            is broadcast: a first axis of size one says that all steps decay alike.
        added: b, a tree with the structure of the carry. If the decay is `Complex`, it
            consists of a real and an imaginary part.

    Example:
        >>> import jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> step = rj.scans.Diagonal(jnp.array([0.5]), (jnp.array([1.0]),))
        >>> print(step.apply((jnp.array([4.0]),))[0])
        [3.]
    """

    decay: Any
    added: Any

    def apply(self, carry: Any) -> Any:
        """Return the carry after the step."""
        return jax.tree.map(jnp.add, times(self.decay, carry), self.added)

    def after(self, first: "Diagonal") -> "Diagonal":
        """Return one element that is `first` and then this one."""
        return Diagonal(times(self.decay, first.decay), self.apply(first.added))

    def kept(self) -> "Diagonal":
        """Return the element of a step that changes nothing."""
        one = jax.tree.map(jnp.ones_like, self.decay)
        if isinstance(one, Complex):
            one = one._replace(imag=jnp.zeros_like(one.imag))
        return Diagonal(one, jax.tree.map(jnp.zeros_like, self.added))


class Order(Protocol):
    """The order in which the states of many steps are computed: a hashable value.

    `Walk` and `Tree` are orders. All orders give the same states, up to rounding.

    Example:
        >>> import jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> steps = rj.scans.Diagonal(jnp.full((3, 1), 0.5), jnp.ones((3, 1)))
        >>> flags = rj.methods.Flags(valid=None, reset=None)
        >>> for order in (rj.scans.Walk(), rj.scans.Tree()):
        ...     print(order.states(steps, jnp.zeros(1), flags, None)[:, 0])
        [1.   1.5  1.75]
        [1.   1.5  1.75]
    """

    def states(self, element: Any, carry: Any, flags: Flags, fresh: Any) -> Any:
        """Return the carry after each step.

        Args:
            element: the steps, `Diagonal` or `Blocks`, with time as the first axis.
            carry: the initial carry, `(*batch, ...)`.
            flags: which steps are skipped, and which are reset, `(time, *batch)`.
            fresh: the carry that a reset restarts from. It is not read without resets.

        Returns:
            A tree like the carry, each part `(time, *batch, ...)`.
        """
        ...


@dataclasses.dataclass(frozen=True)
class Walk:
    """One step after the other: an `Order`.

    It makes one product and one sum for each step, and keeps one state.

    Example:
        >>> import jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> steps = rj.scans.Diagonal(jnp.full((3, 1), 0.5), jnp.ones((3, 1)))
        >>> flags = rj.methods.Flags(None, reset=jnp.array([False, False, True]))
        >>> states = rj.scans.Walk().states(steps, jnp.zeros(1), flags, jnp.zeros(1))
        >>> print(states[:, 0])
        [1.  1.5 1. ]
    """

    def states(self, element: Any, carry: Any, flags: Flags, fresh: Any) -> Any:
        """Return the carry after each step, with time as the first axis."""
        alike = _alike(element)

        def body(before: Any, now: Any) -> tuple[Any, Any]:
            decay, added, flags = now
            if flags.reset is not None:
                before = select(flags.reset, fresh, before)
            step = type(element)(decay if alike is None else alike, added)
            after = step.apply(before)
            if flags.valid is not None:
                after = select(flags.valid, after, before)
            return after, after

        decay = element.decay if alike is None else None
        return lax.scan(body, carry, (decay, element.added, flags))[1]


@dataclasses.dataclass(frozen=True)
class Tree:
    r"""All steps at once: an `Order`.

    $$ (a_2, b_2) \circ (a_1, b_1) = (a_2 \odot a_1, \; a_2 \odot b_1 + b_2) $$

    `lax.associative_scan` combines neighbours in a tree, whose depth is the logarithm
    of the number of steps. It makes more products than `Walk`, and keeps an array over
    time at each level.

    Example:
        >>> import jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> steps = rj.scans.Diagonal(jnp.full((3, 1), 0.5), jnp.ones((3, 1)))
        >>> flags = rj.methods.Flags(None, reset=jnp.array([False, False, True]))
        >>> states = rj.scans.Tree().states(steps, jnp.zeros(1), flags, jnp.zeros(1))
        >>> print(states[:, 0])
        [1.  1.5 1. ]
    """

    def states(self, element: Any, carry: Any, flags: Flags, fresh: Any) -> Any:
        """Return the carry after each step, with time as the first axis."""
        elements = _every(element, flags), flags.reset
        return started(lax.associative_scan(join, elements), carry, fresh)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def diagonal_states(
    order: Order, element: Any, carry: Any, flags: Flags, fresh: Any
) -> Any:
    r"""Return the carry after each step of a diagonal recurrence.

    $$
    s_t = a_t \odot s_{t-1} + b_t, \qquad
    \bar b_t = \bar s_t + a_{t+1} \odot \bar b_{t+1}, \qquad
    \bar a_t = \bar b_t \odot s_{t-1}
    $$

    A bar marks the derivative of a loss. With `Blocks`, the products are those of
    matrices. The derivative is the same scan of other numbers, and its transpose is a
    scan in the other direction. A walk saves decays and states, and a tree also
    products of decays.

    Args:
        order: `Walk()` or `Tree()`.
        element: the steps, `Diagonal` or `Blocks`, with time as the first axis.
        carry: the initial carry, `(*batch, ...)`.
        flags: which steps are skipped, and which are reset, `(time, *batch)`.
        fresh: the carry that a reset restarts from. It is not read without resets.

    Returns:
        A tree like the carry, each part `(time, *batch, ...)`, in its dtype.

    Example:
        >>> import jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> steps = rj.scans.Diagonal(jnp.full((3, 1), 0.5), jnp.ones((3, 1)))
        >>> flags = rj.methods.Flags(valid=jnp.array([True, False, True]), reset=None)
        >>> states = rj.scans.diagonal_states(
        ...     rj.scans.Walk(), steps, jnp.zeros(1), flags, None)
        >>> print(states[:, 0])
        [1.  1.  1.5]
    """
    return order.states(element, carry, flags, fresh)


@diagonal_states.defjvp
def _derivative(order: Order, primals: Any, tangents: Any) -> tuple[Any, Any]:
    element, carry, flags, fresh = primals
    d, d_carry, _, d_fresh = tangents
    states = diagonal_states(order, element, carry, flags, fresh)
    befores = jax.tree.map(
        lambda start, later: jnp.concatenate([start[None], later[:-1]]), carry, states
    )
    if flags.reset is not None:
        again = jax.tree.map(lambda a: a[None], fresh)
        befores = select(flags.reset, again, befores)
    moved = element._replace(added=d.apply(befores))
    return states, order.states(moved, d_carry, flags, d_fresh)


def times(decay: Any, state: Any) -> Any:
    r"""Return $a \odot s$ for each array of a tree, or for each complex pair of it."""
    if not isinstance(decay, Complex):
        return jax.tree.map(lambda s: decay * s, state)
    leaves, structure = jax.tree.flatten(state)
    products = (
        (decay.real * real - decay.imag * imag, decay.real * imag + decay.imag * real)
        for real, imag in zip(leaves[::2], leaves[1::2], strict=True)
    )
    return structure.unflatten(part for pair in products for part in pair)


def join(first: Any, second: Any) -> Any:
    """Return two elements in a row. A reset in the second forgets the first."""
    (one, before), (other, reset) = first, second
    both = other.after(one)
    if reset is None:
        return both, None
    return select(reset, other, both), before | reset


def started(elements: Any, carry: Any, fresh: Any) -> Any:
    """Return the states that elements lead to from the carry, or from a reset."""
    element, reset = elements

    def lead(tree: Any) -> Any:
        return jax.tree.map(expand_like, tree, element.added)

    carry = lead(carry)
    return element.apply(carry if reset is None else select(reset, lead(fresh), carry))


def _alike(element: Any) -> Any:
    """Return the decay of each step if it is the same for all steps, or None."""
    time = jax.tree.leaves(element.added)[0].shape[0]
    if time == 1 or any(a.shape[0] != 1 for a in jax.tree.leaves(element.decay)):
        return None
    return jax.tree.map(lambda a: a[0], element.decay)


def _every(element: Any, flags: Flags) -> Any:
    """Return an element for each step, which changes nothing if the step is skipped."""
    flag = flags.reset if flags.valid is None else flags.valid
    lead = jax.tree.leaves(element.added)[0].shape[:1] if flag is None else flag.shape
    decay = jax.tree.map(
        lambda a: jnp.broadcast_to(a, (*lead, *a.shape[len(lead) :])), element.decay
    )
    element = element._replace(decay=decay)
    if flags.valid is None:
        return element
    return select(flags.valid, element, element.kept())
