# SPDX-License-Identifier: Apache-2.0
"""Logical names for the axes of parameters."""

import functools
from typing import Any

import flax.linen as nn

from recurrent_jax import _checks
from recurrent_jax._core.kinds import Part
from recurrent_jax._core.types import Size
from recurrent_jax._flax.axis_names import names_of


@_checks.checked
def logical_axes(network: Part, in_features: Size) -> dict[str, Any]:
    """Return the `partition` of a module that names the axes of all its parameters.

    The last axis is called `units` if it has the units, those of all gates side by
    side. Any other axis of units is `hidden`, and that of the input `features`. An axis
    of another kind has no name. `axis_rules` maps the names to the axes of a mesh. As
    with `nn.with_logical_partitioning` everywhere, `init` returns boxed parameters.

    Args:
        network: the cell or network of the module.
        in_features: the number of input features.

    Returns:
        A dict from the path of each parameter to a function that wraps its initialiser.

    Example:
        >>> import flax.linen as nn
        >>> import jax, jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> cell, mesh = rj.LSTM(4), jax.make_mesh((1, 1), ("data", "model"))
        >>> axes = rj.linen.logical_axes(cell, in_features=2)
        >>> method = rj.Sharded(units="model", batch="data")
        >>> rnn = rj.linen.RNN(cell, partition=axes, method=method)
        >>> key, xs = jax.random.key(0), jnp.ones((5, 7, 2))
        >>> rules = rj.linen.axis_rules(batch="data", units="model", fsdp="data")
        >>> with jax.set_mesh(mesh):
        ...     names = nn.get_partition_spec(jax.eval_shape(rnn.init, key, xs))
        ...     places = nn.logical_to_mesh_sharding(names, mesh, rules)
        ...     variables = jax.jit(rnn.init, out_shardings=places)(key, xs)
        ...     _, ys = rnn.apply(variables, xs)
        >>> tuple(names["params"]["kernel"])
        ('features', 'units')
        >>> tuple(variables["params"]["kernel"].value.sharding.spec)
        ('model', 'data')
    """
    wrap = nn.with_logical_partitioning
    named = names_of(network, in_features)
    return {path: functools.partial(wrap, names=names) for path, names in named.items()}
