# SPDX-License-Identifier: Apache-2.0
"""Facts about a cell, read from its jaxprs, that make its backward pass cheaper.

The gradient is correct without them. A cell that is not recognised is only slower.
"""

import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from jax.extend.core import Literal


class Product(NamedTuple):
    """The map `leaves(argument)[source] @ leaves(params)[kernel] (+ bias)`."""

    source: int
    kernel: int
    biased: bool  # whether it adds a term that depends on the parameters only
    precision: Any


class Update(NamedTuple):
    """How `update` uses its arguments."""

    reads: bool  # whether it reads a parameter, such as the peepholes of an LSTM
    summed: tuple[bool, ...]  # for each gate: whether it reads z and u only as z + u
    emitted: frozenset[int]  # the leaves of the carry that are also the output


class _Value(NamedTuple):
    """An input or output of an equation, identified by `id`."""

    aval: Any


class _Equation(NamedTuple):
    name: str
    params: dict[str, Any]
    invars: list[Any]
    outvars: list[Any]


class _Jaxpr(NamedTuple):
    eqns: list[_Equation]
    invars: list[Any]
    outvars: list[Any]


def _read(function: Callable[..., Any], *arguments: Any) -> _Jaxpr:
    """Return the equations of a function, including those inside a nested `jit`."""
    jaxpr = jax.make_jaxpr(function)(*arguments).jaxpr
    return _written_out(jaxpr, [_Value(v.aval) for v in jaxpr.invars])


def _written_out(jaxpr: Any, inputs: list[Any]) -> _Jaxpr:
    values = dict(zip(map(id, jaxpr.invars), inputs, strict=True))
    eqns: list[_Equation] = []

    def value(v: Any) -> Any:
        return v if isinstance(v, Literal) else values.setdefault(id(v), v)

    for eqn in jaxpr.eqns:
        taken = list(map(value, eqn.invars))
        if eqn.primitive.name in ("jit", "pjit"):
            # Expand every call anew: two calls of one function share its variables.
            inner = _written_out(eqn.params["jaxpr"].jaxpr, taken)
            eqns += inner.eqns
            given = inner.outvars
        else:
            given = [_Value(v.aval) for v in eqn.outvars]
            eqns.append(_Equation(eqn.primitive.name, eqn.params, taken, given))
        values |= zip(map(id, eqn.outvars), given, strict=True)
    return _Jaxpr(eqns, inputs, list(map(value, jaxpr.outvars)))


def of_update(
    update: Callable[..., Any], params: Any, carry: Any, z: Any, u: Any, gates: int
) -> Update:
    """Return how `update(params, carry, z, u)` uses its arguments."""
    jaxpr = _read(update, params, carry, z, u)
    inputs, outputs = ([id(v) for v in vs] for vs in (jaxpr.invars, jaxpr.outvars))
    mine = set(inputs[: len(jax.tree.leaves(params))])
    size = len(jax.tree.leaves(carry))
    one_output = len(outputs) == size + 1
    return Update(
        reads=any(mine & set(use) for use in _uses(jaxpr)),
        summed=_summed(jaxpr, gates) if _alike(z, u) else (False,) * gates,
        emitted=frozenset(
            n for n in range(size) if one_output and outputs[n] == outputs[-1]
        ),
    )


