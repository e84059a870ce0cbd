# SPDX-License-Identifier: Apache-2.0
"""The gradient by lag: whether what happened long ago still counts."""

import functools
from collections.abc import Callable
from typing import Annotated, Any

import jax
import jax.numpy as jnp
from jax import lax

from recurrent_jax import _checks
from recurrent_jax._checks.input_kinds import OneArray
from recurrent_jax._core.cell import Cell
from recurrent_jax._core.input_types import Arrays, OneCell, Params
from recurrent_jax._core.types import Size
from recurrent_jax.diagnostics._path import Path, follow, to_carry, to_vector

Curve = Annotated[jax.Array, OneArray("floating-point", least=1, axes="(time, *batch)")]


def total(y: Any) -> jax.Array:
    """Return the sum of an output's floats: the loss where none is given."""
    return to_vector(jax.tree.map(jnp.ravel, y)).sum()


@_checks.checked
def gradient_by_lag(
    cell: OneCell,
    params: Params,
    xs: Arrays,
    *,
    loss: Callable[[Any], jax.Array] = total,
    carry: Arrays | None = None,
) -> jax.Array:
    r"""Return how large the gradient of the last step's loss is at each earlier state.

    $$
    g_k = \log_{10} \left\| \frac{\partial L(y_T)}{\partial s_{T - k}} \right\|,
    \qquad
    \frac{\partial L}{\partial s_{t - 1}} =
        \left( \frac{\partial s_t}{\partial s_{t - 1}} \right)^{\!\top}
        \frac{\partial L}{\partial s_t}
    $$

    A line that falls is the vanishing gradient, one that rises the exploding one. The
    gradient is brought to length one after every step and its length kept as a
    logarithm, so that neither end of the floating point range is met: hundreds of
    decades are exact.

    Args:
        cell: any cell. A stack in one loop is `Stack`.
        params: what `cell.init` returned.
        xs: the inputs, `(time, *batch, features)`.
        loss: of the last output $y_T$, a scalar; a sum over the batch, so that each
            sequence has a gradient of its own. The sum of the output if not given.
        carry: the state to start from.

    Returns:
        $g_1, \ldots, g_T$, `(time, *batch)`: the first entry is the state that the
        last step started from. $-\infty$ where no gradient arrives at all.

    Raises:
        ValueError, TypeError: if shapes or types do not fit, or there is no step.

    Example:
        A state that halves at each step, so that 100 steps lose 30 decades:

        >>> import jax, jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> from recurrent_jax.diagnostics import decades, gradient_by_lag
        >>> from recurrent_jax.initializers import Scaled, identity
        >>> cell = rj.Elman(4, activation=lambda a: a,
        ...                 recurrent_kernel_init=Scaled(identity, 0.5))
        >>> params = cell.init(jax.random.key(0), in_features=2)
        >>> curve = gradient_by_lag(cell, params, jnp.ones((300, 2)))
        >>> print(curve.shape, f"{decades(curve):.1f}")
        (300,) -30.1

    References:
        Bengio, Simard and Frasconi, 1994. Learning long-term dependencies with gradient
        descent is difficult. https://doi.org/10.1109/72.279181
        Pascanu, Mikolov and Bengio, 2013. On the difficulty of training recurrent
        neural networks. https://arxiv.org/abs/1211.5063
    """
    _checks.takes("gradient_by_lag", "loss", loss, "(y) -> scalar")
    return _curve(cell, loss, params, xs, carry)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _curve(cell: Cell, loss: Any, params: Any, xs: Any, carry: Any) -> jax.Array:
    path = follow("gradient_by_lag", cell, params, xs, carry)
    earlier, (carry, z) = _cut(path)

    def final(v: jax.Array) -> jax.Array:
        return _scalar(loss(cell.recur(path.params, to_carry(v, carry), z)[1]))

    def back(state: Any, now: Any) -> tuple[Any, jax.Array]:
        (unit, length), (carry, z) = state, now

        def move(v: jax.Array) -> jax.Array:
            after, _ = cell.recur(path.params, to_carry(v, carry), z)
            return to_vector(after, path.batch_shape)

        _, pull = jax.vjp(move, to_vector(carry, path.batch_shape))
        state = _unit(pull(unit)[0], length)
        return state, state[1]

    slope = jax.grad(final)(to_vector(carry, path.batch_shape))
    first = _unit(slope, jnp.zeros(path.batch_shape, slope.dtype))
    _, lengths = lax.scan(back, first, earlier, reverse=True)
    return jnp.concatenate([first[1][None], jnp.flip(lengths, 0)]) / jnp.log(10.0)


def _scalar(value: Any) -> jax.Array:
    """Return what the loss returned, which must be one float."""
    if not OneArray("floating-point").has_type(value) or jnp.ndim(value):
        raise TypeError(
            "gradient_by_lag: loss must return a scalar, a sum over the batch; got "
            f"{_checks.outline(value)}"
        )
    return value


def _cut(path: Path) -> tuple[Any, Any]:
    """Return carries and inputs of all steps but the last, and of the last."""
    steps = (path.carries, path.zs)
    return jax.tree.map(lambda a: a[:-1], steps), jax.tree.map(lambda a: a[-1], steps)


def _unit(vector: jax.Array, length: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return a vector of length one, and the logarithm of all lengths so far."""
    norm = jnp.linalg.norm(vector, axis=-1)
    divisor = jnp.where(norm > 0, norm, jnp.ones_like(norm))
    return vector / divisor[..., None], length + jnp.log(norm)


@_checks.checked
def decades(curve: Curve, *, steps: Size = 100) -> jax.Array:
    r"""Return how many decades a gradient gains over so many steps back: one number.

    The slope of the least-squares line through $g_k$, times `steps`. Below zero it
    vanishes, above zero it explodes; -30 means that a hundred steps leave a part in
    $10^{30}$.

    Args:
        curve: what `gradient_by_lag` returned, `(time, *batch)`, of two steps or more.
        steps: the distance.

    Returns:
        The number, a mean over the batch; $-\infty$ if the gradient ends somewhere.

    Example:
        >>> import jax.numpy as jnp
        >>> from recurrent_jax.diagnostics import decades
        >>> print(decades(jnp.linspace(0.0, -9.9, 100)))
        -10.0
    """
    curve = jnp.asarray(curve)
    if curve.shape[0] < 2:
        raise ValueError(
            f"decades: curve must have at least 2 lags, got {_checks.describe(curve)}"
        )
    mean = curve.reshape(curve.shape[0], -1).mean(1)
    ends = ~jnp.isfinite(mean).all()
    mean = jnp.where(ends, jnp.zeros_like(mean), mean)
    lag = jnp.arange(mean.shape[0], dtype=mean.dtype)
    lag = lag - lag.mean()
    slope = (lag * (mean - mean.mean())).sum() / (lag * lag).sum()
    return jnp.where(ends, -jnp.inf, slope * steps).astype(mean.dtype)
