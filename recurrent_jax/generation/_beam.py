# SPDX-License-Identifier: Apache-2.0
"""Beam search for the most probable sequences."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from recurrent_jax import _checks
from recurrent_jax._core.arrays import expand_like, trail
from recurrent_jax._core.input_types import Number, Tokens
from recurrent_jax._core.types import Count, Size
from recurrent_jax.generation import _check
from recurrent_jax.generation._generate import ORDER, Step


class Beams(NamedTuple):
    """The result of `beam_search`, best sequence first."""

    tokens: jax.Array  # (beams, steps, *batch); only end tokens after the end
    lengths: jax.Array  # (beams, *batch), including the end token
    scores: jax.Array  # (beams, *batch)
    log_probs: jax.Array  # (beams, *batch), of the whole sequence


class _State(NamedTuple):
    carry: Any  # each part (beams, *batch, ...)
    token: jax.Array  # (beams, *batch)
    log_prob: jax.Array
    length: jax.Array
    over: jax.Array


@_checks.checked
def beam_search(
    step: Step,
    carry: Any,
    token: Tokens,
    *,
    steps: Size,
    beams: Size,
    end: Count | None = None,
    length_penalty: Number = 0.0,
) -> Beams:
    r"""Return the best sequences that a search with `beams` candidates finds.

    $$
    \mathrm{score}(x) = \frac{\log p(x)}{\mathrm{lp}(x)}, \qquad
    \mathrm{lp}(x) = \Big(\frac{5 + |x|}{6}\Big)^{\alpha}
    $$

    Each step extends every candidate by every token and keeps the best scores. A
    candidate that has ended does not change, and stays in the search as long as its
    score is among the best. One beam is a greedy search. With as many beams as there
    are sequences the search is exact. Candidates that have not ended at the last step
    compete with their scores.

    `jax.vmap` maps the step over beams, so the step gets `(*batch)` as in `generate`.
    Arrays that the step closes over, such as the memory of an `Attention`, are not
    copied.

    Args:
        step: `(carry, token) -> (carry, logits)`, as for `generate`.
        carry: the initial carry.
        token: the first token to read, integers `(*batch)`.
        steps: the maximum length, including the end token.
        beams: number of candidates to keep.
        end: the token that ends a sequence.
        length_penalty: $\alpha$. Log-probabilities fall with length. 0 does not correct
            for this; larger values favour longer sequences. May be traced.

    Returns:
        Tokens, lengths, scores and log-probabilities, each with beams as first axis.
        If there are fewer sequences than beams, the other beams have a score of minus
        infinity.

    Raises:
        TypeError, ValueError: if tokens are not integers, logits do not fit them, or a
            number is not positive.

    Example:
        The most probable first token leads to a less probable pair:

        >>> import jax, jax.numpy as jnp
        >>> import recurrent_jax as rj
        >>> table = jnp.array([[0.0, 0.6, 0.4], [0.3, 0.4, 0.3], [0.1, 0.9, 0.0]])
        >>> def step(carry, token):
        ...     return carry, jnp.log(table[token])
        >>> print(rj.generation.generate(step, (), 0, steps=2).tokens)
        [1 1]
        >>> found = rj.generation.beam_search(step, (), 0, steps=2, beams=2)
        >>> print(found.tokens[0], found.scores[0] > jnp.log(0.35))
        [2 1] True

    References:
        Graves, 2012. Sequence transduction with recurrent neural networks.
        https://arxiv.org/abs/1211.3711
        Wu et al., 2016. Google's neural machine translation system (the penalty).
        https://arxiv.org/abs/1609.08144
    """
    token = _check.tokens(token)
    step = _checks.pairing("beam_search", "step", step, ORDER, carry)
    _check.end("beam_search", end, token)

    def score(log_prob: jax.Array, length: jax.Array) -> jax.Array:
        penalty = ((5.0 + length.astype(log_prob.dtype)) / 6.0) ** jnp.asarray(
            length_penalty, log_prob.dtype
        )
        return log_prob / penalty

    def body(state: _State, _: None) -> tuple[_State, tuple[jax.Array, jax.Array]]:
        carry, logits = jax.vmap(step)(state.carry, state.token)
        logits = _check.logits_of("beam_search", logits, state.token)
        longer = _longer(state, jax.nn.log_softmax(logits), end)
        length = state.length + (~state.over).astype(int)
        scores = score(longer, length[..., None])
        parent, token = _best(scores, beams)
        log_prob = _pick(longer, parent)
        log_prob = jnp.take_along_axis(log_prob, token[..., None], -1)[..., 0]
        over, length, carry = (
            jax.tree.map(lambda a: _pick(a, parent), tree)
            for tree in (state.over, length, carry)
        )
        token = token.astype(state.token.dtype)
        over = over if end is None else over | (token == end)
        return _State(carry, token, log_prob, length, over), (token, parent)

    _, logits = jax.eval_shape(step, carry, token)
    start = _start(carry, token, beams, logits.dtype)
    final, (tokens, parents) = lax.scan(body, start, None, length=steps)
    scores = score(final.log_prob, final.length)
    return Beams(_trace(tokens, parents), final.length, scores, final.log_prob)


def _start(carry: Any, token: jax.Array, beams: Size, dtype: Any) -> _State:
    """Return equal beams, all with probability zero except the first."""

    def copy(a: jax.Array) -> jax.Array:
        return jnp.broadcast_to(a, (beams, *jnp.shape(a)))

    shape = (beams, *token.shape)
    return _State(
        carry=jax.tree.map(copy, carry),
        token=copy(token),
        log_prob=jnp.full(shape, -jnp.inf, dtype).at[0].set(0.0),
        length=jnp.zeros(shape, int),
        over=jnp.zeros(shape, bool),
    )


def _longer(state: _State, log_probs: jax.Array, end: Count | None) -> jax.Array:
    """Return the log-probability of each beam followed by each token."""
    if end is not None:
        # A beam that has ended continues with end tokens of probability one.
        stay = jnp.where(jnp.arange(log_probs.shape[-1]) == end, 0.0, -jnp.inf)
        stay = expand_like(stay.astype(log_probs.dtype), log_probs)
        log_probs = jnp.where(state.over[..., None], stay, log_probs)
    return state.log_prob[..., None] + log_probs


def _best(scores: jax.Array, beams: int) -> tuple[jax.Array, jax.Array]:
    """Return the parent beams and the tokens of the best candidates."""
    vocabulary = scores.shape[-1]
    flat = jnp.moveaxis(scores, 0, -2)
    every = flat.shape[-2] * vocabulary  # not -1: a batch may be empty
    _, index = lax.top_k(flat.reshape(*flat.shape[:-2], every), beams)
    index = jnp.moveaxis(index, -1, 0)
    return index // vocabulary, index % vocabulary


def _pick(a: jax.Array, parent: jax.Array) -> jax.Array:
    """Return the values of the parent beam, for each beam and sequence."""
    return jnp.take_along_axis(a, trail(parent, a), axis=0)


def _trace(tokens: jax.Array, parents: jax.Array) -> jax.Array:
    """Return whole sequences, `(beams, steps, *batch)`, traced from the last step."""

    def body(beam: jax.Array, now: Any) -> tuple[jax.Array, jax.Array]:
        token, parent = now
        return _pick(parent, beam), _pick(token, beam)

    beams = jnp.arange(tokens.shape[1], dtype=parents.dtype)
    last = beams.reshape(-1, *(1,) * (tokens.ndim - 2))
    last = jnp.broadcast_to(last, tokens.shape[1:])
    _, whole = lax.scan(body, last, (tokens, parents), reverse=True)
    return jnp.moveaxis(whole, 1, 0)
