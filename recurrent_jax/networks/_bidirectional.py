# SPDX-License-Identifier: Apache-2.0
"""A network that reads a sequence in both directions of time."""

import dataclasses
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, overload

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import DTypeLike

from recurrent_jax import _checks
from recurrent_jax._core.cell import Cell, Y
from recurrent_jax._core.network import Network, Options, per_part
from recurrent_jax._loop.unroll import unroll
from recurrent_jax.networks._steps import time_of, valid

_Merge = Literal["concatenate", "sum", "mean", "product"]


class BidirectionalParams(NamedTuple):
    """Parameters of `Bidirectional`."""

    forward: Any
    backward: Any


class BidirectionalCarry(NamedTuple):
    """State of `Bidirectional`: the carry of each direction after its last step."""

    forward: Any
    backward: Any


@dataclasses.dataclass(frozen=True)
class Bidirectional(Network[BidirectionalParams, BidirectionalCarry, Y]):
    r"""Two cells that read a sequence in opposite directions.

    $$
    y_t = [\overrightarrow{y}_t, \overleftarrow{y}_t]
    $$

    The backward cell starts at the end of each sequence, not in its padding. Its final
    carry is the one after the first step of the sequence. A reset cuts the sequence for
    both cells. The step at a reset belongs to the part that starts there, and the
    backward cell restarts where it crosses into the part before. With `reverse=True`
    the two cells exchange directions, so the result is that of the flipped sequence.

    Args:
        forward: a cell or network.
        backward: the cell or network that reads backward. If None, it is the same as
            `forward`, with its own parameters.
        merge: how to combine the two outputs: `"concatenate"` along features, `"sum"`,
            `"mean"` or `"product"`. None returns the pair.

    Raises:
        TypeError, ValueError: if `forward` or `backward` is not a cell or network, or
            if `merge` is not one of these names.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> network = rj.Bidirectional(rj.GRU(3))
        >>> params = network.init(jax.random.key(0), in_features=2)
        >>> carry, ys = rj.unroll(network, params, jnp.ones((7, 5, 2)))
        >>> carry.backward.h.shape, ys.shape
        ((5, 3), (7, 5, 6))

    References:
        Schuster and Paliwal, 1997. Bidirectional recurrent neural networks.
        https://doi.org/10.1109/78.650093
    """

    forward: Cell | Network
    backward: Cell | Network | None = None
    merge: _Merge | None = "concatenate"

    Params = BidirectionalParams
    Carry = BidirectionalCarry

    if TYPE_CHECKING:  # the output is an array, or a pair if `merge` is None

        @overload
        def __init__(
            self: "Bidirectional[jax.Array]",
            forward: Cell | Network,
            backward: Cell | Network | None = None,
            merge: _Merge = "concatenate",
        ) -> None: ...
        @overload
        def __init__(
            self: "Bidirectional[Any]",
            forward: Cell | Network,
            backward: Cell | Network | None = None,
            merge: _Merge | None = "concatenate",
        ) -> None: ...
        def __init__(self, *args: Any, **kwargs: Any) -> None: ...

    def __post_init__(self) -> None:
        for argument, layer in zip(("forward", "backward"), self._both, strict=True):
            _checks.part("Bidirectional", argument, layer, (Cell, Network))
        super().__post_init__()

    @property
    def _both(self) -> tuple[Cell | Network, Cell | Network]:
        backward = self.forward if self.backward is None else self.backward
        return self.forward, backward

    def init(
        self, key: jax.Array, in_features: int, dtype: DTypeLike = float
    ) -> BidirectionalParams:
        """Return fresh parameters of both directions."""
        forward, backward = self._both
        key_f, key_b = jax.random.split(key)
        return BidirectionalParams(
            forward=forward.init(key_f, in_features, dtype),
            backward=backward.init(key_b, in_features, dtype),
        )

    def initial_carry(
        self,
        batch_shape: tuple[int, ...] = (),
        dtype: DTypeLike = float,
        params: Any = None,
    ) -> BidirectionalCarry:
        """Return the carries of both directions."""
        each = per_part("Bidirectional", "params", params, 2)
        pairs = zip(self._both, each, strict=True)
        return BidirectionalCarry(
            *(layer.initial_carry(batch_shape, dtype, p) for layer, p in pairs)
        )

    def out_features(self, in_features: int) -> int:
        """Return the number of features after the merge."""
        _checks.single(self.merge)
        forward, backward = (cell.out_features(in_features) for cell in self._both)
        _checks.merged(self.merge, forward, backward)
        return forward + backward if self.merge == "concatenate" else forward

    def run(self, params: Any, xs: Any, options: Options) -> tuple[Any, Any]:
        """Return the final carries of both directions, and the merged outputs."""
        _checks.parts("Bidirectional", "params", params, 2)
        starts = per_part("unroll", "carry", options.carry, 2)
        fresh = per_part("unroll", "reset_carry", options.reset_carry, 2)
        keys = (None, None) if options.key is None else jax.random.split(options.key)
        carries: list[Any] = []
        ys: list[Any] = []
        for n, cell in enumerate(self._both):
            mine = options._replace(carry=starts[n], reset_carry=fresh[n], key=keys[n])
            if n == 1:
                resets = _across(xs, options)
                mine = mine._replace(reverse=not options.reverse, resets=resets)
            carry, y = unroll(cell, params[n], xs, **mine._asdict())
            carries.append(carry)
            ys.append(y)
        return BidirectionalCarry(*carries), self._merged(*ys)

    def _merged(self, forward: Any, backward: Any) -> Any:
        if self.merge is None:
            return forward, backward
        _checks.merged(self.merge, forward.shape[-1], backward.shape[-1])
        if self.merge == "concatenate":
            return jnp.concatenate([forward, backward], axis=-1)
        if self.merge == "product":
            return forward * backward
        total = forward + backward
        return total / 2 if self.merge == "mean" else total


def _across(xs: Any, options: Options) -> Any:
    """Return the resets of the other direction, which make the same cuts.

    A reset cuts between its step and the one before, in the order of the run. In the
    other direction, the step before the cut is the first of a new part. Skipped steps
    do not count, so the new part starts at the nearest valid step.
    """
    axis, time = time_of(xs, options)
    if options.resets is None or time == 0:
        return options.resets
    resets = jnp.moveaxis(jnp.asarray(options.resets), axis, 0)
    counts = valid(xs, options)
    counts = jnp.ones_like(resets) if counts is None else counts
    if options.reverse:
        resets, counts = jnp.flip(resets, 0), jnp.flip(counts, 0)
    step = lax.broadcasted_iota(int, resets.shape, 0)
    following = lax.cummin(jnp.where(counts, step, time), axis=0, reverse=True)
    following = jnp.concatenate([following[1:], jnp.full_like(following[:1], time)])
    ended = jnp.concatenate([resets & counts, jnp.zeros_like(resets[:1])])
    cuts = jnp.take_along_axis(ended, following, axis=0)
    return jnp.moveaxis(jnp.flip(cuts, 0) if options.reverse else cuts, 0, axis)
