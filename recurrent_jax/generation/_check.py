# SPDX-License-Identifier: Apache-2.0
"""Checks of what generation is given."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from recurrent_jax import _checks


def logits(where: str, logits: Any) -> jax.Array:
    """Return logits as an array with an axis of tokens."""
    logits = _checks.array(where, "logits", logits)
    if logits.ndim == 0 or not jnp.issubdtype(logits.dtype, jnp.floating):
        raise ValueError(
            f"{where}: logits must be floats (*batch, vocabulary), got "
            f"{_checks.describe(logits)}"
        )
    return logits


def logits_of(where: str, logits: Any, token: Any) -> jax.Array:
    """Return the logits of a step after a check that there are some for each token."""
    if not hasattr(logits, "dtype") or logits.shape[:-1] != token.shape:
        raise ValueError(
            f"{where}: step must return logits (*batch, vocabulary) for tokens "
            f"{_checks.describe(token)}, got {_checks.outline(logits)}. Its order is "
            "(carry, token) -> (carry, logits)"
        )
    return logits


def tokens(where: str, token: Any) -> jax.Array:
    """Return the first token as integers."""
    token = _checks.array(where, "token", token)
    if not jnp.issubdtype(token.dtype, jnp.integer):
        raise TypeError(
            f"{where}: token must be integers (*batch), got {_checks.describe(token)}; "
            "what feeds numbers back is forecast"
        )
    # Not weakly typed, as a Python number is, so that scan accepts it.
    return jax.lax.convert_element_type(token, token.dtype)


def share(where: str, argument: str, value: Any) -> None:
    """Check a share above 0 and up to 1, where it is known."""
    if not isinstance(value, jax.core.Tracer) and not 0 < float(value) <= 1:
        raise ValueError(f"{where}: {argument} must be in (0, 1], got {value}")


def drawing(key: Any, temperature: Any, top_k: Any, top_p: Any) -> None:
    """Check the options of drawing tokens."""
    given = {"temperature": temperature, "top_k": top_k, "top_p": top_p}
    names = [name for name, value in given.items() if value is not None]
    if key is None and names:
        raise ValueError(
            f"generate: {' and '.join(names)} given without a key, so nothing is drawn "
            "and it has no effect; pass key=jax.random.key(0)"
        )
    known = temperature is not None and not isinstance(temperature, jax.core.Tracer)
    if known and not float(temperature) > 0:
        raise ValueError(
            f"generate: temperature must be positive, got {temperature}; leave out the "
            "key for the most probable token each time"
        )


def draws(draw: Any, key: Any) -> None:
    """Check that what draws has a key, and the other way round."""
    if (draw is None) != (key is None):
        have, lack = ("draw", "key") if key is None else ("key", "draw")
        raise ValueError(
            f"forecast: {have} is given without {lack}; both draw what is fed back, "
            "neither feeds the prediction itself back"
        )


def known(known: Any, steps: Any) -> None:
    """Check that what is known of the future is known for all steps."""
    for path, leaf in jax.tree.leaves_with_path(known):
        if np.ndim(leaf) == 0 or np.shape(leaf)[0] != steps:
            name = f"known{jax.tree_util.keystr(path)}"
            raise ValueError(
                f"forecast: {name} must have steps={steps} as its first axis, got "
                f"the shape {np.shape(leaf)}"
            )
