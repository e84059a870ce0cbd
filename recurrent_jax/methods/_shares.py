# SPDX-License-Identifier: Apache-2.0
"""A loop whose units, sequences or steps are shared out over the devices of a mesh."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import PartitionSpec

from recurrent_jax._core.mesh import place, vary_alike
from recurrent_jax._loop.loop import Flags, Loop
from recurrent_jax.methods._default import chosen
from recurrent_jax.methods._linear import at_once, element_of, order_of
from recurrent_jax.methods._sequential import Sequential
from recurrent_jax.methods._units import Kinds, Share, resized, units_of
from recurrent_jax.scans import Across, Diagonal

Axes = tuple[str | None, ...]


def manual(mesh: Any) -> tuple[str, ...]:
    """Return the axes over which `shard_map` runs this code."""
    return tuple(getattr(mesh, "manual_axes", ()))


class Shares(NamedTuple):
    """A loop that is shared out over axes of a mesh."""

    units: str | None
    batch: str | None
    time: str | None
    mesh: Any
    kinds: Kinds
    loop: Loop

    def over(self, carry: Any) -> tuple[Any, Any]:
        """Run each share on its device, under `jit`."""
        steps = self.loop.time
        if self.time is not None and (more := -steps % self.mesh.shape[self.time]):
            final, ys = self._replace(loop=longer(self.loop, more)).over(carry)
            # A share of explicit axes cannot be cut into fewer steps.
            ys = place(ys, PartitionSpec(*(None, self.batch)[: 1 + bool(self.batch)]))
            return final, jax.tree.map(lambda a: a[:steps], ys)
        loop, kinds = self.loop, self.kinds
        gates = jax.tree.map(self._gates, loop.params, kinds.params)
        of_params = jax.tree.map(
            lambda a, k: self._spec(k, a.ndim), gates, kinds.params
        )
        of_carry = jax.tree.map(
            lambda a, k: self._spec(k, a.ndim, (self.batch,)), carry, kinds.carry
        )
        rank, lead = 2 + len(loop.batch_shape), (self.time, self.batch)
        # Arrays without batch axes may have time alone.
        of_time = PartitionSpec(*(lead if self.batch else lead[:1]))
        of_ys = jax.tree.map(lambda k: self._spec(k, rank, lead), kinds.y)
        specs = (of_params, of_time, of_time, of_carry, of_carry)
        given = (gates, loop.xs, loop.flags, loop.fresh, carry)
        run = jax.shard_map(
            self.share, mesh=self.mesh, in_specs=specs, out_specs=(of_carry, of_ys)
        )
        return run(*(place(*pair) for pair in zip(given, specs, strict=True)))

    def inside(self, carry: Any) -> tuple[Any, Any]:
        """Run the share of this device, inside `shard_map`."""
        loop, kinds = self.loop, self.kinds
        gates = jax.tree.map(self._gates, loop.params, kinds.params)
        cut = functools.partial(jax.tree.map, self._cut)
        fresh, start = cut(loop.fresh, kinds.carry), cut(carry, kinds.carry)
        gates = cut(gates, kinds.params)
        final, ys = self.share(gates, loop.xs, loop.flags, fresh, start)
        final = jax.tree.map(self._whole, final, kinds.carry)
        return final, jax.tree.map(self._whole, ys, kinds.y)

    def share(
        self, gates: Any, xs: Any, flags: Any, fresh: Any, carry: Any
    ) -> tuple[Any, Any]:
        """Run the loop of one share. Its arrays are those of `shard_map`."""
        params = jax.tree.map(
            lambda a, kind: a.reshape(*a.shape[:-2], -1) if kind else a,
            gates,
            self.kinds.params,
        )
        # Here, so that their gradients are summed over devices once a sequence.
        params, xs, fresh, carry = (
            vary_alike(tree, (params, xs)) for tree in (params, xs, fresh, carry)
        )
        lead = jax.tree.leaves(xs)[0].shape[1 : 1 + len(self.loop.batch_shape)]
        local = self.loop._replace(
            params=params, xs=xs, flags=flags, fresh=fresh, batch_shape=lead
        )
        if self.time is not None:
            element = element_of(local)
            chunk = None if isinstance(element, Diagonal) else element.chunk_size
            across = Across(self.time, local.reverse)
            return at_once(local, carry, order_of(local), chunk, across)
        if self.units is None:
            method, backward = chosen(local.cell, params, xs, local.time, carry=carry)
        else:
            units = units_of(local.cell) // self._parts
            cell = Share(resized(local.cell, units), self.units, self.kinds.exchanged)
            local, method = local._replace(cell=cell), Sequential()
            backward = method.backward
        return backward.run(local._replace(method=method), carry)

    @property
    def _parts(self) -> int:
        return int(self.mesh.shape[self.units])

    def _gates(self, a: jax.Array, is_units: bool) -> jax.Array:
        """Return an array with the units alone on its last axis."""
        if not is_units:
            return a
        units = units_of(self.loop.cell)
        return a.reshape(*a.shape[:-1], a.shape[-1] // units, units)

    def _spec(self, is_units: bool, rank: int, lead: Axes = ()) -> PartitionSpec:
        """Return where units and sequences are. `lead` is where the first axes are."""
        axes = [*lead, *[None] * rank][:rank]
        if is_units:
            axes[-1] = self.units
        return PartitionSpec(*axes)

    def _cut(self, a: jax.Array, is_units: bool) -> jax.Array:
        """Return the part of this device of an array that is whole."""
        if not is_units:
            return a
        size, place = a.shape[-1] // self._parts, lax.axis_index(self.units)
        return lax.dynamic_slice_in_dim(a, place * size, size, a.ndim - 1)

    def _whole(self, a: jax.Array, is_units: bool) -> jax.Array:
        """Return the parts of all devices, the same on each of them."""
        if not is_units:
            return a
        size, place = a.shape[-1], lax.axis_index(self.units)
        whole = jnp.zeros((*a.shape[:-1], size * self._parts), a.dtype)
        whole = vary_alike(whole, a)
        whole = lax.dynamic_update_slice_in_dim(whole, a, place * size, a.ndim - 1)
        return lax.psum(whole, self.units)


def longer(loop: Loop, more: int) -> Loop:
    """Return the loop with that many skipped steps at its end."""

    def one(a: jax.Array) -> jax.Array:
        if jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
            return jnp.concatenate([a, *[a[-1:]] * more])
        return jnp.pad(a, [(0, more)] + [(0, 0)] * (a.ndim - 1))

    valid, reset = loop.flags
    if valid is None:
        valid = jnp.ones((loop.time, *loop.batch_shape), bool)
    flags = Flags(valid, reset)
    xs, flags = jax.tree.map(one, (loop.xs, flags))
    return loop._replace(xs=xs, flags=flags)
