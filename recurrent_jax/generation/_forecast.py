# SPDX-License-Identifier: Apache-2.0
"""Forecasts of numbers, and their uncertainty."""

from collections.abc import Callable
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from recurrent_jax import _checks
from recurrent_jax._checks.input_kinds import OneArray, Scalar
from recurrent_jax._core.input_types import Arrays
from recurrent_jax._core.types import Key, Size
from recurrent_jax.generation import _check

Step = Callable[..., tuple[Any, Any]]
Draw = Callable[[jax.Array, Any], jax.Array]
Values = Annotated[jax.Array, OneArray("floating-point", axes="(*batch, features)")]
Courses = Annotated[jax.Array, OneArray("floating-point", 1, "(draws, steps, ...)")]
Level = Annotated[ArrayLike, Scalar(above=0, most=1)]


@_checks.checked
def forecast(
    step: Step,
    carry: Any,
    x: Values,
    *,
    steps: Size,
    known: Arrays | None = None,
    draw: Draw | None = None,
    key: Key | None = None,
) -> tuple[Any, jax.Array]:
    r"""Return forecasts of several steps; each forecast is the next input.

    $$ (s_t, \hat x_{t+1}) = \mathrm{step}(s_{t-1}, \hat x_t) $$

    Without `draw` the prediction itself is fed back, for example a mean. The result is
    a single course without a measure of uncertainty. With `draw` and a key the result
    is one random course. `ensemble` returns many.

    Args:
        step: `(carry, x) -> (carry, prediction)`, a pure function; with `known`,
            `(carry, x, now) -> (carry, prediction)`.
        carry: the carry after all past values except the last.
        x: the last past value, `(*batch, features)`.
        steps: number of values to forecast.
        known: known future inputs, such as the calendar: a pytree of arrays
            `(steps, ...)`, from which each step gets its own.
        draw: `(key, prediction) -> x`, such as `normal`.
        key: for `draw`.

    Returns:
        The final carry, and the values, `(steps, *batch, features)`.

    Raises:
        TypeError, ValueError: if a prediction does not have the type of a value, if
            `known` does not have `steps` steps, or if only one of `draw` and `key` is
            given.

    Example:
        >>> import jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> def halved(carry, x):
        ...     return carry, x / 2
        >>> _, course = rj.generation.forecast(halved, (), jnp.array([8.0]), steps=3)
        >>> print(course[:, 0])
        [4. 2. 1.]
    """
    x = jnp.asarray(x)
    _check.known(known, steps)
    _check.draws(draw, key)
    more = "" if known is None else ", now"
    order = f"(carry, x{more}) -> (carry, prediction)"
    step = _checks.pairing("forecast", "step", step, order, carry)

    def body(state: Any, now: Any) -> tuple[Any, jax.Array]:
        (carry, x), (key, given) = state, now
        more = () if known is None else (given,)
        carry, prediction = step(carry, x, *more)
        new = prediction if draw is None else draw(key, prediction)
        new = _checks.like_input("forecast", new, x)
        return (carry, new), new

    keys = None if key is None else jax.random.split(key, steps)
    (carry, _), course = lax.scan(body, (carry, x), (keys, known), length=steps)
    return carry, course


@_checks.checked
def ensemble(
    step: Step,
    carry: Any,
    x: Values,
    *,
    steps: Size,
    draws: Size,
    draw: Draw,
    key: Key,
    known: Arrays | None = None,
) -> jax.Array:
    """Return many random courses: forecasts that draw each next input.

    The uncertainty of each step therefore adds to that of the next steps.

    Args:
        step: as for `forecast`.
        carry: as for `forecast`.
        x: as for `forecast`.
        steps: number of values to forecast.
        draws: number of courses.
        draw: `(key, prediction) -> x`, such as `normal`.
        key: of all draws.
        known: as for `forecast`.

    Returns:
        `(draws, steps, *batch, features)`; pass it to `interval` for bounds.

    Raises:
        TypeError, ValueError: as for `forecast`.

    Example:
        A random walk, whose deviation grows with the root of time:

        >>> import jax, jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> def walk(carry, x):
        ...     return carry, (x, jnp.ones_like(x))  # mean and deviation
        >>> courses = rj.generation.ensemble(walk, (), jnp.zeros(1), steps=16,
        ...     draws=4000, draw=rj.generation.normal, key=jax.random.key(0))
        >>> print(courses.std(0)[jnp.array([0, 3, 15]), 0].round(1))
        [1. 2. 4.]
    """

    def one(key: jax.Array) -> jax.Array:
        return forecast(step, carry, x, steps=steps, known=known, draw=draw, key=key)[1]

    courses: jax.Array = jax.vmap(one)(jax.random.split(key, draws))
    return courses


@_checks.checked
def normal(key: Key, prediction: tuple[jax.Array, jax.Array]) -> jax.Array:
    r"""Return a draw from a normal distribution with given mean and deviation.

    $$ x = \mu + \sigma \odot \epsilon, \qquad \epsilon \sim \mathcal{N}(0, 1) $$

    It is a `draw` of `forecast` and `ensemble`.

    Args:
        key: a PRNG key.
        prediction: `(mean, deviation)`, two floating-point arrays of one shape and
            dtype, such as `(*batch, features)`, in the unit of the values.

    Returns:
        An array of that shape and dtype.

    Raises:
        TypeError: if `prediction` is not a tuple of two floating-point arrays.
        ValueError: if they differ in shape or dtype.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> rj.generation.normal(jax.random.key(0), (jnp.zeros(3), jnp.ones(3))).shape
        (3,)
    """
    mean, deviation = _check.moments(prediction)
    return mean + deviation * jax.random.normal(key, mean.shape, mean.dtype)


class Interval(NamedTuple):
    """Bounds that contain a given fraction of all courses."""

    low: jax.Array  # (steps, *batch, features)
    high: jax.Array


@_checks.checked
def interval(courses: Courses, level: Level = 0.9) -> Interval:
    """Return bounds that contain, at each step, a given fraction of all courses.

    Args:
        courses: what `ensemble` returned, with draws as first axis.
        level: the fraction. Equal fractions lie below and above.

    Returns:
        `Interval(low, high)`, each `(steps, *batch, features)`.

    Raises:
        ValueError: if the level is not between 0 and 1.

    Example:
        >>> import jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> low, high = rj.generation.interval(jnp.arange(101.0), level=0.9)
        >>> print(low, high)
        5.0 95.0
    """
    courses = jnp.asarray(courses)
    sides = (0.5 - level / 2, 0.5 + level / 2)
    low, high = (jnp.quantile(courses, side, axis=0) for side in sides)
    return Interval(low, high)
