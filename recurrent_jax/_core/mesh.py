# SPDX-License-Identifier: Apache-2.0
"""Arrays that are sharded over a mesh of devices."""

from typing import Any

import jax
from jax import lax
from jax.sharding import NamedSharding, PartitionSpec


def explicit_mesh(a: jax.Array) -> Any:
    """Return the mesh with explicit axes that an array is sharded over, or None."""
    mesh = jax.typeof(a).sharding.mesh
    return mesh if mesh.explicit_axes else None


def shard_alike(tree: Any, xs: Any, batch_rank: int) -> Any:
    """Shard batch axes like those of time-major `xs`, on a mesh with explicit axes.

    On such a mesh, the type of an array includes its sharding, and a loop must return
    the types that it took. Elsewhere the compiler chooses the sharding, and `tree` is
    returned unchanged.
    """
    first = jax.tree.leaves(xs)[0]
    mesh = explicit_mesh(first)
    if mesh is None:
        return tree
    batch = jax.typeof(first).sharding.spec[1 : 1 + batch_rank]

    def one(a: jax.Array) -> jax.Array:
        rest = jax.typeof(a).sharding.spec[batch_rank:]
        return jax.sharding.reshard(
            a, NamedSharding(mesh, PartitionSpec(*batch, *rest))
        )

    return jax.tree.map(lambda a: one(a) if a.ndim >= batch_rank else a, tree)


def vary_alike(tree: Any, others: Any) -> Any:
    """Mark `tree` as varying over the mesh axes of `others`, inside `shard_map`."""

    def varying(x: jax.Array) -> frozenset[str]:
        return getattr(jax.typeof(x).manual_axis_type, "varying", frozenset())

    axes = frozenset().union(*map(varying, jax.tree.leaves((tree, others))))
    if not axes:
        return tree
    return jax.tree.map(
        lambda x: lax.pcast(x, tuple(axes - varying(x)), to="varying"), tree
    )
