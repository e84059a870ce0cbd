# SPDX-License-Identifier: Apache-2.0
"""Arrays that are sharded over a mesh of devices.

Only this module reads the mesh from the type of an array. JAX has renamed parts of that
type. If a name is missing, the array counts as one on a single device.
"""

from typing import Any

import jax
from jax import lax
from jax.sharding import NamedSharding, PartitionSpec


def explicit_mesh(a: jax.Array) -> Any:
    """Return the mesh with explicit axes that an array is sharded over, or None."""
    mesh = _ask(a, "sharding", "mesh")
    return mesh if _ask(mesh, "explicit_axes") else None


def kind_of(tree: Any) -> str:
    """Return the kind of the device of arrays, or of that which they are traced for.

    The type of an array on a mesh names the kind of its devices. Inside `jit`, no other
    type does. Then the default device of JAX counts, which is part of what `jit`
    compiles for.
    """
    for a in jax.tree.leaves(tree):
        kind = _ask(a, "sharding", "mesh", "abstract_device", "device_kind")
        if kind is not None:
            return str(kind)
    device = getattr(jax.config, "jax_default_device", None) or jax.default_backend()
    if device in ("gpu", "cuda"):
        device = jax.devices(device)[0]
    return str(getattr(device, "device_kind", device))


def platform_of(tree: Any) -> str:
    """Return the platform of `kind_of`: `cpu`, `tpu`, or for any other `gpu`."""
    name = kind_of(tree).lower()
    return next((one for one in ("cpu", "tpu") if name.startswith(one)), "gpu")


def are_on_cpu(tree: Any) -> bool:
    """Return whether arrays are on a CPU, or are traced for one."""
    return platform_of(tree) == "cpu"


def is_shared_out(tree: Any) -> bool:
    """Return whether any array is, or may be, on several devices.

    Inside `jit`, the type of an array names its mesh, but not which automatic axes the
    array uses. All automatic axes count as used. An array without a mesh in its type,
    such as a host array that `in_shardings` places, counts as being on one device.
    `shard_map` passes the part of a single device to its function.
    """
    return any(map(_is_shared_out, jax.tree.leaves(tree)))


def shard_alike(tree: Any, like: Any, axes: slice) -> Any:
    """Shard leading axes like the `axes` of `like`, if its mesh has explicit axes.

    With explicit axes, the type of an array includes its sharding, and the carry of a
    loop must keep its type. Otherwise the compiler chooses the sharding.
    """
    first = jax.tree.leaves(like)[0]
    mesh = explicit_mesh(first)
    if mesh is None:
        return tree
    lead = _spec(first)[axes]

    def one(a: jax.Array) -> jax.Array:
        if a.ndim < len(lead):
            return a
        spec = PartitionSpec(*lead, *_spec(a)[len(lead) :])
        return jax.sharding.reshard(a, NamedSharding(mesh, spec))

    return jax.tree.map(one, tree)


def whole(tree: Any) -> Any:
    """Return arrays that each device has whole, if they are sharded by explicit axes.

    With automatic axes, the compiler gathers arrays where a program needs them whole.
    """

    def one(a: jax.Array) -> jax.Array:
        mesh = explicit_mesh(a)
        if mesh is None or not any(_spec(a)):
            return a
        return jax.sharding.reshard(a, NamedSharding(mesh, PartitionSpec()))

    return jax.tree.map(one, tree)


def mesh_of(tree: Any) -> Any:
    """Return the mesh that code runs under, or else the one that arrays are on.

    It is that of `jax.set_mesh` or `shard_map`. None means that there is no mesh.
    """
    under = jax.sharding.get_abstract_mesh()
    found = [under, *(_ask(a, "sharding", "mesh") for a in jax.tree.leaves(tree))]
    return next((mesh for mesh in found if getattr(mesh, "shape", None)), None)


def place(tree: Any, specs: Any) -> Any:
    """Return arrays with these specs, if their mesh has explicit axes.

    `specs` may be a prefix of the tree. Automatic axes are left to the compiler. An
    array on no mesh goes to that of `jax.set_mesh`.
    """
    under = jax.sharding.get_abstract_mesh()

    def one(a: jax.Array, spec: PartitionSpec) -> jax.Array:
        mesh = explicit_mesh(a) or (under if _ask(under, "explicit_axes") else None)
        if mesh is None:
            return a
        return jax.sharding.reshard(a, NamedSharding(mesh, spec))

    def each(spec: PartitionSpec, part: Any) -> Any:
        return jax.tree.map(lambda a: one(a, spec), part)

    is_spec = lambda spec: isinstance(spec, PartitionSpec)  # noqa: E731
    return jax.tree.map(each, specs, tree, is_leaf=is_spec)


def take(table: jax.Array, index: jax.Array) -> jax.Array:
    """Return the rows of `table` at an index that may be sharded by explicit axes."""
    mesh = explicit_mesh(index)
    if mesh is None:
        return table[index]
    spec = PartitionSpec(*_spec(index), *_spec(table)[1:])
    return table.at[index].get(out_sharding=NamedSharding(mesh, spec))


def vary_alike(tree: Any, others: Any) -> Any:
    """Mark `tree` as varying over the mesh axes of `others`, inside `shard_map`."""
    axes = frozenset().union(*map(_varying, jax.tree.leaves((tree, others))))
    if not axes:
        return tree
    return jax.tree.map(
        lambda x: lax.pcast(x, tuple(axes - _varying(x)), to="varying"), tree
    )


def like(a: jax.Array, shape: tuple[int, ...], dtype: Any) -> jax.ShapeDtypeStruct:
    """Return a type that varies over the mesh axes of `a`, inside `shard_map`."""
    varying = _ask(a, "manual_axis_type")
    given = {} if varying is None else {"manual_axis_type": varying}
    return jax.ShapeDtypeStruct(shape, dtype, **given)


def invariant(aval: Any) -> Any:
    """Return the type of an array without mesh axes that it varies over."""
    varying = _ask(aval, "manual_axis_type")
    return aval.update(manual_axis_type=type(varying)()) if varying else aval


def _ask(of: Any, *names: str) -> Any:
    """Return a nested attribute of the type of an array, or None if it is missing."""
    found = jax.typeof(of) if isinstance(of, jax.Array) else of
    for name in names:
        found = getattr(found, name, None)
    return found


def _spec(a: jax.Array) -> tuple[Any, ...]:
    """Return the mesh axes that each axis of an array is sharded over."""
    return (*(_ask(a, "sharding", "spec") or ()), *(None,) * a.ndim)[: a.ndim]


def _is_shared_out(a: jax.Array) -> bool:
    mesh = _ask(a, "sharding", "mesh")
    if getattr(mesh, "empty", False):
        return False
    sizes = _ask(mesh, "shape") or {}
    automatic = any(sizes[axis] > 1 for axis in _ask(mesh, "auto_axes") or ())
    return automatic or (explicit_mesh(a) is not None and any(_spec(a)))


def _varying(a: jax.Array) -> frozenset[str]:
    axes = _ask(a, "manual_axis_type", "varying") or _ask(a, "vma")
    return frozenset(axes or ())
