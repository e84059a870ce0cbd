# SPDX-License-Identifier: Apache-2.0
"""Every cell with its batch, and its parameters, sharded over explicit axes of a mesh.

Their types are checked as a program is traced, so this needs no device. Values are
compared in `test_backward.py`.
"""

import os

import jax
import jax.numpy as jnp
import pytest
from cases import CELLS, INPUTS, KINDS
from jax.sharding import AbstractMesh, AxisType, NamedSharding, PartitionSpec

import recurrent_jax as rj

ROWS = CELLS if "NIGHTLY" in os.environ else dict.fromkeys(KINDS)
STEPS, BATCH = 6, 4
MESH = AbstractMesh((2,), ("data",), axis_types=(AxisType.Explicit,))
WAYS = {
    "default": {},
    "autodiff": {"backward": rj.Autodiff()},
    "deferred": {"backward": rj.Deferred(block=4)},
    "checkpointed": {"backward": rj.Checkpointed(every=4)},
    "truncated": {"backward": rj.Truncated(3)},
    "chunked": {"method": rj.Chunked(2)},
    "associative": {"method": rj.Associative()},
    "newton": {"method": rj.Newton()},
    "sharded": {"method": rj.Sharded(batch="data")},
}


def on(tree, shardings):
    return jax.tree.map(
        lambda a, s: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=s),
        tree,
        shardings,
    )


def typed(tree, *spec):
    sharding = NamedSharding(MESH, PartitionSpec(*spec))
    return on(tree, jax.tree.map(lambda a: sharding, tree))


def where(a):
    return [*a.sharding.spec, *[None] * a.ndim][: a.ndim]


def loss(params, xs, options, cell, way):
    carry, ys = rj.unroll(cell, params, xs, **options, **way)
    floats = [a for a in jax.tree.leaves((carry, ys)) if a.dtype.kind == "f"]
    return sum(jnp.sum(a.astype(jnp.float32)) for a in floats), ys


@pytest.mark.newest
@pytest.mark.parametrize("name", ROWS)
def test_a_batch_on_explicit_axes(name):
    cell, draw = CELLS[name], INPUTS.get(name)
    key, shape = jax.random.key(0), (STEPS, BATCH)
    xs = draw(key, shape, jnp.float32) if draw else jnp.ones((*shape, 3))
    options = {
        "lengths": typed(jnp.zeros(BATCH, int), "data"),
        "resets": typed(jnp.zeros(shape, bool), None, "data"),
    }
    stored = jax.eval_shape(lambda: cell.init(key, 3))
    xs = typed(xs, None, "data")
    refused = []
    for way, chosen in WAYS.items():
        run = lambda *given, chosen=chosen: loss(*given, cell, chosen)  # noqa: E731
        parts = WAYS["sharded"]["method"].shardings(MESH, stored)
        params = typed(stored) if way == "default" else on(stored, parts)
        differentiated = jax.grad(run, has_aux=True, allow_int=True)
        with jax.sharding.use_abstract_mesh(MESH):
            try:
                grads, ys = jax.eval_shape(differentiated, params, xs, options)
            except (TypeError, NotImplementedError) as error:
                if "method" not in chosen or "cannot run" not in str(error):
                    raise
                refused.append(way)
                continue
        for a, g in zip(*map(jax.tree.leaves, (params, grads)), strict=True):
            assert a.shape == g.shape and where(a) == where(g), (way, a, g)
        for y in jax.tree.leaves(ys):
            assert y.sharding.spec[1] == "data", (way, y)
    assert set(refused) <= {"newton", "associative", *["chunked"] * (not cell.linear)}
