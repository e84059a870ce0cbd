# SPDX-License-Identifier: Apache-2.0
"""A residual connection around a cell."""

import dataclasses
from typing import Any

from recurrent_jax import _checks
from recurrent_jax._core.cell import C, P, Y
from recurrent_jax.wrappers._wrapper import Wrapper, plain


@dataclasses.dataclass(frozen=True)
class Residual(Wrapper[P, C, Y]):
    r"""Add the input to the output, so that the cell learns a difference.

    $$ y_t \leftarrow y_t + x_t $$

    The state is not changed. The added input bypasses any dropout of the inner cell.

    Args:
        cell: a cell with as many output features as input features.

    Raises:
        TypeError: if `cell` is not a cell, or if its input is not one array.
        ValueError: if the output and the input have different numbers of features.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> cell = rj.Stack((rj.LSTM(3), rj.Residual(rj.LSTM(3))))
        >>> params = cell.init(jax.random.key(0), in_features=2)
        >>> carry, ys = rj.unroll(cell, params, jnp.ones((7, 2)))
        >>> ys.shape
        (7, 3)

    References:
        Wu et al., 2016. Google's neural machine translation system: bridging the gap
        between human and machine translation. https://arxiv.org/abs/1609.08144
    """

    def project(self, params: Any, x: Any) -> tuple[Any, Any]:
        """Return the inner cell's projection, and the input itself."""
        _checks.one_array("Residual", plain(x), "only that can be added to an output")
        return self.cell.project(params, x), plain(x)

    def inner(self, z: Any) -> Any:
        """Return the inner cell's projection."""
        return z[0]

    def outer(self, y: Any, z: Any) -> Any:
        """Return the inner cell's output plus the input."""
        x = z[1]
        if x.shape != y.shape:
            raise ValueError(
                f"Residual: {self.cell!r} takes {x.shape[-1]} features and gives "
                f"{y.shape[-1]}, which do not add; give it an input of its own size"
            )
        return y + x
