# SPDX-License-Identifier: Apache-2.0
"""Convert between variables of modules, parameters, and the variables of Flax."""

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
    """Return the parameters of a cell or network as variables of its module.

    Args:
        params: the parameters, as `init` of the cell or network returns them.

    Returns:
        `{"params": ...}`, nested dicts of the same arrays.

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
    """Return the variables of a module as parameters of its cell or network.

    Args:
        cell: a cell or network.
        variables: the variables of its module.
        in_features: the number of input features. It is required for a network that
            accepts only one number, such as a residual network.

    Returns:
        The parameters, as `init` of the cell or network returns them: the same arrays.

    Raises:
        ValueError: if a parameter is missing, or if there is an unknown one.

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
    """Convert the variables of Flax's own recurrent modules to those of `RNN`.

    Args:
        variables: the variables of a Flax cell, an `nn.RNN`, an `nn.Bidirectional` or
            an `nn.Sequential` of these. See `convert.from_linen`.
        gate_fn: the `gate_fn` that the Flax cells were built with.
        activation_fn: the `activation_fn` that the Flax cells were built with.
        spatial_shape: the height and width of the images that a `ConvLSTMCell` reads.
        residual: whether a `SimpleCell` was built with `residual=True`.

    Returns:
        A cell or network of this library, and the variables of its `RNN`.

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
    """Convert the variables of `RNN` to those of Flax's own modules.

    Args:
        network: the cell or network.
        variables: the variables of its module.
        nearest: whether to convert, with a warning, also a cell that Flax computes
            differently.

    Returns:
        `{"params": ...}`, the variables of Flax's cell, or of its cells by layer.

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
