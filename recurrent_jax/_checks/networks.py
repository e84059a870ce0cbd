# SPDX-License-Identifier: Apache-2.0
"""Checks of cells put together: `Deep`, `Bidirectional`, `Stack`."""

from typing import Any

from recurrent_jax._checks import words


def layers(where: str, argument: str, given: Any, kinds: tuple[type, ...]) -> None:
    """Check the parts of a network or a stack: a tuple of cells."""
    if not isinstance(given, tuple) or not given:
        raise TypeError(
            f"{where}: {argument} must be a tuple of at least one cell, got {given!r}; "
            "one alone is (cell,)"
        )
    for n, cell in enumerate(given):
        part(where, f"{argument}[{n}]", cell, kinds)


def part(where: str, argument: str, cell: Any, kinds: tuple[type, ...]) -> None:
    """Check one part of a network or a wrapper: a cell, or a network."""
    if not isinstance(cell, kinds):
        names = " or ".join(f"recurrent_jax.{kind.__name__}" for kind in kinds)
        got, _ = words.given(cell)
        raise TypeError(f"{where}: {argument} must be a {names}, got {got}")


def parts(where: str, argument: str, given: Any, count: int) -> None:
    """Check that params or a carry are a tuple of as many parts as there are cells."""
    if not isinstance(given, (tuple, list)) or len(given) != count:
        raise TypeError(
            f"{where}: {argument} must be a tuple of {count}, one part for each cell, "
            f"got {words.outline(given)}"
        )


def residual(layer: int, taken: int, given: int) -> None:
    """Check that a layer gives as many features as it takes."""
    if taken != given:
        raise ValueError(
            f"Deep: residual adds what layer {layer} takes, of {taken} features, to "
            f"what it gives, of {given}. Wrap only the layers that match: "
            "Deep((first, Deep(rest, residual=True)))"
        )


def merged(value: Any, forward: int, backward: int) -> None:
    """Check that two outputs have sizes that a merge can make one."""
    if value != "concatenate" and forward != backward:
        raise ValueError(
            f"Bidirectional: merge={value!r} needs outputs of one size, got {forward} "
            f'and {backward} features; merge="concatenate" takes any'
        )


def single(value: Any) -> None:
    """Check that a merge leaves one output for the next layer to read."""
    if value is None:
        raise ValueError(
            "Bidirectional: merge=None gives a pair of outputs, which no next layer "
            "can read; choose a merge, or make it the last layer"
        )
