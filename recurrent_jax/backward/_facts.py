# SPDX-License-Identifier: Apache-2.0
"""What a jaxpr tells of a cell, so that a backward can do less than it might have to.

Nothing here is needed for a right gradient: a cell that is not recognised is slower.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax


class Product(NamedTuple):
    """A map that is `leaves(argument)[source] @ leaves(params)[kernel] (+ bias)`."""

    source: int
    kernel: int
    bias: int | None
    precision: Any


class Update(NamedTuple):
    """What `update` does with its arguments."""

    reads: bool  # a parameter, as peepholes are read
    additive: bool  # z and u are read through their sum alone
    emitted: frozenset[int]  # the leaves of the carry that are the output


def of_update(
    update: Callable[..., Any], params: Any, carry: Any, z: Any, u: Any
) -> Update:
    """Return what `update(params, carry, z, u)` does."""
    jaxpr = jax.make_jaxpr(update)(params, carry, z, u).jaxpr
    inputs, outputs = ([id(v) for v in vs] for vs in (jaxpr.invars, jaxpr.outvars))
    uses = [{id(v) for v in eqn.invars} for eqn in jaxpr.eqns] + [set(outputs)]
    mine = set(inputs[: len(jax.tree.leaves(params))])
    pair = set(inputs[-2:])
    readers = [n for n, use in enumerate(uses) if pair & use]
    additive = (
        _alike(z, u)
        and len(readers) == 1
        and uses[readers[0]] == pair
        and [eqn.primitive.name for eqn in jaxpr.eqns][readers[0] :][:1] == ["add"]
    )
    size = len(jax.tree.leaves(carry))
    one_output = len(outputs) == size + 1
    return Update(
        reads=any(mine & use for use in uses),
        additive=additive,
        emitted=frozenset(
            n for n in range(size) if one_output and outputs[n] == outputs[-1]
        ),
    )


def product(
    function: Callable[[Any, Any], Any], params: Any, argument: Any, rank: int
) -> Product | None:
    """Return the product that a function is, or None if it is anything else."""
    jaxpr = jax.make_jaxpr(function)(params, argument).jaxpr
    count = len(jax.tree.leaves(params))
    place = {id(v): n for n, v in enumerate(jaxpr.invars)}
    found, last = None, None
    for eqn in jaxpr.eqns:
        name, out = eqn.primitive.name, eqn.outvars[0]
        places = [place.get(id(v), -1) for v in eqn.invars]
        if name == "dot_general" and found is None and _is_plain(eqn, rank):
            source, kernel = places
            if source < count or not 0 <= kernel < count:
                return None
            found = Product(source - count, kernel, None, eqn.params["precision"])
        elif name == "add" and found is not None and found.bias is None:
            bias = max(places)
            if not 0 <= bias < count or not any(v is last for v in eqn.invars):
                return None
            if jaxpr.invars[bias].aval.shape != (out.aval.shape[-1],):
                return None
            found = found._replace(bias=bias)
        elif name == "reshape" and out.aval.shape[-1] == out.aval.size:
            place[id(out)] = places[0]
            continue
        else:
            return None
        last = out
    return found if [id(v) for v in jaxpr.outvars] == [id(last)] else None


def _is_plain(eqn: Any, rank: int) -> bool:
    """Say whether a product is that of rows and a matrix, all of one dtype."""
    left, right = (v.aval for v in eqn.invars)
    rows = (((left.ndim - 1,), (0,)), ((), ()))
    return bool(
        eqn.params["dimension_numbers"] == rows
        and (left.ndim, right.ndim) == (rank, 2)
        and left.dtype == right.dtype == eqn.outvars[0].aval.dtype
    )


def _alike(z: Any, u: Any) -> bool:
    """Say whether both are one array, of the same shape and dtype."""
    (structure, *zs), (other, *us) = (
        (jax.tree.structure(tree), *((a.shape, a.dtype) for a in jax.tree.leaves(tree)))
        for tree in (z, u)
    )
    return len(zs) == 1 and structure == other and zs == us
