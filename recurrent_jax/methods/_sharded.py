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

    Parameters stay as `init` returns them. They may be stored in any parts;
    `shardings` proposes some. Which units read each other is found from the code of a
    cell. A cell whose units read each other outside of `feedback`, such as one with
    layer normalisation or `GRU(reset_after=False)`, is refused with `units`, and not
    with `batch`. So is a cell that draws random numbers, with a key.

    Call `unroll` under `jax.set_mesh(mesh)`, or with arrays that are on a mesh, with
    automatic or explicit axes. Inside `shard_map`, each device passes its sequences and
    whole parameters, and gets whole outputs. There `batch` has no effect.

    Args:
        units: the mesh axis that shares the units. It divides their number.
        batch: the mesh axis that shares the first batch axis. It divides its size.

    Raises:
        TypeError, ValueError: if no axis is named, and from `unroll` if there is no
            such axis, or if it cannot share the units or the batch.

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

    References:
        Shoeybi et al., 2019. Megatron-LM: training multi-billion parameter language
        models using model parallelism. https://arxiv.org/abs/1909.08053
        Rajbhandari et al., 2020. ZeRO: memory optimizations toward training trillion
        parameter models. https://arxiv.org/abs/1910.02054
    """

    units: str | None = None
    batch: str | None = None

    # Class attributes. An annotation would turn them into dataclass fields.
    backward = Autodiff()
    steps = False

    def __post_init__(self) -> None:
        _checks.fields(self)
        if self.units is None and self.batch is None:
            raise ValueError(
                "Sharded: name a mesh axis for units, for batch or for both"
            )

    def refuses(self, loop: Loop) -> str | None:
        """Return None, or why the cell cannot be run over the mesh."""
        mesh = mesh_of((loop.params, loop.xs))
        sizes: dict[str, int] = {} if mesh is None else dict(mesh.shape)
        for axis in (self.units, self.batch):
            if axis is not None and axis not in sizes:
                return (
                    f"there is no mesh axis {axis!r}, only {list(sizes)}; run it under "
                    "jax.set_mesh(mesh), or in shard_map, with an axis of that name"
                )
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
        mesh, kinds = mesh_of((loop.params, loop.xs)), None
        if self.units is not None:
            kinds = kinds_of(loop)
            assert isinstance(kinds, Kinds)
        shares = Shares(
            self.units, self.batch, mesh, kinds or no_units(loop, carry), loop
        )
        return shares.inside(carry) if manual(mesh) else shares.over(carry)

    def befores(self, loop: Loop, carry: Any) -> Any:
        """Return the carry before each step, with time as the first axis."""
        return run_steps(loop, carry)[2]
