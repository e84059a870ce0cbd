# SPDX-License-Identifier: Apache-2.0
"""Checks of functions of the user: what they are called with, and what they return."""

import dataclasses
import functools
import inspect
from collections.abc import Callable
from typing import Any

import jax

from recurrent_jax._checks.kinds import Function
from recurrent_jax._checks.values import arrays
from recurrent_jax._checks.words import describe, outline


@dataclasses.dataclass(frozen=True)
class Elementwise(Function):
    """A function of one array, which returns one of the same shape and dtype."""


class Unfit(TypeError):
    """A function of the user that fails, or does not return what it must."""


def watched(where: str, argument: str, function: Callable[..., Any]) -> Any:
    """Return an elementwise function, which raises `Unfit` if it is none."""

    def call(a: jax.Array) -> jax.Array:
        try:
            got = function(a)
        except Exception as error:
            raise Unfit(
                f"{where}: {argument} must be a function of one array, but on "
                f"{describe(a)} it raised {type(error).__name__}: {error}"
            ) from error
        found = getattr(got, "shape", None), getattr(got, "dtype", None)
        if found != (a.shape, a.dtype):
            raise Unfit(
                f"{where}: {argument} must return an array of the shape and dtype of "
                f"its argument, {describe(a)}, got {outline(got)}"
            )
        return got

    return call


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
