# SPDX-License-Identifier: Apache-2.0
"""Generation of tokens: each token is the next input."""

from collections.abc import Callable
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from recurrent_jax import _checks
from recurrent_jax._checks.input_kinds import Scalar
from recurrent_jax._core.arrays import select
from recurrent_jax._core.input_types import Tokens
from recurrent_jax._core.types import Count, Key, Size
from recurrent_jax.generation import _check
from recurrent_jax.generation._choose import Mass
from recurrent_jax.generation._choose import top_k as _top_k
from recurrent_jax.generation._choose import top_p as _top_p

Temperature = Annotated[
    ArrayLike,
    Scalar(above=0, hint="without key the most probable token is taken each time"),
]
ORDER = "(carry, token) -> (carry, logits)"
Step = Callable[[Any, jax.Array], tuple[Any, jax.Array]]


class Generated(NamedTuple):
    """The result of `generate`."""

    tokens: jax.Array  # (steps, *batch); only end tokens after the end
    lengths: jax.Array  # (*batch), including the end token
    log_probs: jax.Array  # (steps, *batch), of each token; 0 after the end
    carry: Any  # after the last token that was read


@_checks.checked
def generate(
    step: Step,
    carry: Any,
    token: Tokens,
    *,
    steps: Size,
    key: Key | None = None,
    temperature: Temperature | None = None,
    top_k: Size | None = None,
    top_p: Mass | None = None,
    end: Count | None = None,
) -> Generated:
    r"""Generate tokens in one scan, greedily or at random, and feed each one back.

    $$
    (s_t, l_t) = \mathrm{step}(s_{t-1}, x_t), \qquad
    x_{t+1} = \arg\max l_t
    \quad \text{or} \quad
    x_{t+1} \sim \mathrm{softmax}(l_t / \tau)
    $$

    The model is any pure `step`: an embedding, a step of a recurrent cell, and a head.
    Use `cell.step` for a cell and `rj.streaming.step` for `Deep` layers:

        def step(carry, token):
            carry, y = cell.step(params.cell, carry, params.table[token])
            return carry, rj.affine(y, params.kernel, params.bias)

    Call it under `jax.jit`. Outside of `jit` every call compiles again.

    Args:
        step: `(carry, token) -> (carry, logits)`, tokens `(*batch)` and logits
            `(*batch, vocabulary)`.
        carry: the initial carry, or the carry after a prompt.
        token: the first input, integers `(*batch)`; the last token of a prompt.
        steps: number of tokens to generate.
        key: for random draws. None selects the most probable token each time.
        temperature: divides the logits before a draw. Below 1 probable tokens become
            more probable; above 1 the draws become more varied.
        top_k: draw only from the `k` most probable tokens; see `top_k`.
        top_p: draw only from the nucleus of the tokens that `top_k` keeps; see `top_p`.
        end: the token that ends a sequence. Its carry then does not change.

    Returns:
        Tokens, lengths, the log-probability of each token under the model itself (at
        temperature 1, without `top_k` and `top_p`), and the final carry.

    Raises:
        TypeError, ValueError: if tokens are not integers, logits do not fit them, or an
            option for drawing is given without a key.

    Example:
        A model that has learned to count to three:

        >>> import jax, jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> def step(carry, token):
        ...     return carry, 9.0 * jax.nn.one_hot((token + 1) % 4, 4)
        >>> written = rj.generation.generate(step, (), 0, steps=5, end=3)
        >>> print(written.tokens, written.lengths)
        [1 2 3 3 3] 3
    """
    token = _check.tokens(token)
    step = _checks.pairing("generate", "step", step, ORDER, carry)
    _check.options(key, temperature, top_k, top_p)
    _check.end("generate", end, token)

    def choose(key: jax.Array, logits: jax.Array) -> jax.Array:
        if temperature is not None:
            logits = logits / jnp.asarray(temperature, logits.dtype)
        logits = logits if top_k is None else _top_k(logits, top_k)
        logits = logits if top_p is None else _top_p(logits, top_p)
        return jax.random.categorical(key, logits)

    def body(state: Any, key: Any) -> tuple[Any, Any]:
        before, token, over = state
        after, logits = step(before, token)
        logits = _check.logits_of("generate", logits, token)
        best = logits.argmax(-1) if key is None else choose(key, logits)
        new = best.astype(token.dtype)
        log_prob = log_prob_of(logits, new)
        if end is not None:
            after = select(over, before, after)
            new = jnp.where(over, jnp.asarray(end, token.dtype), new)
            log_prob = jnp.where(over, jnp.zeros_like(log_prob), log_prob)
        next_over = over if end is None else over | (new == end)
        return (after, new, next_over), (new, log_prob, ~over)

    keys = None if key is None else jax.random.split(key, steps)
    state = carry, token, jnp.zeros(token.shape, bool)
    state, (tokens, log_probs, written) = lax.scan(body, state, keys, length=steps)
    return Generated(tokens, written.sum(0), log_probs, state[0])


def log_prob_of(logits: jax.Array, token: jax.Array) -> jax.Array:
    """Return the log-probability of one token for each row of logits."""
    log_probs = jax.nn.log_softmax(logits)
    return jnp.take_along_axis(log_probs, token[..., None], axis=-1)[..., 0]
