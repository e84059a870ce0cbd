# SPDX-License-Identifier: Apache-2.0
"""Matrices with missing connections, and with signs that follow Dale's law."""

import dataclasses
from collections.abc import Callable
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from recurrent_jax import _checks
from recurrent_jax._checks.kinds import Number
from recurrent_jax._checks.values import built
from recurrent_jax._core.types import Count, Share
from recurrent_jax.operators._operators import Operator, Square


@dataclasses.dataclass(frozen=True)
class RandomWiring:
    """A random wiring: each connection exists with the same probability.

    Args:
        density: the probability that a connection exists, above 0 and at most 1.
        seed: the seed of the draw. The same seed always gives the same wiring.

    Example:
        >>> import recurrent_jax as rj
        >>> rj.operators.RandomWiring(density=0.5)(2, 3).shape
        (2, 3)
    """

    density: Share
    seed: Count = 0

    def __post_init__(self) -> None:
        _checks.fields(self)

    def __repr__(self) -> str:
        return f"operators.RandomWiring({self.density!r}, {self.seed!r})"

    def __call__(self, rows: int, columns: int) -> Any:
        """Return a NumPy array of bools, `(rows, columns)`."""
        return np.random.default_rng(self.seed).random((rows, columns)) < self.density


@dataclasses.dataclass(frozen=True, repr=False)
class Masked(Operator):
    r"""A matrix with missing connections, with signs that follow Dale's law, or both.

    $$ U_{jk} = M_{jk} V_{jk} \qquad \text{or} \qquad U_{jk} = M_{jk} s_j |V_{jk}| $$

    Row j contains the connections that leave unit j. By Dale's law, all connections
    that leave a unit have the same sign. The first units are excitatory and the rest
    are inhibitory. Inhibitory weights start larger, in proportion to how few inhibitory
    units there are. V is drawn from a normal distribution, and scaled so that the mean
    squared singular value of U is one.

    Args:
        wiring: a function that takes the number of rows and of columns, and returns a
            NumPy array of bools: True where a connection exists. It must always return
            the same array. If None, all connections exist.
        excitatory: the fraction of units that are excitatory. If None, signs are free.
            The paper rectifies V, so a weight that crosses zero is lost for good. Here
            the magnitude of V is used, so that such a weight can return.

    Example:
        >>> import recurrent_jax as rj
        >>> wiring = rj.operators.RandomWiring(0.2)
        >>> operator = rj.operators.Masked(wiring, excitatory=0.8)
        >>> cell = rj.Structured(rj.Elman(10), operator)

    References:
        Song, Yang and Wang, 2016. Training excitatory-inhibitory recurrent neural
        networks for cognitive tasks. https://doi.org/10.1371/journal.pcbi.1004792
    """

    wiring: Callable[[int, int], Any] | None = None
    excitatory: Annotated[float, Number(least=0, most=1)] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        built("Masked", "wiring", self.wiring, "{}(...)")

    def init(self, key: jax.Array, size: int, dtype: DTypeLike = float) -> jax.Array:
        """Return V, `(size, size)`."""
        wide = jnp.float32 if jnp.finfo(dtype).bits < 32 else dtype
        V = jax.random.normal(key, (size, size), wide)
        signs = self._signs(size)
        if signs is not None and abs(signs.sum()) < size:
            positive = (signs > 0).sum()
            strength = np.where(signs < 0, positive / (size - positive), 1.0)
            V = V * jnp.asarray(strength, wide)
        norm = jnp.linalg.norm(self.dense(V))
        return (V * (size**0.5 / norm)).astype(dtype)

    @_checks.checked
    def dense(self, stored: Square) -> jax.Array:
        """Return the matrix U, `(size, size)`."""
        size = stored.shape[0]
        signs, U = self._signs(size), stored
        if signs is not None:
            U = jnp.abs(U) * jnp.asarray(signs, U.dtype)
        if self.wiring is not None:
            mask = self._wired(size)
            U = jnp.where(mask, U, jnp.zeros_like(U))
        return U

    def _wired(self, size: int) -> Any:
        """Return the connections, bool `(size, size)`."""
        mask: Any = self.wiring(size, size) if self.wiring is not None else None
        if np.shape(mask) != (size, size) or np.asarray(mask).dtype != bool:
            raise TypeError(
                f"Masked: wiring must return bools of shape {(size, size)} for "
                f"{size} rows and columns, got {_checks.outline(mask)}"
            )
        return np.asarray(mask)

    def _signs(self, size: int) -> Any:
        """Return +1 or -1 for each unit, `(size, 1)`, or None."""
        if self.excitatory is None:
            return None
        positive = np.arange(size)[:, None] < round(self.excitatory * size)
        return np.where(positive, 1.0, -1.0)
