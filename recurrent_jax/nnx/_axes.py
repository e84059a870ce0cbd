# SPDX-License-Identifier: Apache-2.0
"""Logical names for the axes of parameters."""

from typing import Any

from recurrent_jax import _checks
from recurrent_jax._core.kinds import Part
from recurrent_jax._core.types import Size
from recurrent_jax._flax.axis_names import names_of


@_checks.checked
def logical_axes(network: Part, in_features: Size) -> dict[str, Any]:
    """Return the `metadata` of a module that names the axes of all its parameters.

    The names are those of `rj.linen.logical_axes`: `features`, `hidden` and `units`.
    `axis_rules` maps them to the axes of a mesh. Flax places a named parameter when it
    is made, so make the module under a mesh and under the rules.

    Args:
        network: the cell or network of the module.
        in_features: the number of input features.

    Returns:
        A dict from the path of each parameter to the metadata of its `nnx.Param`.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from flax import nnx
        >>> import recurrent_jax as rj
        >>> cell, mesh = rj.LSTM(4), jax.make_mesh((1, 1), ("data", "model"))
        >>> axes = rj.nnx.logical_axes(cell, in_features=2)
        >>> method = rj.Sharded(units="model", batch="data")
        >>> rules = rj.nnx.axis_rules(batch="data", units="model", fsdp="data")
        >>> with jax.set_mesh(mesh), nnx.logical_axis_rules(rules):
        ...     rnn = rj.nnx.RNN(
        ...         cell, 2, metadata=axes, method=method, rngs=nnx.Rngs(0))
        ...     _, ys = rnn(jnp.ones((5, 7, 2)))
        >>> tuple(rnn.params.kernel[...].sharding.spec)
        ('model', 'data')
    """
    named = names_of(network, in_features)
    return {path: {"out_sharding": names} for path, names in named.items()}
