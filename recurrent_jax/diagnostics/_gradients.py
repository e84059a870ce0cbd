# SPDX-License-Identifier: Apache-2.0
"""The gradient of a loss with respect to earlier states, by lag."""

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
from recurrent_jax._core.vectors import to_carry, to_vector
from recurrent_jax.diagnostics._path import Path, follow

Curve = Annotated[jax.Array, OneArray("floating-point", least=1, axes="(time, *batch)")]


def total(y: Any) -> jax.Array:
    """Return the sum of the floats of an output, the default loss."""
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
    r"""Return the norm of the gradient of the last loss at each earlier state.

    $$
    g_k = \log_{10} \left\| \frac{\partial L(y_T)}{\partial s_{T - k}} \right\|,
    \qquad
    \frac{\partial L}{\partial s_{t - 1}} =
        \left( \frac{\partial s_t}{\partial s_{t - 1}} \right)^{\!\top}
        \frac{\partial L}{\partial s_t}
    $$

    A falling line is a vanishing gradient, and a rising line an exploding one. The
    gradient is normalised after every step, and the logarithm of its norm is summed.
    Therefore it neither underflows nor overflows, and hundreds of decades are exact.

    Args:
        cell: any cell. For several layers use `Stack`.
        params: what `cell.init` returned.
        xs: the inputs, `(time, *batch, features)`.
        loss: a function of the last output $y_T$ that returns a scalar. It must be a
            sum over the batch, so that each sequence has its own gradient. The default
            is the sum of the output.
        carry: the state to start from.

    Returns:
        $g_1, \ldots, g_T$, `(time, *batch)`. The first entry belongs to the state
        before the last step. It is $-\infty$ where the gradient is zero.

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
    """Return carries and inputs of all steps except the last, and of the last."""
    steps = (path.carries, path.zs)
    return jax.tree.map(lambda a: a[:-1], steps), jax.tree.map(lambda a: a[-1], steps)


def _unit(vector: jax.Array, length: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return a unit vector, and the logarithm of the product of norms so far."""
    norm = jnp.linalg.norm(vector, axis=-1)
    divisor = jnp.where(norm > 0, norm, jnp.ones_like(norm))
    return vector / divisor[..., None], length + jnp.log(norm)


@_checks.checked
def decades(curve: Curve, *, steps: Size = 100) -> jax.Array:
    r"""Return how many decades a gradient gains over `steps` backward steps.

    This is the slope of the least-squares line through $g_k$, times `steps`. Below zero
    the gradient vanishes, above zero it explodes. The value -30 means that the gradient
    shrinks by a factor of $10^{30}$ over 100 steps.

    Args:
        curve: what `gradient_by_lag` returned, `(time, *batch)`, of two steps or more.
        steps: the number of steps.

    Returns:
        The number, a mean over the batch; $-\infty$ if the gradient becomes zero.

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