def product(
    function: Callable[[Any, Any], Any], params: Any, argument: Any, rank: int
) -> Product | None:
    """Return the product that a function computes, or None if it is no product."""
    jaxpr = _read(function, params, argument)
    count = len(jax.tree.leaves(params))
    place = {id(v): n for n, v in enumerate(jaxpr.invars)}
    # Values that depend on the parameters only, and which parameters they depend on.
    fixed = {id(v): {n} for n, v in enumerate(jaxpr.invars[:count])}
    found, last = None, None
    for eqn in jaxpr.eqns:
        name, out = eqn.name, eqn.outvars[0]
        mixed = [
            v for v in eqn.invars if not isinstance(v, Literal) and id(v) not in fixed
        ]
        if not mixed:
            parts = set().union(*(fixed.get(id(v), ()) for v in eqn.invars))
            fixed |= {id(v): parts for v in eqn.outvars}
            continue
        if name == "dot_general" and found is None and _is_plain(eqn, rank):
            source, kernel = (place.get(id(v), -1) for v in eqn.invars)
            if source < count or not 0 <= kernel < count:
                return None
            found = Product(source - count, kernel, False, eqn.params["precision"])
        elif name == "add" and found is not None and len(mixed) == 1:
            (bias,) = (v for v in eqn.invars if v is not mixed[0])
            one_row = (1,) * (bias.aval.ndim - 1) + out.aval.shape[-1:]
            of_kernel = found.kernel in fixed.get(id(bias), ())
            if mixed[0] is not last or bias.aval.shape != one_row or of_kernel:
                return None
            found = found._replace(biased=True)
        else:
            return None
        last = out
    return found if [id(v) for v in jaxpr.outvars] == [id(last)] else None


def _summed(jaxpr: _Jaxpr, gates: int) -> tuple[bool, ...]:
    """Return for each gate whether only the sum of the last two arguments is read."""
    uses = _uses(jaxpr)
    names = [eqn.name for eqn in jaxpr.eqns]

    def is_sum(pair: set[int]) -> bool:
        readers = [n for n, use in enumerate(uses) if pair & set(use)]
        alone = len(readers) == 1 and set(uses[readers[0]]) == pair
        return len(pair) == 2 and alone and names[readers[0] :][:1] == ["add"]

    z, u = jaxpr.invars[-2:]
    if is_sum({id(z), id(u)}):
        return (True,) * gates
    pieces = zip(_pieces(jaxpr, z, gates), _pieces(jaxpr, u, gates), strict=True)
    return tuple(is_sum({*one, *other}) for one, other in pieces)


def _pieces(jaxpr: _Jaxpr, whole: Any, gates: int) -> list[set[int]]:
    """Return the pieces that an array is cut into, one set for each gate.

    The sets are empty if the array is read whole or cut in any other way.
    """
    pieces: list[set[int]] = [set() for _ in range(gates)]
    width = whole.aval.shape[-1] // gates
    for eqn in jaxpr.eqns:
        if not any(v is whole for v in eqn.invars):
            continue
        if eqn.name == "split":
            starts = itertools.accumulate(eqn.params["sizes"], initial=0)
        elif eqn.name == "slice" and eqn.params["strides"] is None:
            starts = iter(eqn.params["start_indices"][-1:])
        else:
            return [set() for _ in range(gates)]
        shape = (*whole.aval.shape[:-1], width)
        for start, piece in zip(starts, eqn.outvars, strict=False):
            if piece.aval.shape != shape or start % width:
                return [set() for _ in range(gates)]
            pieces[start // width].add(id(piece))
    return pieces


def _uses(jaxpr: _Jaxpr) -> list[list[int]]:
    """Return the variables that each equation reads, and last the outputs."""
    readers = [eqn.invars for eqn in jaxpr.eqns] + [jaxpr.outvars]
    return [[id(v) for v in variables] for variables in readers]


def _is_plain(eqn: _Equation, rank: int) -> bool:
    """Return whether an equation multiplies rows by a matrix, all of one dtype."""
    left, right = (v.aval for v in eqn.invars)
    rows = (((left.ndim - 1,), (0,)), ((), ()))
    return bool(
        eqn.params["dimension_numbers"] == rows
        and (left.ndim, right.ndim) == (rank, 2)
        and left.dtype == right.dtype == eqn.outvars[0].aval.dtype
    )


def _alike(z: Any, u: Any) -> bool:
    """Return whether each is a single array, with the same shape and dtype."""
    (structure, *zs), (other, *us) = (
        (jax.tree.structure(tree), *((a.shape, a.dtype) for a in jax.tree.leaves(tree)))
        for tree in (z, u)
    )
    return len(zs) == 1 and structure == other and zs == us
