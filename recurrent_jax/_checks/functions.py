# SPDX-License-Identifier: Apache-2.0
"""Checks of functions of the user: what they are called with, and what they return."""

import functools
import inspect
from collections.abc import Callable
from typing import Any

from recurrent_jax._checks.values import arrays
from recurrent_jax._checks.words import outline


def takes(where: str, argument: str, function: Callable[..., Any], order: str) -> None:
    """Check that a function can be called as `order` says, `(carry, x) -> ...`."""
    names = order.partition(" -> ")[0].strip("()").split(", ")
    try:
        inspect.signature(function).bind(*names)
    except TypeError as error:
        raise TypeError(
            f"{where}: {argument} must be a function {order}, got one that "
            f"cannot be called so: {error}"
        ) from None
    except ValueError:  # a function of C has no signature
        return


def pairing(
    where: str, argument: str, function: Callable[..., Any], order: str, carry: Any = ()
) -> Callable[..., tuple[Any, Any]]:
    """Return a function of the user, checked to take and return what `order` says.

    The first carry that it takes is checked too.
    """
    takes(where, argument, function, order)
    arrays(where, "carry", carry)

    @functools.wraps(function)
    def call(*args: Any) -> tuple[Any, Any]:
        result = function(*args)
        if not isinstance(result, tuple) or len(result) != 2:
            raise TypeError(
                f"{where}: {argument} must be a function {order}, but it returned "
                f"{outline(result)}"
            )
        return result

    return call
