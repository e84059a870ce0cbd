# SPDX-License-Identifier: Apache-2.0
"""Products in one precision, and the state in another."""

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from recurrent_jax import _checks
from recurrent_jax._core.arrays import is_float
from recurrent_jax._core.cell import feedback, update
from recurrent_jax._core.mesh import shard_alike
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
    steps, in it. Those of biases, and of other vectors, are also summed over the
    sequences and over the steps of a block in it, if `project` reads one array and the
    cell computes each row by itself. The rounding itself has the derivative 1.

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
        self._check_dtype(params.stored, x)
        return self._by_rows(self.cell.project, params, self._cast(x))

    def feedback(self, params: MixedPrecisionPrepared, carry: Any) -> Any:
        """Return the recurrent product, in the dtype of products."""
        product = functools.partial(feedback, self.cell)
        return self._by_rows(product, params, self._cast(carry))

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

    def _check_dtype(self, stored: Any, x: Any) -> None:
        own = next(a.dtype for a in jax.tree.leaves(stored) if is_float(a))
        low = jnp.result_type(self.compute)
        for a in jax.tree.leaves(x):
            if is_float(a) and a.dtype not in (own, low):
                raise TypeError(
                    f"MixedPrecision: x must be {own}, as the parameters are, or "
                    f"{low}, as the products are; got {_checks.describe(a)}"
                )

    def _cast(self, tree: Any) -> Any:
        return _in_dtype(tree, self.compute)

    def _by_rows(self, function: Any, params: Any, argument: Any) -> Any:
        """Return `function(params, argument)` with rounded parameters.

        Each row has its own copy of each vector, which was copied before the rounding.
        So their gradients are rounded after the sum over rows, and not before.
        """
        tied, lead = _tied(params), self._rows(params.stored, argument)
        if not lead:
            return function(tied, argument)
        like = jax.tree.leaves(argument)[0]

        def copied(stored: Any, low: Any) -> Any:
            if not _is_vector(stored):
                return low
            rows = jnp.broadcast_to(
                stored.reshape((1,) * len(lead) + stored.shape), (*lead, *stored.shape)
            )
            return shard_alike(rows, like, slice(len(lead))).astype(low.dtype)

        axes = jax.tree.map(lambda a: 0 if _is_vector(a) else None, params.stored)
        for _ in lead:
            function = jax.vmap(function, (axes, 0))
        return function(jax.tree.map(copied, params.stored, tied), argument)

    def _rows(self, stored: Any, argument: Any) -> tuple[int, ...]:
        """Return the axes of rows, if vectors can be copied for each row, or ()."""
        leaves = jax.tree.leaves(stored)
        shapes = {a.shape for a in jax.tree.leaves(argument)}
        rowwise = self.cell.rowwise or all(map(is_float, leaves))
        if not rowwise or len(shapes) != 1 or not any(map(_is_vector, leaves)):
            return ()
        (shape,) = shapes
        return tuple(shape[: -self.cell.feature_axes])


def _in_dtype(tree: Any, dtype: Any) -> Any:
    """Return the tree with its floats in a dtype."""
    return jax.tree.map(lambda a: a.astype(dtype) if is_float(a) else a, tree)


def _back(params: MixedPrecisionPrepared, tree: Any) -> Any:
    """Return what was computed with rounded numbers, in the dtype of the parameters."""
    if not _floats(params.stored):
        return tree
    return _in_dtype(tree, _checks.float_dtype(params.stored, ()))


def _is_vector(a: jax.Array) -> bool:
    return is_float(a) and a.ndim == 1


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
