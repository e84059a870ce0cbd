# SPDX-License-Identifier: Apache-2.0
"""The base class of wrappers, which changes nothing by itself."""

import dataclasses
from typing import Any

import jax
from jax.typing import DTypeLike

from recurrent_jax import _checks
from recurrent_jax._core.cell import C, Cell, P, Sampled, Y, feedback, update


@dataclasses.dataclass(frozen=True)
class Wrapper(Cell[P, C, Y]):
    """A cell that wraps another cell. A subclass overrides what it changes.

    Params, carry and output are those of the inner cell. A wrapper that draws random
    numbers attaches them to the input in `sample`, and removes them in `project`.
    Without them, it runs in evaluation mode. Wrappers nest in any order.

    Args:
        cell: the inner cell, which may itself be a wrapper.

    Raises:
        TypeError: if `cell` is not a cell.

    Example:
        >>> import dataclasses
        >>> import jax, jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> @dataclasses.dataclass(frozen=True)
        ... class Negated(rj.Wrapper):
        ...     def update(self, params, carry, z, u):
        ...         carry, y = super().update(params, carry, z, u)
        ...         return carry, -y
        >>> cell = Negated(rj.Elman(3))
        >>> params = cell.init(jax.random.key(0), in_features=2)
        >>> carry, ys = rj.unroll(cell, params, jnp.ones((7, 2)))
        >>> print(jnp.array_equal(carry.h, -ys[-1]))
        True
    """

    cell: Cell[P, C, Y]

    def __post_init__(self) -> None:
        _checks.part(type(self).__name__, "cell", self.cell, (Cell,))
        super().__post_init__()

    @property
    def feature_axes(self) -> int:  # type: ignore[override]
        """The number of feature axes of the input of the inner cell."""
        return self.cell.feature_axes

    def init(self, key: jax.Array, in_features: int, dtype: DTypeLike = float) -> P:
        """Return fresh parameters of the inner cell."""
        return self.cell.init(key, in_features, dtype)

    def initial_carry(
        self,
        batch_shape: tuple[int, ...] = (),
        dtype: DTypeLike = float,
        params: P | None = None,
    ) -> C:
        """Return the initial carry of the inner cell."""
        return self.cell.initial_carry(batch_shape, dtype, params)

    def out_features(self, in_features: int) -> int:
        """Return the number of output features of the inner cell."""
        return self.cell.out_features(in_features)

    @property
    def declares_output(self) -> bool:
        """Whether `read` is right for this wrapper and for the inner cell."""
        return self._declares_output and self.cell.declares_output

    def read(self, carry: Any, y: Any) -> Any:
        """Return the output of the inner cell for a carry that was changed."""
        return self.cell.read(carry, y)

    def prepare(self, params: Any) -> Any:
        """Return the parameters in the form that the inner cell uses."""
        return self.cell.prepare(params)

    def sample(
        self, key: jax.Array, xs: Any, lead: tuple[int, ...], dtype: DTypeLike = float
    ) -> Any:
        """Return the inputs with the random numbers of the inner cell."""
        return self.cell.sample(key, xs, lead, dtype)

    def project(self, params: Any, x: Any) -> Any:
        """Return the projection of the inner cell."""
        return self.cell.project(params, x)

    def feedback(self, params: Any, carry: Any) -> Any:
        """Return the recurrent product of the inner cell."""
        return feedback(self.cell, params, carry)

    def update(self, params: Any, carry: Any, z: Any, u: Any) -> tuple[Any, Any]:
        """Return the carry of the inner cell, and its output after `outer`."""
        carry, y = update(self.cell, params, carry, self.inner(z), u)
        return carry, self.outer(y, z)

    def inner(self, z: Any) -> Any:
        """Return the projected input of the inner cell. The default is `z`."""
        return z

    def outer(self, y: Any, z: Any) -> Any:
        """Return the output for that of the inner cell. The default is `y`."""
        return y

    @property
    def linear(self) -> bool:  # type: ignore[override]
        """Whether the inner cell is linear, and this wrapper keeps its step."""
        names = "feedback", "update", "recur"
        alike = all(getattr(type(self), n) is getattr(Wrapper, n) for n in names)
        return alike and self.cell.linear

    @property
    def chunked(self) -> bool:  # type: ignore[override]
        """The default method of the inner cell."""
        return self.cell.chunked

    def element(self, params: Any, z: Any) -> Any:
        """Return the linear step of the inner cell."""
        return self.cell.element(params, self.inner(z))  # type: ignore[attr-defined]

    def steps(self, params: Any, carry: Any, z: Any, how: Any) -> tuple[Any, Any]:
        """Return the final carry and all outputs of a linear inner cell."""
        final, ys = self.cell.steps(params, carry, self.inner(z), how)  # type: ignore[attr-defined]
        return final, self.outer(ys, z)


def plain(x: Any) -> Any:
    """Return an input without the random numbers that were drawn for it."""
    while isinstance(x, Sampled):
        x = x.x
    return x


def replace(x: Any, new: Any) -> Any:
    """Return `new` with the random numbers that were drawn for `x`."""
    return x._replace(x=replace(x.x, new)) if isinstance(x, Sampled) else new


def noise_of(x: Any) -> tuple[Any, Any]:
    """Return an input and its random numbers, which are None in evaluation."""
    return (x.x, x.noise) if isinstance(x, Sampled) else (x, None)


def keep_mask(
    key: jax.Array, rate: float, shape: tuple[int, ...], time: int, dtype: DTypeLike
) -> jax.Array:
    r"""Return one mask for all steps: 0 at the rate, else $1 / (1 - rate)$."""
    keep = jax.random.bernoulli(key, 1 - rate, shape).astype(dtype) / (1 - rate)
    return jax.numpy.broadcast_to(keep, (time, *shape))
