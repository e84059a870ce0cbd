# SPDX-License-Identifier: Apache-2.0
"""Scheduled sampling: a mixture of teacher forcing and free running."""

from collections.abc import Callable
from typing import Annotated, Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from recurrent_jax import _checks
from recurrent_jax._checks.input_kinds import OneArray, Scalar
from recurrent_jax._core.arrays import trail
from recurrent_jax._core.types import Key

Step = Callable[[Any, Any], tuple[Any, Any]]
Draw = Callable[[jax.Array, Any], jax.Array]
Inputs = Annotated[jax.Array, OneArray("real", least=1, axes="(time, ...)")]
Probability = Annotated[ArrayLike, Scalar(least=0, most=1)]


@_checks.checked
def scheduled_sampling(
    step: Step,
    carry: Any,
    inputs: Inputs,
    *,
    rate: Probability,
    key: Key,
    draw: Draw = jax.random.categorical,
) -> tuple[Any, Any]:
    r"""Run a decoder that sometimes reads its own prediction, not the true input.

    $$
    \tilde x_t = \begin{cases}
    \hat x_t \sim p(\cdot \mid \tilde x_{<t}) & \text{with probability the rate} \\
    x_t & \text{otherwise}
    \end{cases}
    $$

    At rate 0 this is teacher forcing, at rate 1 a free run. The choice is independent
    for every sequence and step. Usually the rate grows in training; it may be traced.

    Args:
        step: `(carry, x) -> (carry, prediction)`, a pure function: an embedding, a step
            of any cell, a head.
        carry: the initial carry of the decoder.
        inputs: the true inputs, as from `delay`: tokens, `(time, *batch)` integers, or
            `(time, *batch, features)` floats. The first input is always the true one.
        rate: the probability of reading the previous prediction.
        key: of all random numbers.
        draw: `(key, prediction) -> x`. The default reads predictions as logits and
            draws tokens, through which no gradient flows. `lambda key, p: p` feeds
            predictions back unchanged, and lets gradients through.

    Returns:
        The final carry, and all predictions, with time as first axis.

    Raises:
        TypeError, ValueError: if a draw does not have the type of an input.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> cell = rj.GRU(4)
        >>> params = cell.init(jax.random.key(0), in_features=4)
        >>> def step(carry, token):
        ...     return cell.step(params, carry, jax.nn.one_hot(token, 4))
        >>> inputs = jnp.zeros((7, 5), int)
        >>> _, logits = rj.tasks.scheduled_sampling(
        ...     step, cell.initial_carry((5,)), inputs, rate=0.25,
        ...     key=jax.random.key(1))
        >>> logits.shape
        (7, 5, 4)

    References:
        Bengio, Vinyals, Jaitly and Shazeer, 2015. Scheduled sampling for sequence
        prediction with recurrent neural networks. https://arxiv.org/abs/1506.03099
    """
    where = "scheduled_sampling"
    order = "(carry, x) -> (carry, prediction)"
    step = _checks.pairing(where, "step", step, order, carry)
    _checks.takes(where, "draw", draw, "(key, prediction) -> x")
    inputs = jnp.asarray(inputs)
    rate = jnp.asarray(rate, float)
    is_tokens = jnp.issubdtype(inputs.dtype, jnp.integer)
    batch_shape = inputs.shape[1:] if is_tokens else inputs.shape[1:-1]
    if len(inputs) == 0:
        _, prediction = jax.eval_shape(step, carry, inputs.sum(0, dtype=inputs.dtype))
        return carry, jax.tree.map(
            lambda p: jnp.zeros((0, *p.shape), p.dtype), prediction
        )

    def body(state: Any, now: Any) -> tuple[Any, Any]:
        carry, own = state
        x, key, is_first = now
        key_coin, key_draw = jax.random.split(key)
        coin = jax.random.bernoulli(key_coin, rate, batch_shape) & ~is_first
        carry, prediction = step(carry, jnp.where(trail(coin, x), own, x))
        own = _checks.like_input(where, draw(key_draw, prediction), x)
        return (carry, own), prediction

    is_first = jnp.arange(len(inputs)) == 0
    keys = jax.random.split(key, len(inputs))
    timed = (inputs, keys, is_first)
    (carry, _), predictions = lax.scan(body, (carry, inputs[0]), timed)
    return carry, predictions
