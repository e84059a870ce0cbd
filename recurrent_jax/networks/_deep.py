# SPDX-License-Identifier: Apache-2.0
"""A network that runs layer by layer."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from recurrent_jax import _checks
from recurrent_jax._core.arrays import select, zeros
from recurrent_jax._core.cell import Cell, Y
from recurrent_jax._core.mesh import shard_alike
from recurrent_jax._core.network import Network, Options, per_part
from recurrent_jax._core.types import Rate
from recurrent_jax._loop.unroll import unroll
from recurrent_jax.networks._steps import time_of, valid


@dataclasses.dataclass(frozen=True)
class Deep(Network[tuple[Any, ...], tuple[Any, ...], Y]):
    r"""Layers that each run over the whole sequence before the next one starts.

    $$
    y^{(l)} = \mathrm{unroll}_l(x^{(l)}), \qquad
    x^{(1)} = x, \qquad x^{(l + 1)} = \mathrm{dropout}(y^{(l)}), \qquad
    y = y^{(L)}
    $$

    Every layer projects many steps of its input at once, outside its loop, which makes
    this the form for training. `Stack` steps through all cells in one loop, for
    streaming. The arguments of `unroll` (lengths, mask, resets, strategy, direction)
    apply to every layer. With `reverse=True` every layer runs backwards.

    Args:
        layers: cells or networks, such as `Bidirectional`, as a tuple.
        residual: whether to add the input of every layer to its output,
            $y^{(l)} + x^{(l)}$, before dropout. Sizes must match. If only some layers
            match, wrap those:
            `Deep((LSTM(64), Deep((LSTM(64), LSTM(64)), residual=True)))`.
        skip: whether every layer but the first reads $[x^{(l)}, x]$, and the output
            concatenates those of all layers, $[y^{(1)}, \ldots, y^{(L)}]$, as in Graves
            (2013).
        dropout: the probability that a number between two layers is set to zero, drawn
            at each step. The others are scaled by $1 / (1 - \mathrm{rate})$, as in
            PyTorch. Dropout is active only if `unroll` is given a key.

    Raises:
        TypeError, ValueError: if `layers` is not a tuple of cells or networks, if the
            rate is not below 1, or if sizes do not match where `residual` adds them.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> network = rj.Deep((rj.LSTM(3), rj.GRU(4)), dropout=0.2)
        >>> params = network.init(jax.random.key(0), in_features=2)
        >>> xs = jnp.ones((7, 5, 2))
        >>> (lstm, gru), ys = rj.unroll(network, params, xs, key=jax.random.key(1))
        >>> lstm.c.shape, gru.h.shape, ys.shape
        ((5, 3), (5, 4), (7, 5, 4))

    References:
        Graves, 2013. Generating sequences with recurrent neural networks (skip
        connections). https://arxiv.org/abs/1308.0850
        Zaremba, Sutskever and Vinyals, 2014. Recurrent neural network regularization
        (dropout only between layers). https://arxiv.org/abs/1409.2329
    """

    layers: tuple[Cell[Any, Any, Y] | Network[Any, Any, Y], ...]
    residual: bool = False
    skip: bool = False
    dropout: Rate = 0.0

    def __post_init__(self) -> None:
        _checks.layers("Deep", "layers", self.layers, (Cell, Network))
        super().__post_init__()

    def init(
        self, key: jax.Array, in_features: int, dtype: DTypeLike = float
    ) -> tuple[Any, ...]:
        """Return fresh parameters of every layer."""
        keys = jax.random.split(key, len(self.layers))
        each = zip(self.layers, keys, self._taken(in_features), strict=True)
        return tuple(layer.init(k, size, dtype) for layer, k, size in each)

    def initial_carry(
        self,
        batch_shape: tuple[int, ...] = (),
        dtype: DTypeLike = float,
        params: Any = None,
    ) -> tuple[Any, ...]:
        """Return the carries of all layers."""
        each = per_part("Deep", "params", params, len(self.layers))
        pairs = zip(self.layers, each, strict=True)
        return tuple(layer.initial_carry(batch_shape, dtype, p) for layer, p in pairs)

    def out_features(self, in_features: int) -> int:
        """Return the number of features of the last layer, or of all with `skip`."""
        each = zip(self.layers, self._taken(in_features), strict=True)
        given = [layer.out_features(size) for layer, size in each]
        return sum(given) if self.skip else given[-1]

    def run(self, params: Any, xs: Any, options: Options) -> tuple[Any, Any]:
        """Return the final carries of all layers, and the output."""
        count = len(self.layers)
        _checks.parts("Deep", "params", params, count)
        if self.residual or self.skip:
            _checks.one_array("Deep", xs, "residual and skip go around one array alone")
        carries: list[Any] = []
        ys: list[Any] = []
        y: Any = xs
        axis = 0
        starts = per_part("unroll", "carry", options.carry, count)
        fresh = per_part("unroll", "reset_carry", options.reset_carry, count)
        for n, layer in enumerate(self.layers):
            key = options.key
            x: Any = y
            if key is not None:
                key, key_drop = jax.random.split(jax.random.fold_in(key, n))
                x = _dropped(x, key_drop, self.dropout, options) if n else x
            x = jnp.concatenate([x, xs], axis=-1) if self.skip and n else x
            mine = options._replace(carry=starts[n], reset_carry=fresh[n], key=key)
            before: Any = y
            ran: tuple[Any, Any] = unroll(layer, params[n], x, **mine._asdict())
            carry, y = ran
            if self.residual:
                _checks.residual(n, before.shape[-1], y.shape[-1])
                y = y + (before if n else _shown(before, options))
            if n == 0 and options.time_axis:
                axis, _ = time_of(xs, options)
                y, xs, options = _time_first((y, xs), axis, options)
            carries.append(carry)
            ys.append(y)
        last = jnp.concatenate(ys, axis=-1) if self.skip else y
        return tuple(carries), jax.tree.map(lambda a: jnp.moveaxis(a, 0, axis), last)

    def _taken(self, in_features: int) -> list[int]:
        """Return the number of input features of each layer."""
        taken: list[int] = []
        size, last = in_features, len(self.layers) - 1
        for n, layer in enumerate(self.layers):
            taken.append(size + in_features if self.skip and n else size)
            if n == last and not self.residual:
                break  # the last output may be a pair
            given = layer.out_features(taken[n])
            if self.residual:
                _checks.residual(n, size, given)
            size = given
        return taken


def _time_first(arrays: Any, axis: int, options: Options) -> Any:
    """Return arrays and options in time-major layout.

    The first layer reads its input in the given layout. Later layers take time-major
    input, so that they need not transpose it again.
    """

    def to_front(a: Any) -> Any:
        return jnp.moveaxis(jnp.asarray(a), axis, 0)

    flags = jax.tree.map(to_front, {"mask": options.mask, "resets": options.resets})
    return *jax.tree.map(to_front, arrays), options._replace(time_axis=0, **flags)


def _shown(x: jax.Array, options: Options) -> jax.Array:
    """Return `x` with zeros at skipped steps, where it may have any value."""
    counts, (axis, _) = valid(x, options), time_of(x, options)
    if counts is None:
        return x
    front = jnp.moveaxis(x, axis, 0)
    shown: jax.Array = select(counts, front, zeros(front))
    return jnp.moveaxis(shown, 0, axis)


def _dropped(x: jax.Array, key: jax.Array, rate: float, options: Options) -> jax.Array:
    """Return `x` after dropout. The mask is drawn time-major for every `time_axis`."""
    if rate == 0:
        return x
    axis, _ = time_of(x, options)
    front = jnp.moveaxis(x, axis, 0)
    keep = jax.random.bernoulli(key, 1 - rate, front.shape)
    keep = shard_alike(keep, front, slice(front.ndim))
    front = jnp.where(keep, front / (1 - rate), jnp.zeros_like(front))
    return jnp.moveaxis(front, 0, axis)
