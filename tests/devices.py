# SPDX-License-Identifier: Apache-2.0
"""Types of arrays on devices that are not there."""

import inspect

import jax
from jax.sharding import AbstractMesh, AxisType, NamedSharding, PartitionSpec

TPU = "TPU v5 lite"
GPU = "NVIDIA H100 80GB HBM3"


def on(kind):
    """Return a sharding of a device that is not there."""
    given = {"device_kind": kind, "platform": kind.split()[0].lower(), "num_cores": 1}
    fields = inspect.signature(jax.sharding.AbstractDevice).parameters
    device = jax.sharding.AbstractDevice(**{name: given[name] for name in fields})
    axes = (AxisType.Auto,)
    mesh = AbstractMesh((1,), ("batch",), axis_types=axes, abstract_device=device)
    return NamedSharding(mesh, PartitionSpec())


def place(tree, kind, dtype=None):
    """Return the types of arrays on a device, with the floats in another dtype."""

    def one(a):
        is_float = jax.numpy.issubdtype(a.dtype, jax.numpy.floating)
        chosen = dtype if dtype and is_float else a.dtype
        return jax.ShapeDtypeStruct(a.shape, chosen, sharding=on(kind))

    return jax.tree.map(one, tree)
