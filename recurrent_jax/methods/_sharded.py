# SPDX-License-Identifier: Apache-2.0
"""The method that runs a cell over the devices of a mesh."""

import dataclasses
from typing import Any

import jax
from jax.sharding import NamedSharding, PartitionSpec

from recurrent_jax import _checks
from recurrent_jax._core.mesh import mesh_of
from recurrent_jax._loop.loop import Loop, run_steps
from recurrent_jax.backward import Autodiff
from recurrent_jax.methods._linear import reason
from recurrent_jax.methods._shares import Shares, manual
from recurrent_jax.methods._units import Kinds, kinds_of, no_units, units_of


@dataclasses.dataclass(frozen=True)
class Sharded:
    r"""Run a cell over the devices of a mesh, with few exchanges between them.

    $$
    u_t^{(d)} = h_{t-1} U^{(d)}, \qquad h_{t-1} = [h_{t-1}^{(1)}, \ldots, h_{t-1}^{(n)}]
    $$

    With `units`, each device d has a share of the units of all gates. The devices
    exchange h, and what else `feedback` reads, once a step in the forward pass and once
    a step in the backward pass. With `batch`, each device has a share of the sequences.
    In both cases, parameters that are stored in parts are gathered once a sequence, and
    their gradients are summed once a sequence.

    $$ s^{(d)} = A^{(d)} s^{(d-1)} + b^{(d)} $$

    With `time`, each device has a share of the steps of a cell that is linear in its
    carry. All steps of a device are one step of the state, and the devices exchange
    these once a sequence in the forward pass, and once in the backward pass. A final
    carry that is used is exchanged too. If the devices do not divide the number of
    steps, skipped ones are added.

    Parameters stay as `init` returns them. They may be stored in any parts;
    `shardings` proposes some. Which units read each other is found from the code of a
    cell. A cell whose units read each other outside of `feedback`, such as one with
    layer normalisation or `GRU(reset_after=False)`, is refused with `units`, and not
    with `batch`. So is a cell that draws random numbers, with a key.

    Call `unroll` under `jax.set_mesh(mesh)`, or with arrays that are on a mesh, with
    automatic or explicit axes. Inside `shard_map`, each device passes its sequences and
    whole parameters, and gets whole outputs. There `batch` has no effect. With `time`,
    each device passes its own steps and flags, with the carry of the whole sequence,
    and gets the outputs of its steps. There, `lengths` count steps of the device.

    Args:
        units: the mesh axis that shares the units. It divides their number.
        batch: the mesh axis that shares the first batch axis. It divides its size.
        time: the mesh axis that shares the steps of a linear cell.

    Raises:
        TypeError, ValueError: if no axis is named, if one is named twice, if both
            `units` and `time` are, and from `unroll` if there is no such axis, or if it
            cannot share the units, the batch or the steps.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> mesh = jax.make_mesh((1, 1), ("data", "model"))
        >>> method = rj.Sharded(units="model", batch="data")
        >>> cell = rj.LSTM(4)
        >>> params = cell.init(jax.random.key(0), in_features=2)
        >>> params = jax.device_put(params, method.shardings(mesh, params))
        >>> with jax.set_mesh(mesh):
        ...     _, ys = rj.unroll(cell, params, jnp.ones((7, 3, 2)), method=method)
        >>> ys.shape
        (7, 3, 4)

        The steps of a linear cell, shared out:

        >>> cell = rj.LRU(4)
        >>> params = cell.init(jax.random.key(0), in_features=2)
        >>> with jax.set_mesh(mesh):
        ...     method = rj.Sharded(time="model")
        ...     _, ys = rj.unroll(cell, params, jnp.ones((7, 3, 2)), method=method)
        >>> ys.shape
        (7, 3, 4)

    References:
        Shoeybi et al., 2019. Megatron-LM: training multi-billion parameter language
        models using model parallelism. https://arxiv.org/abs/1909.08053
        Rajbhandari et al., 2020. ZeRO: memory optimizations toward training trillion
        parameter models. https://arxiv.org/abs/1910.02054
        Blelloch, 1990. Prefix sums and their applications.
    """

    units: str | None = None
    batch: str | None = None
    time: str | None = None

    # Class attributes. An annotation would turn them into dataclass fields.
    backward = Autodiff()
    steps = False

    def __post_init__(self) -> None:
        _checks.fields(self)
        named = [axis for axis in self._axes if axis is not None]
        if not named:
            raise ValueError("Sharded: name a mesh axis for units, batch or time")
        if len(set(named)) < len(named):
            raise ValueError(f"Sharded: each axis shares one thing, got {self!r}")
        if None not in (self.units, self.time):
            raise ValueError(
                f"Sharded: no cell can share both units and time, got {self!r}; the "
                "units of a linear cell are not shared out, only its steps and its "
                "batch are"
            )

    @property
    def _axes(self) -> tuple[str | None, str | None, str | None]:
        return self.units, self.batch, self.time

    def refuses(self, loop: Loop) -> str | None:
        """Return None, or why the cell cannot be run over the mesh."""
        mesh = mesh_of((loop.params, loop.xs))
        sizes: dict[str, int] = {} if mesh is None else dict(mesh.shape)
        for axis in self._axes:
            if axis is not None and axis not in sizes:
                return (
                    f"there is no mesh axis {axis!r}, only {list(sizes)}; run it under "
                    "jax.set_mesh(mesh), or in shard_map, with an axis of that name"
                )
        if self.time is not None:
            if (why := reason(loop, instead="rj.Sharded(batch=...)")) is not None:
                return why
            if manual(mesh) and self.time not in manual(mesh):
                return f"shard_map does not run over the axis {self.time!r}"
        if self.batch is not None and self.batch not in manual(mesh):
            size, parts = (*loop.batch_shape, 0)[0], sizes[self.batch]
            if not size or size % parts:
                return (
                    f"the batch of shape {loop.batch_shape} cannot be shared by the "
                    f"{parts} devices of the axis {self.batch!r}"
                )
        return self._no_units(loop, sizes)

    def shardings(self, mesh: Any, tree: Any) -> Any:
        """Return where to store each array of parameters or of an optimiser's state.

        The axis of the units cuts the first axis of an array that it divides, and that
        of the batch the last one that is left. Other axes are whole.

        Args:
            mesh: a `jax.sharding.Mesh` that has the named axes.
            tree: any pytree of arrays, or of their shapes.

        Returns:
            A `jax.sharding.NamedSharding` for each array.
        """

        def one(a: Any) -> NamedSharding:
            axes: list[str | None] = [None] * len(a.shape)
            dims = range(len(a.shape))
            for name, order in ((self.units, dims), (self.batch, reversed(dims))):
                fits = (
                    d
                    for d in order
                    if name and axes[d] is None and a.shape[d] % mesh.shape[name] == 0
                )
                if (found := next(fits, None)) is not None:
                    axes[found] = name
            return NamedSharding(mesh, PartitionSpec(*axes))

        return jax.tree.map(one, tree)

    def _no_units(self, loop: Loop, sizes: dict[str, int]) -> str | None:
        if self.units is None:
            return None
        if isinstance(kinds := kinds_of(loop), str):
            return kinds
        units, parts = units_of(loop.cell), sizes[self.units]
        if units % parts:
            return (
                f"its {units} units cannot be shared by the {parts} devices of the "
                f"axis {self.units!r}"
            )
        return None

    def run(self, loop: Loop, carry: Any) -> tuple[Any, Any]:
        """Return the final carry and all outputs."""
        if self.time is not None and (loop.time == 0 or 0 in loop.batch_shape):
            return run_steps(loop, carry)[:2]
        mesh, kinds = mesh_of((loop.params, loop.xs)), None
        if self.units is not None:
            kinds = kinds_of(loop)
            assert isinstance(kinds, Kinds)
        shares = Shares(*self._axes, mesh, kinds or no_units(loop, carry), loop)
        return shares.inside(carry) if manual(mesh) else shares.over(carry)

    def befores(self, loop: Loop, carry: Any) -> Any:
        """Return the carry before each step, with time as the first axis."""
        return run_steps(loop, carry)[2]
