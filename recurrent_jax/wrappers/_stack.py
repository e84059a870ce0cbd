# SPDX-License-Identifier: Apache-2.0
"""A stack of cells, as one cell."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from recurrent_jax import _checks
from recurrent_jax._core.cell import Cell, Sampled, feedback, update
from recurrent_jax._core.network import per_part
from recurrent_jax._core.tracing import features_of, output
from recurrent_jax.wrappers._wrapper import noise_of, replace


@dataclasses.dataclass(frozen=True)
class Stack(Cell[tuple[Any, ...], tuple[Any, ...]]):
    r"""A stack of cells: at each step, each cell reads the output of the one below.

    $$
    (s_t^{(l)}, y_t^{(l)}) = \mathrm{step}_l(s_{t-1}^{(l)}, y_t^{(l-1)}), \qquad
    y_t^{(0)} = x_t, \qquad y_t = y_t^{(L)}
    $$

    All cells run in one loop, so a stack can process a stream step by step. Only the
    input of the lowest cell is projected outside the loop. For training, `Deep`
    computes the same numbers faster.

    Args:
        cells: the cells from lowest to highest, as a tuple.

    Raises:
        TypeError: if `cells` is not a tuple of cells.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> cell = rj.Stack((rj.LSTM(3), rj.GRU(4)))
        >>> params = cell.init(jax.random.key(0), in_features=2)
        >>> (lstm, gru), ys = rj.unroll(cell, params, jnp.ones((7, 5, 2)))
        >>> lstm.c.shape, gru.h.shape, ys.shape
        ((5, 3), (5, 4), (7, 5, 4))

    References:
        Graves, Mohamed and Hinton, 2013. Speech recognition with deep recurrent neural
        networks. https://arxiv.org/abs/1303.5778
    """

    cells: tuple[Cell[Any, Any, Any], ...]

    def __post_init__(self) -> None:
        _checks.layers("Stack", "cells", self.cells, (Cell,))
        super().__post_init__()

    @property
    def feature_axes(self) -> int:  # type: ignore[override]
        """The number of feature axes of the input of the lowest cell."""
        return self.cells[0].feature_axes

    def init(
        self, key: jax.Array, in_features: int, dtype: DTypeLike = float
    ) -> tuple[Any, ...]:
        """Return fresh parameters of every cell."""
        params: list[Any] = []
        for cell, k in zip(
            self.cells, jax.random.split(key, len(self.cells)), strict=True
        ):
            if params:
                in_features = self.cells[len(params) - 1].out_features(in_features)
            params.append(cell.init(k, in_features, dtype))
        return tuple(params)

    def initial_carry(
        self,
        batch_shape: tuple[int, ...] = (),
        dtype: DTypeLike = float,
        params: Any = None,
    ) -> tuple[Any, ...]:
        """Return the initial carries of all cells."""
        each = per_part("Stack", "params", params, len(self.cells))
        pairs = zip(self.cells, each, strict=True)
        return tuple(cell.initial_carry(batch_shape, dtype, p) for cell, p in pairs)

    def out_features(self, in_features: int) -> int:
        """Return the number of output features of the highest cell."""
        return functools.reduce(lambda n, c: c.out_features(n), self.cells, in_features)

    @property
    def declares_output(self) -> bool:
        """Whether the highest cell declares its output."""
        return self.cells[-1].declares_output

    def read(self, carry: Any, y: Any) -> Any:
        """Return the output of the highest cell for carries that were changed."""
        return self.cells[-1].read(carry[-1], y)

    def prepare(self, params: Any) -> tuple[Any, ...]:
        """Return the parameters in the form that each cell uses."""
        _checks.parts("Stack", "params", params, len(self.cells))
        return tuple(c.prepare(p) for c, p in zip(self.cells, params, strict=True))

    def sample(
        self, key: jax.Array, xs: Any, lead: tuple[int, ...], dtype: DTypeLike = float
    ) -> Sampled:
        """Return the inputs with the random numbers of every cell."""
        lowest, *higher = self.cells
        key, *keys = jax.random.split(key, len(self.cells))
        below, x = lowest, features_of(xs, lead)
        drawn: list[Any] = []
        for cell, k in zip(higher, keys, strict=True):
            x = output(below, x)
            # Only the shape of this input matters to the draws, so zeros will do.
            later = jnp.zeros((*lead, *x.shape), dtype)
            drawn.append(replace(cell.sample(k, later, lead, dtype), ()))
            below = cell
        return Sampled(lowest.sample(key, xs, lead, dtype), tuple(drawn))

    def project(self, params: Any, x: Any) -> tuple[Any, Any]:
        """Return the lowest cell's projection, and the random numbers of the others."""
        x, drawn = noise_of(x)
        if drawn is None:
            drawn = ((),) * (len(self.cells) - 1)
        return self.cells[0].project(params[0], x), drawn

    def feedback(self, params: Any, carry: Any) -> tuple[Any, ...]:
        """Return the recurrent product of every cell."""
        each = zip(self.cells, params, carry, strict=True)
        return tuple(feedback(cell, p, c) for cell, p, c in each)

    def update(self, params: Any, carry: Any, z: Any, u: Any) -> tuple[Any, Any]:
        """Return all new carries, and the output of the highest cell."""
        z, drawn = z
        carries: list[Any] = []
        y: Any = None
        for n, cell in enumerate(self.cells):
            if n:
                z = cell.project(params[n], replace(drawn[n - 1], y))
            after, y = update(cell, params[n], carry[n], z, u[n])
            carries.append(after)
        return tuple(carries), y
