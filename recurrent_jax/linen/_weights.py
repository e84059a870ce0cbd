# SPDX-License-Identifier: Apache-2.0
"""Variables and parameters, ours and those of Flax."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from recurrent_jax import _checks, convert
from recurrent_jax._core.cell import Cell
from recurrent_jax._core.kinds import ArrayTree, Named, Params, Part
from recurrent_jax._core.network import Network
from recurrent_jax._core.types import Activation, Size
from recurrent_jax._flax import adapters
from recurrent_jax.convert._flax import read_linen
from recurrent_jax.convert._flax_cells import Settings


@_checks.checked
def pack(params: Params) -> dict[str, Any]:
    """Return parameters of a cell or network as variables of its module.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> cell = rj.GRU(hidden_size=3)
        >>> params = cell.init(jax.random.key(0), in_features=2)
        >>> carry, ys = rj.linen.RNN(cell).apply(
        ...     rj.linen.pack(params), jnp.ones((5, 7, 2)))
        >>> ys.shape
        (5, 7, 3)
    """
    return {"params": adapters.nest(params)}


@_checks.checked
def unpack(cell: Part, variables: Named, in_features: Size = 1) -> Any:
    """Return variables of a module as parameters of its cell or network.

    Args:
        cell: a cell or network.
        variables: of its module.
        in_features: needed where a network takes no other number, as a residual one.

    Raises:
        ValueError: if a parameter is missing, or one is there that has no place.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> cell = rj.LSTM(hidden_size=3)
        >>> variables = rj.linen.RNN(cell).init(jax.random.key(0), jnp.ones((5, 7, 2)))
        >>> params = rj.linen.unpack(cell, variables)
        >>> params.kernel.shape
        (2, 12)
    """
    return _unpack("unpack", cell, variables, in_features)


def _unpack(where: str, cell: Any, variables: Any, in_features: int) -> Any:
    if "params" not in variables:
        raise ValueError(
            f"{where}: variables must hold 'params', got {sorted(map(str, variables))}"
        )
    tree = nn.meta.unbox(variables["params"])
    params = adapters.unnest(where, tree, _checks.fresh(cell, in_features))
    ArrayTree(floats=True).check(where, "variables", tree)
    return params


@_checks.checked
def from_flax(
    variables: Any,
    *,
    gate_fn: Activation = jax.nn.sigmoid,
    activation_fn: Activation = jnp.tanh,
    spatial_shape: tuple[Size, ...] | None = None,
    residual: bool = False,
) -> tuple[Cell | Network, dict[str, Any]]:
    """Return what variables of Flax's own recurrent modules are for `RNN`.

    Args:
        variables: of a cell of Flax, an `nn.RNN`, an `nn.Bidirectional` or an
            `nn.Sequential` of these: see `convert.from_linen`.
        gate_fn: the function of the gates, as the cells of Flax were given it.
        activation_fn: that of the candidate, as they were given it.
        spatial_shape: of the images that a `ConvLSTMCell` takes.
        residual: whether a `SimpleCell` was built with `residual=True`.

    Returns:
        A cell or network of ours, and the variables of `RNN` of it.

    Raises:
        TypeError, ValueError: as `convert.from_linen` does.

    Example:
        >>> import flax.linen as nn
        >>> import jax, jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> xs = jnp.ones((5, 7, 2))
        >>> theirs = nn.RNN(nn.OptimizedLSTMCell(features=3))
        >>> ys, variables = theirs.init_with_output(jax.random.key(0), xs)
        >>> cell, ours = rj.linen.from_flax(variables)
        >>> carry, same = rj.linen.RNN(cell).apply(ours, xs)
        >>> bool(jnp.allclose(same, ys, atol=1e-6))
        True
    """
    settings = Settings(
        *("from_flax", "variables"), gate_fn, activation_fn, spatial_shape, residual
    )
    network, params = read_linen(settings, variables)
    return network, pack(params)


@_checks.checked
def to_flax(
    network: Part, variables: Named, *, nearest: bool = False
) -> dict[str, Any]:
    """Return variables of `RNN` as those of Flax's own modules.

    Args:
        network: the cell or network.
        variables: of its module.
        nearest: convert also what Flax computes otherwise, with a warning.

    Raises:
        TypeError, ValueError: as `convert.to_linen` does.

    Example:
        >>> import flax.linen as nn
        >>> import jax, jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> cell, xs = rj.GRU(3), jnp.ones((5, 7, 2))
        >>> ours = rj.linen.RNN(cell).init(jax.random.key(0), xs)
        >>> theirs = rj.linen.to_flax(cell, ours)
        >>> sorted(theirs["params"])
        ['hn', 'hr', 'hz', 'in', 'ir', 'iz']
    """
    params = _unpack("to_flax", network, variables, 1)
    return convert.to_linen(network, params, nearest=nearest)
