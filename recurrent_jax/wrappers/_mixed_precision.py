# SPDX-License-Identifier: Apache-2.0
"""Products in one precision, and the state in another."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from recurrent_jax import _checks
from recurrent_jax._core.arrays import is_float
from recurrent_jax._core.cell import feedback, update
from recurrent_jax._core.types import DType
from recurrent_jax.wrappers._stack import Stack
from recurrent_jax.wrappers._wrapper import Wrapper


class MixedPrecisionPrepared(NamedTuple):
    """What `MixedPrecision.prepare` returns."""

    stored: Any  # the prepared parameters of the inner cell
    cast: Any  # the same in the dtype of products


@dataclasses.dataclass(frozen=True)
class MixedPrecision(Wrapper):
    r"""Multiply in one precision, and keep parameters, state and outputs in another.

    $$
    \begin{aligned}
    z_t &= \mathrm{project}(\lfloor\theta\rceil, \lfloor x_t\rceil), \qquad
    u_t = \mathrm{feedback}(\lfloor\theta\rceil, \lfloor s_{t-1}\rceil) \\
    s_t, y_t &= \mathrm{update}(\theta, s_{t-1}, z_t, u_t)
    \end{aligned}
    $$

    Here $\lfloor\cdot\rceil$ rounds to `compute`. What `project` and `feedback` of the
    inner cell compute is in that dtype: the products of the input and of the state. All
    else is in the dtype of the parameters: the gates, the state, the outputs, and what
    a cell multiplies outside of these two methods. That is the product after the reset
    of `GRU(reset_after=False)`, and every recurrent product of a cell that defines
    `recur`.

    Parameters are stored as `init` returns them, and are rounded once a sequence. Their
    gradients have the dtype of the parameters and are summed over blocks, or over
    steps, in it. The rounding itself has the derivative 1.

    Put this wrapper directly around a cell, and other wrappers around it. Inputs may be
    of the dtype of the parameters or of `compute`. float16 has a small range: gradients
    below 6e-8 become zero, unless the loss is scaled. bfloat16 has the range of
    float32.

    Args:
        cell: a cell. For a `Stack` or a network, wrap each of its cells.
        compute: the dtype of the products, such as `jnp.bfloat16`.

    Raises:
        TypeError, ValueError: if `cell` is not a cell or is a `Stack`, or if `compute`
            is not a floating-point dtype.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> cell = rj.MixedPrecision(rj.LSTM(3), compute=jnp.bfloat16)
        >>> params = cell.init(jax.random.key(0), in_features=2)
        >>> carry, ys = rj.unroll(cell, params, jnp.ones((7, 5, 2)))
        >>> print(params.kernel.dtype, carry.c.dtype, ys.dtype)
        float32 float32 float32

    References:
        Micikevicius et al., 2018. Mixed precision training.
        https://arxiv.org/abs/1710.03740
    """

    compute: DType

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.cell, Stack):
            raise TypeError(
                "MixedPrecision: in a Stack, wrap its parts and not the stack, whose "
                "later layers read their input outside of project"
            )
        if self.compute is not float:  # which is the default dtype of the moment
            # Equal dtypes have many names, and cells compare by value.
            object.__setattr__(self, "compute", jnp.dtype(self.compute).name)

    def prepare(self, params: Any) -> MixedPrecisionPrepared:
        """Return the prepared parameters of the inner cell, in both dtypes."""
        stored = self.cell.prepare(params)
        return MixedPrecisionPrepared(stored, lax.stop_gradient(self._cast(stored)))

    def project(self, params: MixedPrecisionPrepared, x: Any) -> Any:
        """Return the projection of the inner cell, in the dtype of products."""
        if not _floats(params.stored):  # there are no products
            return self.cell.project(params.stored, x)
        return self.cell.project(_tied(params), self._cast(x))

    def feedback(self, params: MixedPrecisionPrepared, carry: Any) -> Any:
        """Return the recurrent product, in the dtype of products."""
        return feedback(self.cell, _tied(params), self._cast(carry))

    def update(
        self, params: MixedPrecisionPrepared, carry: Any, z: Any, u: Any
    ) -> tuple[Any, Any]:
        """Return the carry and the output of the inner cell, in their own dtype."""
        z, u = _back(params, (z, u))
        return update(self.cell, params.stored, carry, z, u)

    def read(self, carry: Any, y: Any) -> Any:
        """Return the output of the inner cell for a carry that was changed."""
        return self.cell.read(carry, y)

    @property
    def linear(self) -> bool:  # type: ignore[override]
        """Whether the inner cell is linear. Only its inputs are rounded."""
        return self.cell.linear

    def element(self, params: MixedPrecisionPrepared, z: Any) -> Any:
        """Return the linear step of the inner cell."""
        return self.cell.element(params.stored, _back(params, z))  # type: ignore[attr-defined]

    def steps(
        self, params: MixedPrecisionPrepared, carry: Any, z: Any, how: Any
    ) -> tuple[Any, Any]:
        """Return the final carry and all outputs of a linear inner cell."""
        return self.cell.steps(params.stored, carry, _back(params, z), how)  # type: ignore[attr-defined]

    def _cast(self, tree: Any) -> Any:
        return _in_dtype(tree, self.compute)


def _in_dtype(tree: Any, dtype: Any) -> Any:
    """Return the tree with its floats in a dtype."""
    return jax.tree.map(lambda a: a.astype(dtype) if is_float(a) else a, tree)


def _back(params: MixedPrecisionPrepared, tree: Any) -> Any:
    """Return what was computed with rounded numbers, in the dtype of the parameters."""
    if not _floats(params.stored):
        return tree
    return _in_dtype(tree, _checks.float_dtype(params.stored, ()))


def _floats(tree: Any) -> bool:
    return any(map(is_float, jax.tree.leaves(tree)))


def _tied(params: MixedPrecisionPrepared) -> Any:
    """Return the rounded parameters, whose gradient is summed where they are stored."""
    return jax.tree.map(lambda a, low: _rounded(a, low) if is_float(a) else a, *params)


@jax.custom_jvp
def _rounded(stored: jax.Array, cast: jax.Array) -> jax.Array:
    """Return `cast`, which was rounded once, with the derivative of the rounding.

    A cast in the loop would leave it to the compiler to move it out. A cast before the
    loop alone would sum gradients over all steps in the dtype of the cast.
    """
    return cast


@_rounded.defjvp
def _derivative(primals: Any, tangents: Any) -> tuple[jax.Array, jax.Array]:
    # Called again, so that a second derivative sees it as well.
    return _rounded(*primals), tangents[0].astype(primals[1].dtype)
