# SPDX-License-Identifier: Apache-2.0
"""Convert between modules, parameters, and the modules of Flax."""

from typing import Annotated, Any

import jax
from flax import nnx
from jax.sharding import NamedSharding

from recurrent_jax import _checks, convert
from recurrent_jax._checks.kinds import Plain
from recurrent_jax._core.kinds import Params
from recurrent_jax._flax import adapters
from recurrent_jax.nnx._module import AnyModule, unpack
from recurrent_jax.nnx._sequence import RNN

FlaxModule = Annotated[nnx.Module, Plain("a module of flax.nnx", (nnx.Module,))]


@_checks.checked
def load(module: AnyModule, params: Params) -> None:
    """Write the parameters of a cell or network into its module.

    On a mesh, they go where those of the module are.

    Args:
        module: an `RNN`, `Deep` or `Bidirectional` of `rj.nnx`, which is changed.
        params: the parameters of its cell or network.

    Raises:
        ValueError: if names or shapes differ from those of the module.
        TypeError: if a dtype differs from that of the module.

    Example:
        >>> import jax
        >>> from flax import nnx
        >>> import recurrent_jax as rj
        >>> cell = rj.LSTM(hidden_size=3)
        >>> rnn = rj.nnx.RNN(cell, 2, rngs=nnx.Rngs(0))
        >>> rj.nnx.load(rnn, cell.init(jax.random.key(1), in_features=2))
    """
    tree = adapters.nest(params)
    now = unpack(module)
    given = adapters.unnest("load", tree, now)
    for (path, new), old in zip(
        jax.tree.leaves_with_path(given), jax.tree.leaves(now), strict=True
    ):
        if new.shape != old.shape:
            raise ValueError(
                f"load: params{jax.tree_util.keystr(path)} must be of shape "
                f"{old.shape}, got {new.shape}"
            )
        if new.dtype != old.dtype:
            raise TypeError(
                f"load: params{jax.tree_util.keystr(path)} is {new.dtype}, but that of "
                f"the module is {old.dtype}; nothing is cast silently"
            )
    nnx.update(module.params, jax.tree.map(_place, tree, adapters.nest(now)))


def _place(new: Any, old: Any) -> Any:
    """Return an array where another is, if that is on a mesh."""
    where = getattr(old, "sharding", None)
    is_placed = isinstance(where, NamedSharding) and not isinstance(
        old, jax.core.Tracer
    )
    return jax.device_put(new, where) if is_placed else new


@_checks.checked
def from_flax(module: FlaxModule) -> RNN:
    """Convert Flax's own recurrent modules, with their parameters, to an `RNN`.

    Args:
        module: a Flax cell, an `nnx.RNN`, an `nnx.Bidirectional` or an `nnx.Sequential`
            of these.

    Returns:
        An `RNN` of `rj.nnx` with copies of these parameters, in their dtype.

    Raises:
        TypeError, ValueError: as `convert.from_nnx` does. Also if there is no cell, or
            if the cells differ in `gate_fn`, `activation_fn` or `residual`.

    Example:
        >>> import jax.numpy as jnp
        >>> from flax import nnx
        >>> import recurrent_jax as rj
        >>> xs = jnp.ones((5, 7, 2))
        >>> theirs = nnx.RNN(nnx.LSTMCell(2, 3, rngs=nnx.Rngs(0)))
        >>> carry, ys = rj.nnx.from_flax(theirs)(xs)
        >>> bool(jnp.allclose(ys, theirs(xs), atol=1e-6))
        True
    """
    cells = [m for _, m in nnx.iter_modules(module) if isinstance(m, nnx.RNNCellBase)]
    options = {
        (
            getattr(cell, "gate_fn", nnx.sigmoid),
            getattr(cell, "activation_fn", nnx.tanh),
            getattr(cell, "residual", False),
        )
        for cell in cells
    }
    if not cells:
        raise ValueError(
            f"from_flax: there is no recurrent cell in the {type(module).__name__}; "
            "pass a cell, an nnx.RNN, an nnx.Bidirectional, or a Sequential of these"
        )
    if len(options) != 1:
        raise ValueError(
            f"from_flax: found {len(cells)} cells with {len(options)} choices of "
            "(gate_fn, activation_fn, residual); there must be one. Convert layer by "
            "layer"
        )
    gate_fn, activation_fn, residual = options.pop()
    weights = nnx.to_pure_dict(nnx.state(module, nnx.Param))
    network, params = convert.from_nnx(
        weights, gate_fn=gate_fn, activation_fn=activation_fn, residual=residual
    )
    kernel = jax.tree.leaves(params)[0]
    rnn = RNN(network, kernel.shape[0], param_dtype=kernel.dtype, rngs=nnx.Rngs(0))
    load(rnn, params)
    return rnn


@_checks.checked
def to_flax(
    module: AnyModule, *, optimized: bool = False, nearest: bool = False
) -> dict[str, Any]:
    """Convert the parameters of a module to those of Flax's own modules.

    Args:
        module: an `RNN`, `Deep` or `Bidirectional` of `rj.nnx`.
        optimized: whether to convert an LSTM to `OptimizedLSTMCell` rather than to
            `LSTMCell`.
        nearest: whether to convert, with a warning, also a cell that Flax computes
            differently.

    Returns:
        Nested dicts of arrays, which can be passed to `nnx.update(theirs, ...)`.

    Raises:
        TypeError, ValueError: as `convert.to_nnx` does.

    Example:
        >>> from flax import nnx
        >>> import recurrent_jax as rj
        >>> ours = rj.nnx.RNN(rj.LSTM(3), 2, rngs=nnx.Rngs(0))
        >>> theirs = nnx.OptimizedLSTMCell(2, 3, rngs=nnx.Rngs(1))
        >>> nnx.update(theirs, rj.nnx.to_flax(ours, optimized=True))
    """
    return convert.to_nnx(
        module.network, unpack(module), optimized=optimized, nearest=nearest
    )
