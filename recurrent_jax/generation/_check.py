# SPDX-License-Identifier: Apache-2.0
"""Checks of the arguments of generation."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from recurrent_jax import _checks
from recurrent_jax._checks.input_kinds import OneArray


def logits_of(where: str, logits: Any, token: Any) -> jax.Array:
    """Return the logits of a step, after a check that every token has logits."""
    is_float = OneArray("floating-point", least=1).has_type(logits)
    if not is_float or logits.shape[:-1] != token.shape:
        raise ValueError(
            f"{where}: step must return logits (*batch, vocabulary) for tokens "
            f"{_checks.describe(token)}, got {_checks.outline(logits)}. Its order is "
            "(carry, token) -> (carry, logits)"
        )
    if logits.shape[-1] - 1 > jnp.iinfo(token.dtype).max:
        raise ValueError(
            f"{where}: step returned logits of {logits.shape[-1]} tokens, but the "
            f"first token is {token.dtype}, which does not hold so many; cast it: "
            "token.astype(int)"
        )
    return logits


def tokens(token: Any) -> jax.Array:
    """Return the first token, not weakly typed as a Python number is, for `scan`."""
    token = jnp.asarray(token)
    return jax.lax.convert_element_type(token, token.dtype)


def end(where: str, end: Any, token: Any) -> None:
    """Check that the end is a token that the dtype of tokens holds."""
    if end is not None and end > jnp.iinfo(token.dtype).max:
        raise ValueError(f"{where}: end must be a token of {token.dtype}, got {end}")


def options(key: Any, temperature: Any, top_k: Any, top_p: Any) -> None:
    """Check the options for drawing tokens."""
    given = {"temperature": temperature, "top_k": top_k, "top_p": top_p}
    names = [name for name, value in given.items() if value is not None]
    if key is None and names:
        raise ValueError(
            f"generate: {' and '.join(names)} given without a key, so nothing is drawn "
            "and it has no effect; pass key=jax.random.key(0)"
        )


def draws(draw: Any, key: Any) -> None:
    """Check that `draw` and `key` are given together."""
    if draw is not None:
        _checks.takes("forecast", "draw", draw, "(key, prediction) -> x")
    if (draw is None) != (key is None):
        have, lack = ("draw", "key") if key is None else ("key", "draw")
        raise ValueError(
            f"forecast: {have} is given without {lack}; both draw what is fed back, "
            "neither feeds the prediction itself back"
        )


def known(known: Any, steps: Any) -> None:
    """Check that `known` has all steps."""
    for path, leaf in jax.tree.leaves_with_path(known):
        if np.ndim(leaf) == 0 or np.shape(leaf)[0] != steps:
            name = f"known{jax.tree_util.keystr(path)}"
            raise ValueError(
                f"forecast: {name} must have steps={steps} as its first axis, got "
                f"the shape {np.shape(leaf)}"
            )


def moments(prediction: Any) -> tuple[jax.Array, jax.Array]:
    """Return mean and deviation after a check that there are both, and alike."""
    if not isinstance(prediction, tuple) or len(prediction) != 2:
        raise TypeError(
            "normal: prediction must be a tuple (mean, deviation), got "
            f"{_checks.outline(prediction)}"
        )
    for name, part in zip(("mean", "deviation"), prediction, strict=True):
        OneArray("floating-point").check("normal", f"prediction {name}", part)
    mean, deviation = map(jnp.asarray, prediction)
    if (mean.shape, mean.dtype) != (deviation.shape, deviation.dtype):
        raise ValueError(
            "normal: prediction must be mean and deviation of one shape and dtype, "
            f"got {_checks.describe(mean)} and {_checks.describe(deviation)}"
        )
    return mean, deviation
